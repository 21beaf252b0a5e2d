//! Idle connections by the thousand: processes that hold them, and the one that started these.
//!
//! A holder says each thing in one line of its output, and does what a line of its input asks: `ping` has every connection ask the
//! server for a sign of life. It ends with its input, so it cannot outlive who started it.

use std::{
    io::{BufRead, BufReader, Write, stdin},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt, stream};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

use super::client::Cheap;

/// Handshakes of one holder under way at once.
const AT_ONCE: usize = 32;
/// Connections of one holder.
const EACH: usize = 2500;

/// Holds connections until its input ends.
pub async fn hold(url: &str, connections: usize) -> Result<()> {
    super::allow_open_files(connections)?;
    let (ask, asked) = watch::channel(0_u64);
    let (answer, mut answers) = mpsc::unbounded_channel();
    let mut held = JoinSet::new();
    let mut opening =
        stream::iter((0..connections).map(|_| async { Cheap::welcomed(url).await })).buffer_unordered(AT_ONCE);
    while let Some(opened) = opening.next().await {
        held.spawn(keep(opened?.0, asked.clone(), answer.clone()));
    }
    println!("open {}", held.len());
    let (line, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || stdin().lines().map_while(Result::ok).try_for_each(|text| line.send(text).ok()));
    while let Some(line) = lines.recv().await {
        ensure!(line == "ping", "{line}: not known here");
        ask.send_modify(|round| *round += 1);
        for _ in 0..connections {
            tokio::select! {
                answered = answers.recv() => answered.context("the connections ended")?,
                Some(ended) = held.join_next() => bail!("a connection ended: {:?}", ended?),
            }
        }
        println!("ponged {connections}");
    }
    Ok(())
}

/// Keeps a connection, and asks for a sign of life when told to.
async fn keep(client: Cheap, mut asked: watch::Receiver<u64>, answer: mpsc::UnboundedSender<()>) -> Result<()> {
    let (mut sending, mut receiving) = client.split();
    loop {
        tokio::select! {
            changed = asked.changed() => {
                changed?;
                sending.send(Message::text(r#"{"action":"ping"}"#)).await?;
            }
            frame = receiving.next() => if frame?.kind == "pong" { answer.send(())? },
        }
    }
}

/// Holders that were started.
pub struct Crowd {
    holders: Vec<Holder>,
}

struct Holder {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    connections: usize,
}

impl Crowd {
    /// Opens that many connections, in processes of their own, and waits until each is welcomed.
    pub fn gather(url: &str, connections: usize) -> Result<Crowd> {
        let mut holders = Vec::new();
        let mut left = connections;
        while left > 0 {
            let some = left.min(EACH);
            holders.push(Holder::start(url, some)?);
            left -= some;
        }
        holders.iter_mut().try_for_each(|holder| holder.says("open"))?;
        Ok(Crowd { holders })
    }

    /// How many there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.holders.iter().map(|holder| holder.connections).sum()
    }

    /// Has every connection ask for a sign of life, and waits until all have it.
    pub fn ping(&mut self) -> Result<()> {
        for holder in &mut self.holders {
            holder.child.stdin.as_mut().context("its input")?.write_all(b"ping\n")?;
        }
        self.holders.iter_mut().try_for_each(|holder| holder.says("ponged"))
    }
}

impl Holder {
    fn start(url: &str, connections: usize) -> Result<Holder> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hold", "--url", url, "--connections", &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Holder { child, output, connections })
    }

    fn says(&mut self, what: &str) -> Result<()> {
        let mut said = String::new();
        self.output.read_line(&mut said)?;
        let expected = format!("{what} {}", self.connections);
        ensure!(said.trim() == expected, "a process of {} connections said `{}`", self.connections, said.trim());
        Ok(())
    }
}

impl Drop for Holder {
    /// Ends it by killing it: its connections vanish without a word, as they do when a network goes.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
