//! A crowd of random clients on a runtime under chaos, and what must be true once the chaos is over.
//!
//! Everything the crowd does follows from a seed, one step after the other; what goes wrong follows from the same seed.
//! Used by `tests/local_chaos.rs` and by long runs. [`run`] says what is wrong, in one sentence.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use events::{Event, RecordedEvent, Timing, connection, conversation, delivery, time};
use futures::{SinkExt, StreamExt, stream::SplitSink};
use local::{Chaos, Options, Plan, Runtime};
use projections::reconcile::{Mode, Reconciliation, Scope};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::watch, task::JoinHandle, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::PATIENCE;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Steps of one run.
const STEPS: u32 = 40;
/// Most members at once.
const MOST: u64 = 8;

/// How long things go wrong in a run. Lambda's first retry comes later, so no invocation can run out of retries.
const CHAOS: Duration = Duration::from_secs(2);

/// The design's durations for a run under chaos: shorter, and in the same order. A route's calls are over before it is
/// killed; a `$connect` is over before its connection is old enough to be judged; faults are over before the first retry.
#[must_use]
pub fn hasty() -> Timing {
    Timing {
        route_timeout: Duration::from_millis(4500),
        projector_timeout: Duration::from_secs(10),
        post_timeout: Duration::from_secs(15),
        manage_timeout: Duration::from_secs(15),
        deadline_margin: Duration::from_secs(2),
        call_timeout: Duration::from_millis(500),
        operation_timeout: Duration::from_millis(1400),
        early_gone: Duration::from_secs(5),
        push_backoff: Duration::from_millis(20),
        push_backoff_max: Duration::from_millis(300),
        push_budget: Duration::from_secs(3),
        sweep_interval: Duration::from_secs(2),
        async_retries: [Duration::from_secs(3), Duration::from_secs(6)],
        batch_retry: Duration::from_millis(20),
        batch_retry_max: Duration::from_millis(300),
        ..Timing::default()
    }
}

/// A plan in which everything goes wrong now and then.
#[must_use]
pub fn rough(seed: u64) -> Plan {
    Plan {
        seed,
        refuse: 0.04,
        throttle: 0.03,
        fail_after: 0.03,
        lose_answer: 0.02,
        fail_entries: 0.10,
        // Not real deaths: on AWS a living connection that is established never answers 410.
        gone: 0.0,
        duplicate_batch: 0.15,
        shuffle_batch: 0.5,
        duplicate_event: 0.15,
        late_event: 0.15,
        kill_function: 0.04,
        drop_disconnect: 0.3,
    }
}

/// A member of the crowd: what it sent, and everything it heard.
struct Member {
    id: String,
    to: SplitSink<Socket, Message>,
    heard: watch::Receiver<Vec<Value>>,
    listening: JoinHandle<()>,
}

impl Member {
    /// Connects and waits for the welcome; `None` if it was refused.
    async fn join(url: &str) -> Result<Option<Member>, String> {
        let Ok(Ok((socket, _))) = timeout(PATIENCE, connect_async(url)).await else { return Ok(None) };
        let (to, mut from) = socket.split();
        let (hear, heard) = watch::channel(Vec::new());
        let listening = tokio::spawn(async move {
            while let Some(Ok(message)) = from.next().await {
                if let Message::Text(text) = message {
                    let frame = serde_json::from_str(&text).unwrap_or_default();
                    hear.send_modify(|heard: &mut Vec<Value>| heard.push(frame));
                }
            }
        });
        let mut member = Member { id: String::new(), to, heard, listening };
        let welcome = member.hears("its welcome", |frame| frame["type"] == "welcome").await?;
        member.id = welcome["connection"].as_str().unwrap_or_default().to_owned();
        Ok(Some(member))
    }

    async fn hears(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let id = self.id.clone();
        let waiting = self.heard.wait_for(|heard| heard.iter().any(&wanted));
        let heard = timeout(PATIENCE, waiting).await.map_err(|_| format!("{id} never heard {what}"))?;
        let heard = heard.map_err(|_| format!("{id} was cut off before it heard {what}"))?;
        heard.iter().find(|frame| wanted(frame)).cloned().ok_or_else(|| format!("{what} vanished"))
    }

