//! One function in one process, as Lambda runs it: the Runtime API on the harness's side, and the process's figures.

use std::{
    cell::RefCell,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    rc::Rc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use hyper::http::HeaderValue;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    time::clock_getcpuclockid,
    unistd::Pid,
};
use tokio::sync::{mpsc, oneshot};

use crate::server::{Answer, json, serve};

/// Only turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the Runtime API takes to answer. What an empty invocation costs depends on it: one that is answered at once hardly
/// sleeps between its requests, and one that waits longer wakes up in a colder processor. A bare one takes 0.022 ms of processor
/// time at 25 µs, 0.035 at 60 and 0.070 at 200 on the machine of the README. At 100 it is near the 0.054 ms of the harness that
/// measured the original, so that multiples of the floor can be compared.
const ANSWERING: Duration = Duration::from_micros(100);

/// What the deployment tells a function.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// A running function. Killed when dropped.
pub(crate) struct Function {
    child: Child,
    asked: mpsc::UnboundedReceiver<Asked>,
    /// Answers the pending `next`.
    next: Option<oneshot::Sender<Bytes>>,
    /// From spawn to the first `next`.
    pub(crate) started: Used,
}

/// What something took.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    pub(crate) wall: Duration,
    /// Processor time of the whole process.
    pub(crate) cpu: Duration,
}

/// What the function asked of the Runtime API.
enum Asked {
    Next(Instant, oneshot::Sender<Bytes>),
    Answered(Instant, Bytes),
    Failed(String),
}

impl Function {
    /// Starts `program` as the function `handler` on `cpu`, and waits until it asks for its first event.
    pub(crate) async fn start(
        program: &Path,
        handler: &str,
        variables: &Variables,
        cpu: Option<usize>,
    ) -> Result<Self> {
        let (ask, asked) = mpsc::unbounded_channel();
        let ask = Rc::new(RefCell::new(ask));
        let api = serve(None, move |head, body| answer(ask.clone(), head.uri.path().to_owned(), body)).await?;
        let mut command = Command::new(program);
        command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
        command.env("AWS_LAMBDA_RUNTIME_API", api.to_string()).env("_HANDLER", handler);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let before = Instant::now();
        let child = spawn(command, cpu).with_context(|| format!("starting {}", program.display()))?;
        let nothing = Used { wall: Duration::ZERO, cpu: Duration::ZERO };
        let mut function = Function { child, asked, next: None, started: nothing };
        let at = function.wait_for_next().await.with_context(|| format!("{handler} did not start"))?;
        function.started = Used { wall: at - before, cpu: function.cpu()? };
        Ok(function)
    }

    /// Invokes it once: the wall time is until the answer, the processor time until it asks for the next event.
    pub(crate) async fn invoke(&mut self, event: Bytes) -> Result<(Used, Bytes)> {
        let next = self.next.take().context("it is not waiting for an event")?;
        let (before, cpu) = (Instant::now(), self.cpu()?);
        next.send(event).map_err(|_| anyhow!("it hung up"))?;
        let (at, answer) = match self.ask().await? {
            Asked::Answered(at, answer) => (at, answer),
            Asked::Failed(why) => bail!("the function failed: {why}"),
            Asked::Next(..) => bail!("it asked for an event before it answered the last"),
        };
        self.wait_for_next().await?;
        Ok((Used { wall: at - before, cpu: self.cpu()?.saturating_sub(cpu) }, answer))
    }

    async fn wait_for_next(&mut self) -> Result<Instant> {
        match self.ask().await? {
            Asked::Next(at, next) => {
                self.next = Some(next);
                Ok(at)
            }
            Asked::Failed(why) => bail!("it failed: {why}"),
            Asked::Answered(..) => bail!("it answered what nobody asked"),
        }
    }

    async fn ask(&mut self) -> Result<Asked> {
        let asked = tokio::time::timeout(PATIENCE, self.asked.recv()).await;
        asked.context("it said nothing for a minute")?.context("the Runtime API is gone")
    }

    /// Processor time so far, to the nanosecond.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(Duration::from(clock_getcpuclockid(self.pid()?)?.now()?))
    }

    /// The most memory it ever had, in MiB.
    pub(crate) fn peak_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
        Ok(peak.context("no VmHWM")?.parse::<f64>()? / 1024.0)
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A child inherits the processor of the thread that spawns it.
fn spawn(mut command: Command, cpu: Option<usize>) -> Result<Child> {
    let spawning = thread::spawn(move || -> Result<Child> {
        if let Some(cpu) = cpu {
            pin(cpu)?;
        }
        Ok(command.spawn()?)
    });
    spawning.join().map_err(|_| anyhow!("spawning panicked"))?
}

/// Keeps the calling thread, and what it starts, on one processor.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pinning to processor {cpu}"))
}

async fn answer(ask: Rc<RefCell<mpsc::UnboundedSender<Asked>>>, path: String, body: Bytes) -> Answer {
    let now = Instant::now();
    let say = |asked| drop(ask.borrow().send(asked));
    let ready = now + ANSWERING;
    if path.ends_with("/invocation/next") {
        let (next, event) = oneshot::channel();
        say(Asked::Next(now, next));
        // Lambda keeps a function waiting for ever, and so do we.
        return match event.await {
            Ok(event) => {
                spin_until(ready);
                invocation(event)
            }
            Err(_) => std::future::pending().await,
        };
    }
    let text = || String::from_utf8_lossy(&body).into_owned();
    say(if path.ends_with("/response") { Asked::Answered(now, body.clone()) } else { Asked::Failed(text()) });
    spin_until(ready);
    json(202, r#"{"status":"OK"}"#)
}

/// Shorter than any timer.
fn spin_until(ready: Instant) {
    while Instant::now() < ready {
        std::hint::spin_loop();
    }
}

fn invocation(event: Bytes) -> Answer {
    let deadline = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + PATIENCE;
    let mut answer = json(200, event);
    let headers = answer.headers_mut();
    headers.insert("lambda-runtime-deadline-ms", HeaderValue::from(deadline.as_millis() as u64));
    for (name, value) in [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:webchat"),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
