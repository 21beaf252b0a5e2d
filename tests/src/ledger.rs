//! What one operation of the chat comes to: calls, units, invocations, frames. For the test of costs and the growth bench.
//!
//! Calls and units are read off the AWS-facing wire ([`local::Meter`]); invocations and replies off the summary line every
//! invocation logs. Nothing in the handlers counts for us.

use std::{
    collections::BTreeMap,
    fmt,
    ops::AddAssign,
    sync::{Arc, Mutex, PoisonError},
};

use local::{Meter, Metered};
use serde::{Deserialize, Serialize};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

/// What an operation came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Invocations by function. Those of `projector` are left out: how many records share one is a matter of load.
    pub invocations: BTreeMap<String, usize>,
    /// Events appended, each a record for `projector`.
    pub records: usize,
    /// Frames of clients that were answered, each with one frame.
    pub answered: usize,
    /// By what was called.
    pub calls: BTreeMap<String, Calls>,
}

/// Calls of one kind, added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Calls {
    /// How many.
    pub calls: usize,
    /// Write units of the table.
    #[serde(skip_serializing_if = "is_none")]
    pub write: f64,
    /// Write units of its index.
    #[serde(skip_serializing_if = "is_none")]
    pub index_write: f64,
    /// Read units.
    #[serde(skip_serializing_if = "is_none")]
    pub read: f64,
    /// 32 KB parts of pushes, 64 KB parts of events on the bus.
    #[serde(skip_serializing_if = "is_zero")]
    pub parts: usize,
    /// Bytes of items put, frames pushed, events published.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_none(units: &f64) -> bool {
    *units == 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl AddAssign<&Metered> for Calls {
    fn add_assign(&mut self, call: &Metered) {
        self.calls += 1;
        self.write += call.write;
        self.index_write += call.index_write;
        self.read += call.read;
        self.parts += call.parts;
        self.bytes += call.bytes;
    }
}

impl Cost {
    /// Calls of this kind.
    #[must_use]
    pub fn of(&self, call: &str) -> Calls {
        self.calls.get(call).cloned().unwrap_or_default()
    }

    /// All calls to AWS. An event on the bus is part of its PutEvents.
    #[must_use]
    pub fn all_calls(&self) -> usize {
        self.calls.iter().filter(|(call, _)| !call.starts_with("event ")).map(|(_, calls)| calls.calls).sum()
    }

    /// All write units, those of indexes too.
    #[must_use]
    pub fn all_writes(&self) -> f64 {
        self.calls.values().fold(0.0, |all, calls| all + calls.write + calls.index_write)
    }

    /// All read units.
    #[must_use]
    pub fn all_reads(&self) -> f64 {
        self.calls.values().fold(0.0, |all, calls| all + calls.read)
    }
}

/// Counts what happens on this thread's runtime.
pub struct Ledger {
    meter: Meter,
    lines: Lines,
    _listening: DefaultGuard,
}

impl Ledger {
    /// Counts what crosses `meter`, and the summary lines of this thread: the runtime must be of the `current_thread` kind.
    #[must_use]
    pub fn new(meter: Meter) -> Ledger {
        let lines = Lines::default();
        Ledger { meter, _listening: tracing::subscriber::set_default(lines.clone()), lines }
    }

    /// What it came to since the last time. All must be at rest.
    #[must_use]
    pub fn take(&self) -> Cost {
        let mut cost = Cost::default();
        for call in self.meter.take() {
            cost.records +=
                usize::from(call.call.starts_with("PutItem events") && !call.call.ends_with("there already"));
            *cost.calls.entry(call.call.clone()).or_default() += &call;
        }
        for line in std::mem::take(&mut *self.lines.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            cost.answered += usize::from(line.reply);
            if line.function != "projector" {
                *cost.invocations.entry(line.function).or_default() += 1;
            }
        }
        cost
    }
}

/// The summary lines of invocations: those that name their `function`.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

#[derive(Default)]
struct Line {
    function: String,
    reply: bool,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "function" => self.function = format!("{value:?}").trim_matches('"').to_owned(),
            "reply" => self.reply = true,
            _ => {}
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("handlers")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        if !line.function.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