    /// Sends, and gives the reply: one with its ref, or the gateway's own word that the function failed.
    async fn ask(&mut self, mut frame: Value, reference: &str) -> Result<Value, String> {
        frame["ref"] = json!(reference);
        let failures =
            |heard: &[Value]| heard.iter().filter(|frame| frame["message"] == "Internal server error").count();
        let before = failures(&self.heard.borrow());
        self.to.send(Message::text(frame.to_string())).await.map_err(|e| format!("{} cannot send: {e}", self.id))?;
        let answered = |heard: &Vec<Value>| heard.iter().any(|f| f["ref"] == reference) || failures(heard) > before;
        let id = self.id.clone();
        let heard = timeout(PATIENCE, self.heard.wait_for(answered)).await.map_err(|_| format!("{id} got no reply"))?;
        let heard = heard.map_err(|_| format!("{id} was cut off before its reply"))?;
        Ok(heard.iter().find(|f| f["ref"] == reference).cloned().unwrap_or_default())
    }
}

/// A message whose `accepted` somebody saw.
#[derive(Debug)]
struct Accepted {
    id: String,
    /// Of a direct message.
    to: Option<String>,
    /// Who had had their welcome by then and is expected to hear it if they stay.
    audience: Vec<String>,
}

struct Crowd<'a> {
    runtime: &'a Runtime,
    seed: u64,
    steps: u64,
    members: Vec<Member>,
    /// Everything heard by those who have left.
    gone: Vec<(String, Vec<Value>)>,
    accepted: Vec<Accepted>,
}

/// Plays a seed under `plan` and says what is wrong afterwards, if anything. Gives how often each mishap struck.
pub async fn run(seed: u64, plan: Plan) -> Result<BTreeMap<&'static str, u64>, String> {
    let chaos = Chaos::new(plan);
    let options = Options { timing: hasty(), chaos: chaos.clone(), ..Options::default() };
    let runtime = Runtime::start(options).await.map_err(|error| error.to_string())?;
    let mut crowd =
        Crowd { runtime: &runtime, seed, steps: 0, members: Vec::new(), gone: Vec::new(), accepted: Vec::new() };
    let began = Instant::now();
    for _ in 0..STEPS {
        crowd.step().await?;
        if began.elapsed() > CHAOS {
            chaos.stop();
        }
    }
    chaos.stop();
    crowd.settle().await?;
    crowd.check().await?;
    drop(crowd);
    timeout(PATIENCE, runtime.stop()).await.map_err(|_| "the runtime never stopped".to_owned())?;
    Ok(chaos.struck())
}

