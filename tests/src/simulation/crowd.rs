//! The crowd: people who come, say things, make mistakes and go, all at once and each by dice of their own.
//!
//! Used on a simulated runtime and on a real one: the way in is a closure. What they see is in the ledger.

use std::{sync::Arc, time::Duration};

use futures::{SinkExt, StreamExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::CloseFrame},
};
use tokio_util::sync::CancellationToken;

use super::{
    Dice, Scenario,
    ledger::{Ledger, Number, What},
};

/// How long a person waits for a reply before they go on. Longer than a route handler may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often a quiet client says something, as PROTOCOL.md asks.
const KEEP_ALIVE: Duration = Duration::from_secs(240);

/// How long a client may not read.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A byte stream to the gateway.
pub trait Pipe: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Pipe for T {}

/// A WebSocket to the gateway.
pub type Socket = WebSocketStream<Box<dyn Pipe>>;

/// The way in: a handshake, answered with 101 or refused.
pub type Door = Arc<dyn Fn() -> BoxFuture<'static, Option<Socket>> + Send + Sync>;

/// What a person has its connection do.
enum Order {
    Say(String),
    StopReading(Duration),
    Close,
    Cut,
    /// The network is gone: nothing more is read or written, and no end is seen.
    Freeze,
}

/// A crowd at play.
pub struct Crowd {
    people: JoinSet<()>,
    storms: Vec<CancellationToken>,
    stage: Stage,
}

/// What all of them share.
#[derive(Clone)]
struct Stage {
    scenario: Arc<Scenario>,
    ledger: Ledger,
    door: Door,
}

impl Crowd {
    /// Has everybody begin.
    pub fn begin(scenario: &Scenario, ledger: &Ledger, door: Door) -> Crowd {
        let stage = Stage { scenario: Arc::new(scenario.clone()), ledger: ledger.clone(), door };
        let mut people = JoinSet::new();
        let mut storms = Vec::new();
        for number in 0..scenario.people {
            let storm = CancellationToken::new();
            storms.push(storm.clone());
            let person = Person {
                number,
                dice: Dice::of(scenario.seed, &format!("person {number}")),
                stage: stage.clone(),
                storm,
                said: 0,
                reads_again: None,
            };
            people.spawn(person.live());
        }
        Crowd { people, storms, stage }
    }

    /// Plays until everybody has done what they wanted; the storms come meanwhile.
    pub async fn play(mut self) {
        let mut dice = Dice::of(self.stage.scenario.seed, "storms");
        let began = tokio::time::Instant::now();
        let mut storms = self.stage.scenario.storms.clone();
        storms.sort_unstable();
        for (at, percent) in storms {
            sleep_until(began + at).await;
            let struck: Vec<_> = self.storms.iter().filter(|_| dice.chance(percent)).collect();
            self.stage.ledger.note(&format!("a storm cuts off {} of {}", struck.len(), self.storms.len()));
            struck.into_iter().for_each(CancellationToken::cancel);
        }
        while self.people.join_next().await.is_some() {}
    }
}

struct Person {
    number: u64,
    dice: Dice,
    stage: Stage,
    /// Cuts it off, once.
    storm: CancellationToken,
    said: u64,
    /// When it goes on reading, if it ever stopped.
    reads_again: Option<tokio::time::Instant>,
}

impl Person {
    async fn live(mut self) {
        let began = tokio::time::Instant::now();
        let chaos = self.stage.scenario.chaos;
        sleep(chaos.mul_f64(hundredths(self.dice.below(40)))).await;
        for session in 0..10 {
            let Some(socket) = (self.stage.door)().await else {
                self.stage.ledger.note(&format!("{}.{session} was refused", self.number));
                sleep(self.dice_millis(5000)).await;
                continue;
            };
            let number = self.stage.ledger.open(&format!("{}.{session}", self.number));
            let (orders, obeyed) = mpsc::unbounded_channel();
            tokio::spawn(obey(socket, obeyed, self.stage.ledger.clone(), number));
            if self.session(number, &orders).await {
                tokio::spawn(stay(orders, self.stage.ledger.clone(), number, self.storm));
                return;
            }
            if began.elapsed() > chaos {
                return;
            }
            sleep(self.dice_millis(5000)).await;
        }
    }

