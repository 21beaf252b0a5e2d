//! How long from sent to received, measured open-loop: what is due is sent when it is due, however slow the answers are, and its time
//! counts from when it was due. A server that stalls is not spared the messages that waited meanwhile.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{SinkExt, StreamExt, future::try_join_all, stream};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    time::{sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use super::client::{Cheap, Receiving, Sending};
use crate::PATIENCE;

/// Handshakes under way at once while a crowd comes together.
const AT_ONCE: usize = 32;

/// What was measured. Latencies are milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Connected clients.
    pub clients: usize,
    /// Messages sent.
    pub sent: u64,
    /// Messages the server has accepted; it refuses what it cannot record in time, such as when it has far too much to do.
    pub accepted: u64,
    /// Messages received; of a broadcast each recipient counts.
    pub received: u64,
    /// Messages a second as asked for, and as sent.
    pub rate_wanted: f64,
    /// As sent.
    pub rate: f64,
    /// Half were faster.
    pub p50: f64,
    /// All but one in a hundred were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// What to measure.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Pace {
    /// Connected clients
    #[arg(long, default_value_t = 100)]
    pub clients: usize,
    /// Messages a second, of all clients together
    #[arg(long, default_value_t = 200.0)]
    pub rate: f64,
    /// For how long
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
}

/// Direct messages, each client to the next in turn.
pub async fn chat(url: &str, pace: Pace) -> Result<Latency> {
    measure(url, pace, 1, |next, due| format!(r#"{{"action":"chat","connection":"{next}","message":"{due}"}}"#)).await
}

/// Broadcasts of each client in turn, heard by all.
pub async fn broadcast(url: &str, pace: Pace) -> Result<Latency> {
    measure(url, pace, pace.clients as u64, |_, due| format!(r#"{{"action":"broadcast","message":"{due}"}}"#)).await
}

async fn measure(url: &str, pace: Pace, heard_by: u64, frame: impl Fn(&str, u128) -> String) -> Result<Latency> {
    super::allow_open_files(pace.clients)?;
    let (senders, receivers) = gather(url, pace.clients).await?;
    let epoch = Instant::now();
    let count = (pace.rate * pace.seconds as f64) as u64;
    let (heard, hearing) = mpsc::unbounded_channel();
    receivers.into_iter().for_each(|receiver| drop(tokio::spawn(listen(receiver, epoch, heard.clone()))));
    drop(heard);
    let recording = tokio::spawn(record(hearing, count, heard_by));
    for number in 0..count {
        let due = Duration::from_secs_f64(number as f64 / pace.rate);
        sleep_until((epoch + due).into()).await;
        let from = number as usize % senders.len();
        let (_, next) = &senders[(from + 1) % senders.len()];
        senders[from].0.send(frame(next, due.as_nanos())).ok().context("a client ended")?;
    }
    let sending_took = epoch.elapsed();
    let Heard { accepted, took, .. } = recording.await?;
    ensure!(!took.is_empty(), "nothing was received");
    let quantile = |share: f64| took[((took.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    Ok(Latency {
        clients: pace.clients,
        sent: count,
        accepted,
        received: took.len() as u64,
        rate_wanted: pace.rate,
        rate: count as f64 / sending_took.as_secs_f64(),
        p50: quantile(0.5),
        p99: quantile(0.99),
        max: quantile(1.0),
    })
}

/// What the clients heard.
#[derive(Default)]
struct Heard {
    accepted: u64,
    refused: u64,
    /// Of each message received, in microseconds, the shortest first.
    took: Vec<u64>,
}

enum Hears {
    Accepted,
    Refused,
    Message(u64),
}

/// Until every message is answered, and everyone has heard what was accepted; or nothing comes any more.
async fn record(mut hearing: mpsc::UnboundedReceiver<Hears>, count: u64, heard_by: u64) -> Heard {
    let mut all = Heard::default();
    while all.accepted + all.refused < count || (all.took.len() as u64) < all.accepted * heard_by {
        match timeout(PATIENCE, hearing.recv()).await {
            Ok(Some(Hears::Accepted)) => all.accepted += 1,
            Ok(Some(Hears::Refused)) => all.refused += 1,
            Ok(Some(Hears::Message(micros))) => all.took.push(micros),
            Ok(None) | Err(_) => break,
        }
    }
    all.took.sort_unstable();
    all
}

/// A client's way to send, and its connection id.
type Sender = (mpsc::UnboundedSender<String>, Arc<str>);

/// Connects everybody.
async fn gather(url: &str, clients: usize) -> Result<(Vec<Sender>, Vec<Receiving>)> {
    let opening = (0..clients).map(|_| async { Cheap::welcomed(url).await });
    let opened: Vec<Result<(Cheap, String)>> = stream::iter(opening).buffer_unordered(AT_ONCE).collect().await;
    let opened = try_join_all(opened.into_iter().map(std::future::ready)).await?;
    ensure!(!opened.is_empty(), "no clients");
    Ok(opened
        .into_iter()
        .map(|(client, id)| {
            let (sending, receiving) = client.split();
            let (outbox, queue) = mpsc::unbounded_channel();
            tokio::spawn(send_all(sending, queue));
            ((outbox, Arc::from(id)), receiving)
        })
        .unzip())
}

async fn send_all(mut sending: Sending, mut queue: mpsc::UnboundedReceiver<String>) -> Result<()> {
    while let Some(text) = queue.recv().await {
        sending.send(Message::text(text)).await?;
    }
    Ok(())
}

/// Tells what comes. A repeat of a message would count twice: at the loads measured there are none.
async fn listen(mut receiving: Receiving, epoch: Instant, heard: mpsc::UnboundedSender<Hears>) -> Result<()> {
    loop {
        let frame = receiving.next().await?;
        heard.send(match frame.kind.as_str() {
            "accepted" => Hears::Accepted,
            "error" => Hears::Refused,
            "chat" | "broadcast" => {
                let due = Duration::from_nanos(frame.message.parse()?);
                Hears::Message(u64::try_from(epoch.elapsed().saturating_sub(due).as_micros())?)
            }
            _ => continue,
        })?;
    }
}