impl Crowd<'_> {
    /// A number from 0 (included) to `below` (excluded), the same for the same seed and step.
    fn dice(&mut self, below: u64) -> u64 {
        self.steps += 1;
        let mut z = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.steps.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 29)) % below.max(1)
    }

    fn pick(&mut self) -> usize {
        let count = self.members.len() as u64;
        usize::try_from(self.dice(count)).unwrap_or(0)
    }

    async fn step(&mut self) -> Result<(), String> {
        match self.dice(20) {
            _ if self.members.len() < 2 => self.join().await,
            0..=3 if (self.members.len() as u64) < MOST => self.join().await,
            4..=9 => self.broadcast().await,
            10..=15 => self.chat().await,
            16 => self.list().await,
            17 => self.leave(true).await,
            18 => self.leave(false).await,
            _ => {
                // A storm: half of them drop at once.
                for _ in 0..self.members.len() / 2 {
                    self.leave(false).await?;
                }
                Ok(())
            }
        }
    }

    async fn join(&mut self) -> Result<(), String> {
        self.members.extend(Member::join(&self.runtime.url()).await?);
        Ok(())
    }

    async fn leave(&mut self, politely: bool) -> Result<(), String> {
        let index = self.pick();
        let mut member = self.members.swap_remove(index);
        if politely {
            drop(member.to.close().await);
            drop(timeout(PATIENCE, &mut member.listening).await);
        }
        member.listening.abort();
        self.gone.push((member.id, member.heard.borrow().clone()));
        Ok(())
    }

    async fn broadcast(&mut self) -> Result<(), String> {
        let audience = self.members.iter().map(|member| member.id.clone()).collect();
        let (index, reference) = (self.pick(), format!("r{}", self.steps));
        let reply = self.members[index].ask(json!({"action": "broadcast", "message": reference}), &reference).await?;
        self.note(&reply, None, audience)
    }

    async fn chat(&mut self) -> Result<(), String> {
        let (from, to) = (self.pick(), self.pick());
        let (to, reference) = (self.members[to].id.clone(), format!("r{}", self.steps));
        let receipt = self.steps.is_multiple_of(2);
        let frame = json!({"action": "chat", "connection": to, "message": reference, "receipt": receipt});
        let reply = self.members[from].ask(frame, &reference).await?;
        self.note(&reply, Some(to.clone()), vec![to])
    }

    fn note(&mut self, reply: &Value, to: Option<String>, audience: Vec<String>) -> Result<(), String> {
        match reply["type"].as_str() {
            Some("accepted") => {
                let id = reply["id"].as_str().unwrap_or_default().to_owned();
                self.accepted.push(Accepted { id, to, audience });
                Ok(())
            }
            // The function was killed, or the event could not be recorded: the client knows nothing.
            None => Ok(()),
            Some("error") if reply["code"] == "unavailable" => Ok(()),
            _ => Err(format!("an unexpected reply: {reply}")),
        }
    }

    async fn list(&mut self) -> Result<(), String> {
        let (index, reference) = (self.pick(), format!("r{}", self.steps));
        let reply = self.members[index].ask(json!({"action": "list", "limit": 400}), &reference).await?;
        match reply["type"].as_str() {
            None | Some("connections") => Ok(()),
            Some("error") if reply["code"] == "unavailable" => Ok(()),
            _ => Err(format!("an unexpected reply: {reply}")),
        }
    }

    /// Waits until nothing is under way and everyone who dropped has been found.
    async fn settle(&mut self) -> Result<(), String> {
        let calm = async {
            loop {
                self.runtime.idle().await;
                let rows = self.runtime.view().all().await.map_err(|error| error.to_string())?;
                let live = rows.iter().filter(|row| row.live.is_some()).count();
                if live <= self.members.len() {
                    self.runtime.idle().await;
                    return Ok::<(), String>(());
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, calm).await.map_err(|_| "it never came to rest".to_owned())??;
        // What was pushed may still be on its way; a reply comes behind it.
        for member in &mut self.members {
            member.ask(json!({"action": "ping"}), "fence").await?;
        }
        Ok(())
    }

    async fn check(&mut self) -> Result<(), String> {
        let log = self.everything().await?;
        let heard = self.heard();
        self.check_nothing_given_up()?;
        self.check_accepted(&log)?;
        self.check_delivered(&log, &heard)?;
        check_audience(&log, &heard)?;
        self.check_view(&log).await?;
        self.check_nothing_left(&log)
    }

    async fn everything(&self) -> Result<Vec<RecordedEvent>, String> {
        let mut reader = self.runtime.log().scan(0, 1);
        let mut events = Vec::new();
        while let Some(stored) = reader.next().await.map_err(|error| error.to_string())? {
            events.push(stored.map_err(|error| error.to_string())?);
        }
        Ok(events)
    }

    fn heard(&self) -> Vec<(String, Vec<Value>)> {
        let here = self.members.iter().map(|member| (member.id.clone(), member.heard.borrow().clone()));
        here.chain(self.gone.iter().cloned()).collect()
    }

    /// 5a. No invocation and no record was given up.
    fn check_nothing_given_up(&self) -> Result<(), String> {
        let given_up = self.runtime.given_up();
        given_up.first().map_or(Ok(()), |(function, record)| Err(format!("{function} gave up {record}")))
    }

    /// 1. What was accepted is in the log, exactly once.
    fn check_accepted(&self, log: &[RecordedEvent]) -> Result<(), String> {
        for accepted in &self.accepted {
            let times = log.iter().filter(|event| event.id.to_string() == accepted.id).count();
            if times != 1 {
                return Err(format!("accepted {} is {times} times in the log", accepted.id));
            }
        }
        Ok(())
    }

    /// 2. Who was there and stayed heard it, or the log says that they did not.
    fn check_delivered(&self, log: &[RecordedEvent], heard: &[(String, Vec<Value>)]) -> Result<(), String> {
        let stayed: Vec<&String> = self.members.iter().map(|member| &member.id).collect();
        for accepted in &self.accepted {
            let outcomes: Vec<&Event> = outcomes(log, &accepted.id).collect();
            let failed: u32 =
                outcomes.iter().map(|event| if let Event::BroadcastDelivered(b) = event { b.failed } else { 0 }).sum();
            let undeliverable = outcomes.iter().any(|event| matches!(event, Event::MessageUndeliverable(_)));
            let missed: Vec<&String> = accepted
                .audience
                .iter()
                .filter(|id| stayed.contains(id))
                .filter(|id| !hears(heard, id, &accepted.id))
                .collect();
            let excused = if accepted.to.is_some() { undeliverable } else { missed.len() <= failed as usize };
            if !missed.is_empty() && !excused {
                return Err(format!("{accepted:?} was not heard by {missed:?}; outcomes: {outcomes:?}"));
            }
        }
        Ok(())
    }

    /// 4. The view is the fold of the log, and nobody who is there was ever thought lost.
    async fn check_view(&self, log: &[RecordedEvent]) -> Result<(), String> {
        for member in &self.members {
            let ended = log
                .iter()
                .filter(|event| connection::of_stream(&event.stream).is_some_and(|c| c.as_str() == member.id));
            if let Some(end) = ended.into_iter().find(|event| !matches!(event.event, Event::ConnectionOpened(_))) {
                return Err(format!("{} is here, and yet {:?}", member.id, end.event));
            }
        }
        let (log, view) = (self.runtime.log(), self.runtime.view());
        let scope = Scope { until: time::now() + chrono::Duration::minutes(1), settling: Duration::ZERO };
        let reconciliation = Reconciliation { log: &log, view: &view, scope, mode: Mode::Compare, segments: 1 };
        let mut differences = Vec::new();
        reconciliation
            .run(|difference| differences.push(difference), |_| {})
            .await
            .map_err(|error| error.to_string())?;
        if differences.is_empty() { Ok(()) } else { Err(format!("the view differs: {differences:?}")) }
    }

    /// 5b. Every accepted message has an outcome.
    fn check_nothing_left(&self, log: &[RecordedEvent]) -> Result<(), String> {
        let without = self.accepted.iter().find(|accepted| outcomes(log, &accepted.id).next().is_none());
        without.map_or(Ok(()), |accepted| Err(format!("{accepted:?} has no outcome")))
    }
}

fn outcomes<'a>(log: &'a [RecordedEvent], message: &str) -> impl Iterator<Item = &'a Event> {
    let stream = message.parse().map(delivery::stream).ok();
    log.iter().filter(move |event| Some(&event.stream) == stream.as_ref()).map(|event| &event.event)
}

