//! How much is going on: open connections, and work in flight.
//!
//! `Gateway::shutdown` and whoever waits for a quiet gateway watch these two numbers. Both live in one channel, so that
//! something passing from one to the other is never seen in neither.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) connections: usize,
    pub(super) in_flight: usize,
}

#[derive(Default)]
pub(super) struct Load(watch::Sender<Counts>);

/// One more in a count for as long as it, or a clone of it, is held.
#[derive(Clone)]
pub(super) struct Held {
    _one: Arc<One>,
}

struct One {
    counts: watch::Sender<Counts>,
    which: fn(&mut Counts) -> &mut usize,
}

impl Load {
    pub(super) fn connection(&self) -> Held {
        self.hold(|counts| &mut counts.connections)
    }

    pub(super) fn in_flight(&self) -> Held {
        self.hold(|counts| &mut counts.in_flight)
    }

    pub(super) fn counts(&self) -> Counts {
        *self.0.borrow()
    }

    pub(super) async fn reaches(&self, goal: fn(&Counts) -> bool) {
        // The sender is ours, so the channel cannot close while we wait.
        let _ = self.0.subscribe().wait_for(goal).await;
    }

    fn hold(&self, which: fn(&mut Counts) -> &mut usize) -> Held {
        self.0.send_modify(|counts| *which(counts) += 1);
        let counts = self.0.clone();
        Held { _one: Arc::new(One { counts, which }) }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.counts.send_modify(|counts| *(self.which)(counts) -= 1);
    }
}