    /// Whether it stays.
    async fn session(&mut self, number: Number, orders: &mpsc::UnboundedSender<Order>) -> bool {
        // One in five says something before anybody has said hello.
        if !self.dice.chance(20) {
            let welcome = self.stage.ledger.until(number, |connection| connection.welcomed);
            let _ = timeout(PATIENCE * 4, welcome).await;
        }
        let storm = self.storm.clone();
        let is_over = storm.is_cancelled();
        let struck = storm.cancelled();
        tokio::pin!(struck);
        for _ in 0..self.dice.between(1, self.stage.scenario.actions * 2) {
            let pause = self.stage.scenario.pause;
            let pause = self.dice_millis(u64::try_from(pause.as_millis()).unwrap_or(1000));
            tokio::select! {
                biased;
                () = &mut struck, if !is_over => {
                    let _ = orders.send(Order::Cut);
                    return false;
                }
                () = sleep(pause) => {}
            }
            if self.stage.ledger.is_over(number) {
                return false;
            }
            self.act(number, orders).await;
        }
        if !self.dice.chance(self.stage.scenario.likes.leave) {
            return !self.stage.ledger.is_over(number);
        }
        let _ = orders.send(match self.dice.below(5) {
            0 | 1 => Order::Close,
            2 | 3 => Order::Cut,
            _ => Order::Freeze,
        });
        false
    }

    async fn act(&mut self, number: Number, orders: &mpsc::UnboundedSender<Order>) {
        let likes = self.stage.scenario.likes.clone();
        let weights = [likes.broadcast, likes.chat, likes.list, likes.ping, likes.mistake, likes.pause_reading];
        let mut thrown = self.dice.below(weights.iter().sum());
        let action = weights.iter().position(|weight| match thrown.checked_sub(*weight) {
            Some(left) => {
                thrown = left;
                false
            }
            None => true,
        });
        match action {
            Some(0) => {
                let text = self.text();
                let frame = json!({"action": "broadcast", "message": text});
                self.say(number, orders, frame, What::Broadcast { text }).await;
            }
            Some(1) => {
                let (text, to, receipt) = (self.text(), self.somebody(), self.dice.chance(50));
                let frame = json!({"action": "chat", "connection": to, "message": text, "receipt": receipt});
                self.say(number, orders, frame, What::Chat { to, text, receipt }).await;
            }
            Some(2) => self.list(number, orders).await,
            Some(3) => drop(self.ask(number, orders, json!({"action": "ping"}), What::Other).await),
            Some(4) => self.mistake(number, orders),
            _ => self.stop_reading(orders),
        }
    }

    /// Not again before it goes on reading: the pauses would add up to more than the longest.
    fn stop_reading(&mut self, orders: &mpsc::UnboundedSender<Order>) {
        let (now, pause) = (tokio::time::Instant::now(), LONGEST_PAUSE.mul_f64(hundredths(self.dice.below(100))));
        if self.reads_again.is_none_or(|again| again <= now) {
            self.reads_again = Some(now + pause);
            let _ = orders.send(Order::StopReading(pause));
        }
    }

    /// Says it; and now and then again, if nothing came of it. Some do not wait for the reply.
    async fn say(&mut self, number: Number, orders: &mpsc::UnboundedSender<Order>, frame: Value, what: What) {
        if self.dice.chance(30) {
            self.send(number, orders, frame, what);
            return;
        }
        let reply = self.ask(number, orders, frame.clone(), what.clone()).await;
        let failed = reply.is_none_or(|reply| reply["code"] == "unavailable");
        if failed && self.dice.chance(50) {
            self.ask(number, orders, frame, what).await;
        }
    }

    fn send(&mut self, number: Number, orders: &mpsc::UnboundedSender<Order>, mut frame: Value, what: What) -> String {
        let reference = format!("{}-{}", self.number, self.said);
        self.said += 1;
        frame["ref"] = json!(reference);
        let text = frame.to_string();
        self.stage.ledger.sends(number, &reference, what, &text);
        let _ = orders.send(Order::Say(text));
        reference
    }

    /// The reply, if one comes.
    async fn ask(
        &mut self,
        number: Number,
        orders: &mpsc::UnboundedSender<Order>,
        frame: Value,
        what: What,
    ) -> Option<Value> {
        let reference = self.send(number, orders, frame, what);
        let reply = self
            .stage
            .ledger
            .until(number, |connection| connection.sent.iter().find(|sent| sent.reference == reference)?.reply.clone());
        timeout(PATIENCE, reply).await.ok().flatten()
    }

