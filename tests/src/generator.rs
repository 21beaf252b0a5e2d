//! A made-up history of any length: connections come, talk and go, and every message has its outcome.
//!
//! The same seed gives the same events, ids included, so that counts can be asserted and figures compared. Used by the
//! tests and benches of audit and replay. Events come nearly in order of time, as they would be appended.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use events::{
    ConnectionId, RecordedEvent,
    connection::{self, ConnectionClosed, ConnectionOpened, FoundBy, State},
    conversation::{self, MessageSent},
    delivery::{self, Address, BroadcastDelivered, Reason},
};

/// Connections that are there at once, about.
const CROWD: usize = 200;

/// What people say.
const WORDS: [&str; 12] =
    ["anybody", "home", "yes", "tea", "or", "coffee", "the", "train", "is", "late", "again", "🙂"];

/// An endless history.
pub struct Generator {
    random: Random,
    now: DateTime<Utc>,
    /// Between two things that happen, at the most.
    pause: u64,
    /// Those who are there, with the event that opened each.
    crowd: Vec<(ConnectionId, RecordedEvent)>,
    requests: u64,
    /// What follows from what has happened.
    due: VecDeque<RecordedEvent>,
}

impl Generator {
    /// A history that begins at `begin`; something happens every `pause` on average.
    #[must_use]
    pub fn new(seed: u64, begin: DateTime<Utc>, pause: TimeDelta) -> Generator {
        let pause = u64::try_from(pause.num_milliseconds()).unwrap_or(0) * 2;
        Generator { random: Random(seed), now: begin, pause, crowd: Vec::new(), requests: 0, due: VecDeque::new() }
    }

    fn happen(&mut self) -> RecordedEvent {
        self.now += TimeDelta::milliseconds(i64::try_from(self.random.below(self.pause + 1)).unwrap_or(0));
        let growing = self.crowd.len() < CROWD;
        match self.random.below(100) {
            _ if self.crowd.len() < 2 => self.open(),
            0..10 if growing => self.open(),
            0..4 => self.open(),
            4..10 => self.end(),
            10..40 => self.broadcast(),
            _ => self.chat(),
        }
    }

    fn open(&mut self) -> RecordedEvent {
        let request = self.request();
        let connection: ConnectionId = format!("{request}=").parse().unwrap();
        let data = ConnectionOpened {
            source_ip: Some(format!("192.0.2.{}", self.random.below(256))),
            user_agent: Some("Mozilla/5.0 (generated)".to_owned()),
        };
        let opened = connection::open(&connection, data, self.now, &request);
        self.crowd.push((connection, opened.clone()));
        opened
    }

    fn end(&mut self) -> RecordedEvent {
        let index = self.random.index(self.crowd.len());
        let (connection, opened) = self.crowd.swap_remove(index);
        let request = self.request();
        let minute = std::time::Duration::from_secs(60);
        if self.random.below(10) == 0
            && let Some(lost) =
                connection::lose(&connection, &State::fold([&opened]), FoundBy::Sweep, minute, self.now, &request)
        {
            return lost;
        }
        let data = ConnectionClosed { code: Some(1000), text: Some(String::new()) };
        connection::close(&connection, data, self.now, &request)
    }

    fn broadcast(&mut self) -> RecordedEvent {
        let (from, request, text) = (self.somebody(), self.request(), self.text());
        let said = conversation::broadcast(from, text, self.now, &request).unwrap();
        let delivered = u32::try_from(self.crowd.len()).unwrap();
        let page = BroadcastDelivered { page: 0, attempt: 1, delivered, gone: 0, failed: 0 };
        let outcome = delivery::broadcast_delivered(said.id, page, self.soon(), &request);
        self.due.push_back(outcome);
        said
    }

    fn chat(&mut self) -> RecordedEvent {
        let (from, to, text) = (self.somebody(), self.random.index(self.crowd.len()), self.text());
        let (to, opened) = self.crowd[to].clone();
        let (receipt, request) = (self.random.below(2) == 0, self.request());
        let message = MessageSent { from: from.clone(), to: to.clone(), text, receipt };
        let sent = conversation::send(message, &State::fold([&opened]), self.now, &request).unwrap();
        let address = Address { conversation: sent.stream.clone(), from, to, receipt };
        let outcome = match self.random.below(50) {
            0 => delivery::undeliverable(sent.id, address, Reason::Gone, self.soon(), &request),
            _ => delivery::delivered(sent.id, address, self.soon(), &request),
        };
        self.due.push_back(outcome);
        sent
    }

    fn somebody(&mut self) -> ConnectionId {
        let index = self.random.index(self.crowd.len());
        self.crowd[index].0.clone()
    }

    fn text(&mut self) -> String {
        let words = 1 + self.random.below(12);
        (0..words).map(|_| WORDS[self.random.index(WORDS.len())]).collect::<Vec<_>>().join(" ")
    }

    fn soon(&mut self) -> DateTime<Utc> {
        self.now + TimeDelta::milliseconds(5 + i64::try_from(self.random.below(200)).unwrap_or(0))
    }

    /// A request id like no other of this seed; it also names a connection.
    fn request(&mut self) -> String {
        self.requests += 1;
        format!("{:08x}g{:06x}", self.random.next() >> 32, self.requests)
    }
}

impl Iterator for Generator {
    type Item = RecordedEvent;

    fn next(&mut self) -> Option<RecordedEvent> {
        Some(self.due.pop_front().unwrap_or_else(|| self.happen()))
    }
}

/// SplitMix64: small, and the same on every machine for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }
}
