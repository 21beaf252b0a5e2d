//! Waits that end when they should: tokio's timer rounds up to whole milliseconds, which at +10 ms would be 5 % of the result.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// A thread that wakes whoever waits, some tens of microseconds late.
#[derive(Clone)]
pub(crate) struct Delay(mpsc::Sender<Alarm>);

struct Alarm {
    at: Instant,
    wake: oneshot::Sender<()>,
}

impl Delay {
    pub(crate) fn start() -> Delay {
        let (alarms, incoming) = mpsc::channel();
        std::thread::spawn(move || ring(&incoming));
        Delay(alarms)
    }

    pub(crate) async fn until(&self, at: Instant) {
        let (wake, woken) = oneshot::channel();
        if self.0.send(Alarm { at, wake }).is_ok() {
            drop(woken.await);
        }
    }
}

fn ring(incoming: &mpsc::Receiver<Alarm>) {
    let mut waiting = BinaryHeap::new();
    loop {
        let now = Instant::now();
        while waiting.peek().is_some_and(|Reverse(Alarm { at, .. })| *at <= now) {
            if let Some(Reverse(alarm)) = waiting.pop() {
                // Whoever no longer waits has no need of it.
                let _ = alarm.wake.send(());
            }
        }
        let pause = waiting.peek().map_or(Duration::MAX, |Reverse(Alarm { at, .. })| at.duration_since(now));
        match incoming.recv_timeout(pause.min(Duration::from_secs(3600))) {
            Ok(alarm) => waiting.push(Reverse(alarm)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