    /// The whole list, page by page. Who was there all the while must be in it, once.
    async fn list(&mut self, number: Number, orders: &mpsc::UnboundedSender<Order>) {
        let here = |known: Vec<(String, bool)>| known.into_iter().filter(|(_, here)| *here).map(|(id, _)| id);
        let before: Vec<String> = here(self.stage.ledger.known()).collect();
        let limit = self.dice.between(1, 10);
        let (mut listed, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let mut frame = json!({"action": "list", "limit": limit});
            if !cursor.is_null() {
                frame["cursor"] = cursor;
            }
            let Some(page) = self.ask(number, orders, frame, What::Other).await else { return };
            let Some(connections) = page["connections"].as_array() else { return };
            listed.extend(connections.iter().filter_map(|one| one["connection"].as_str().map(str::to_owned)));
            if connections.len() as u64 > limit {
                self.stage.ledger.note(&format!("WRONG a page of more than {limit}"));
            }
            match &page["next"] {
                Value::Null => break,
                next => cursor = next.clone(),
            }
        }
        let after: Vec<String> = here(self.stage.ledger.known()).collect();
        for id in before.iter().filter(|id| after.contains(id)) {
            let times = listed.iter().filter(|listed| *listed == id).count();
            if times != 1 {
                self.stage.ledger.note(&format!("WRONG {id} is {times} times in a list"));
            }
        }
    }

    /// Nothing that anybody should take.
    fn mistake(&mut self, number: Number, orders: &mpsc::UnboundedSender<Order>) {
        let mistakes = [
            "hi".to_owned(),
            "{".to_owned(),
            "[]".to_owned(),
            r#"{"action":7}"#.to_owned(),
            r#"{"action":"shout","message":"x"}"#.to_owned(),
            r#"{"action":"broadcast","message":""}"#.to_owned(),
            r#"{"action":"chat","message":"to nobody"}"#.to_owned(),
            r#"{"action":"list","cursor":"9.x"}"#.to_owned(),
            json!({"action": "broadcast", "message": "x".repeat(16 * 1024 + 1)}).to_string(),
        ];
        let text = self.dice.pick(&mistakes).cloned().unwrap_or_default();
        self.stage.ledger.sends(number, "", What::Other, &text);
        let _ = orders.send(Order::Say(text));
    }

    /// A text nobody else says.
    fn text(&mut self) -> String {
        let number = self.said;
        format!("{}-{number} {}", self.number, "ü".repeat(usize::try_from(self.dice.below(60)).unwrap_or(0)))
    }

    /// Somebody who is there, or was, or never was.
    fn somebody(&mut self) -> String {
        let known = self.stage.ledger.known();
        let here: Vec<_> = known.iter().filter(|(_, here)| *here).collect();
        let anybody: Vec<_> = known.iter().collect();
        let of = if self.dice.chance(80) { here } else { anybody };
        match self.dice.pick(&of) {
            Some((id, _)) if !self.dice.chance(5) => id.clone(),
            _ => "AAAAAAAAAAAAAAA=".to_owned(),
        }
    }

    fn dice_millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.dice.below(most + 1))
    }
}

/// The connection itself: reads, and does as it is told.
async fn obey(mut socket: Socket, mut orders: mpsc::UnboundedReceiver<Order>, ledger: Ledger, number: Number) {
    loop {
        // In a fixed order: a simulation must go the same way again.
        let order = tokio::select! {
            biased;
            order = orders.recv() => order,
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    ledger.hears(number, &text);
                    continue;
                }
                Some(Ok(Message::Close(frame))) => return ledger.ends(number, &close_text(frame)),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return ledger.ends(number, &error.to_string()),
                None => return ledger.ends(number, "end of stream"),
            },
        };
        match order {
            Some(Order::Say(text)) => {
                if let Err(error) = socket.send(Message::text(text)).await {
                    return ledger.ends(number, &error.to_string());
                }
            }
            Some(Order::StopReading(long)) => sleep(long).await,
            Some(Order::Close) => {
                ledger.ends(number, "closed");
                let _ = socket.close(None).await;
                while let Some(Ok(_)) = socket.next().await {}
                return;
            }
            Some(Order::Freeze) => {
                ledger.ends(number, "frozen");
                // For good: the gateway finds out when it has heard nothing for long enough.
                std::future::pending::<()>().await;
            }
            // Without orders the run is over.
            Some(Order::Cut) | None => return ledger.ends(number, "cut"),
        }
    }
}

/// Says something now and then, to stay connected. A storm that comes may cut it off yet.
async fn stay(orders: mpsc::UnboundedSender<Order>, ledger: Ledger, number: Number, storm: CancellationToken) {
    let is_over = storm.is_cancelled();
    while !ledger.is_over(number) {
        tokio::select! {
            biased;
            () = storm.cancelled(), if !is_over => {
                let _ = orders.send(Order::Cut);
                return;
            }
            () = sleep(KEEP_ALIVE) => {}
        }
        if orders.send(Order::Say(json!({"action": "ping"}).to_string())).is_err() {
            return;
        }
    }
}

fn close_text(frame: Option<CloseFrame>) -> String {
    frame.map_or_else(|| "closed without a code".to_owned(), |frame| format!("{} {}", frame.code, frame.reason))
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn hundredths(number: u64) -> f64 {
    number as f64 / 100.0
}