fn hears(heard: &[(String, Vec<Value>)], id: &str, message: &str) -> bool {
    let frames = heard.iter().filter(|(who, _)| who == id).flat_map(|(_, frames)| frames);
    frames.into_iter().any(|frame| frame["id"] == message && (frame["type"] == "chat" || frame["type"] == "broadcast"))
}

/// 3. Nobody heard what was not for them, or what was said before they came.
fn check_audience(log: &[RecordedEvent], heard: &[(String, Vec<Value>)]) -> Result<(), String> {
    let opened: BTreeMap<String, DateTime<Utc>> = log
        .iter()
        .filter(|event| matches!(event.event, Event::ConnectionOpened(_)))
        .filter_map(|event| Some((connection::of_stream(&event.stream)?.to_string(), event.at)))
        .collect();
    let lobby: BTreeMap<String, DateTime<Utc>> = log
        .iter()
        .filter(|event| event.stream == conversation::lobby())
        .map(|event| (event.id.to_string(), event.at))
        .collect();
    for (id, frames) in heard {
        for frame in frames {
            let wrong = match frame["type"].as_str() {
                Some("chat") => frame["to"] != id.as_str(),
                Some("welcome") => frame["connection"] != id.as_str(),
                Some("broadcast") => lobby.get(frame["id"].as_str().unwrap_or_default()) < opened.get(id),
                _ => false,
            };
            if wrong {
                return Err(format!("{id} heard what was not for it: {frame}"));
            }
        }
    }
    Ok(())
}
