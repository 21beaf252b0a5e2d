//! Chaos: a share of everything goes wrong, as it may on AWS. Off by default.
//!
//! For tests and for whoever wants to see the chat survive. What goes wrong is decided by a seed, by the kind of mishap and
//! by how many such decisions came before: in a simulation a seed does exactly the same again, on real sockets much the
//! same. Every mishap is counted. What may go wrong is in `plan.rs`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    Effect, Plan,
    plan::{Calls, REST},
    randomness::split_mix,
};

/// Records that may be delivered again long after they were done.
const REMEMBERED: usize = 200;

/// Hears of every mishap: its kind, and what it struck.
pub type Teller = Box<dyn Fn(&str, &str) + Send + Sync>;

/// Per kind of mishap and what it strikes: decisions made, and mishaps among them.
type Tally = BTreeMap<(&'static str, String), (u64, u64)>;

/// A plan at work. Clones share it.
#[derive(Clone, Default)]
pub struct Chaos(Arc<Inner>);

#[derive(Default)]
struct Inner {
    plan: Plan,
    over: AtomicBool,
    tally: Mutex<Tally>,
    teller: Option<Teller>,
}

impl Chaos {
    /// Starts at once.
    #[must_use]
    pub fn new(plan: Plan) -> Chaos {
        Chaos(Arc::new(Inner { plan, ..Inner::default() }))
    }

    /// Starts at once, and tells of every mishap.
    #[must_use]
    pub fn told(plan: Plan, teller: Teller) -> Chaos {
        Chaos(Arc::new(Inner { plan, teller: Some(teller), ..Inner::default() }))
    }

    /// From now on nothing goes wrong any more.
    pub fn stop(&self) {
        self.0.over.store(true, Ordering::SeqCst);
    }

    /// How often each kind of mishap struck, and what: `refuse PutItem`.
    #[must_use]
    pub fn struck(&self) -> BTreeMap<String, u64> {
        let tally = self.0.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let struck = tally.iter().filter(|(_, (_, struck))| *struck > 0);
        struck.map(|((kind, on), (_, struck))| (format!("{kind} {on}").trim_end().to_owned(), *struck)).collect()
    }

    /// What goes wrong with the next call of `operation`, if anything.
    pub(crate) fn effect_on(&self, operation: &str) -> Option<Effect> {
        let plan = &self.0.plan;
        if operation == "PutEvents" && self.strikes("fail_entries", "", plan.fail_entries) {
            return Some(Effect::FailEntries);
        }
        let calls: &Calls = plan.calls.get(operation).or_else(|| plan.calls.get(REST))?;
        let throttling =
            if operation.ends_with("Connection") { "LimitExceededException" } else { "ThrottlingException" };
        let strikes = |kind, share| self.strikes(kind, operation, share);
        if strikes("refuse", calls.refuse) {
            Some(Effect::Refuse(500, "InternalServerError"))
        } else if strikes("throttle", calls.throttle) {
            Some(Effect::Refuse(429, throttling))
        } else if strikes("ignore", calls.ignore) {
            Some(Effect::Ignore)
        } else if strikes("fail_after", calls.fail_after) {
            Some(Effect::FailAfter)
        } else if strikes("lose_answer", calls.lose_answer) {
            Some(Effect::LoseAnswer)
        } else if strikes("delay", calls.delay) {
            Some(Effect::Delay(self.up_to("delay", calls.delay_ms)))
        } else {
            None
        }
    }

    /// What the stream delivers instead of a batch: parts in order, each after a wait. Streams keep the order of one item
    /// only, and every event is an item of its own, so any order is one that they may choose.
    pub(crate) fn disturb<T: Clone>(&self, mut batch: Vec<T>, recent: &mut VecDeque<T>) -> Vec<(Duration, Vec<T>)> {
        let plan = &self.0.plan;
        if plan.is_calm() {
            return vec![(Duration::ZERO, batch)];
        }
        let new: Vec<T> = batch.clone();
        for _ in 0..batch.len() {
            if !recent.is_empty() && self.strikes("repeat_record", "", plan.repeat_record) {
                let which = self.index("repeated", recent.len());
                let at = self.index("repeated_at", batch.len() + 1);
                batch.insert(at, recent[which].clone());
            }
        }
        recent.extend(new);
        recent.drain(..recent.len().saturating_sub(REMEMBERED));
        if batch.len() > 1 && self.strikes("shuffle_batch", "", plan.shuffle_batch) {
            (1..batch.len()).rev().for_each(|last| batch.swap(last, self.index("shuffle", last + 1)));
        }
        let mut parts = vec![batch];
        if parts[0].len() > 1 && self.strikes("split_batch", "", plan.split_batch) {
            let at = 1 + self.index("split_at", parts[0].len() - 1);
            let rest = parts[0].split_off(at);
            parts.push(rest);
        }
        let mut delivered = Vec::new();
        for part in parts {
            let late = self.strikes("late_batch", "", plan.late_batch);
            let late = if late { self.up_to("late_batch", plan.late_batch_ms) } else { Duration::ZERO };
            if self.strikes("duplicate_batch", "", plan.duplicate_batch) {
                delivered.push((Duration::ZERO, part.clone()));
            }
            delivered.push((late, part));
        }
        delivered
    }

    /// Whether this connection answers 410 because it is young, though it is there.
    pub(crate) fn hides(&self, connection: &str, age_ms: i64) -> bool {
        let plan = &self.0.plan;
        let young = u64::try_from(age_ms).unwrap_or(0) < plan.early_gone_ms;
        let chosen = || fraction(plan.seed, connection, 0) < plan.early_gone;
        let hides = young && plan.early_gone > 0.0 && !self.is_over() && chosen();
        if hides {
            self.count("early_gone", "", true);
        }
        hides
    }

    /// Whether a call of `function` that the bus accepted is made twice.
    pub(crate) fn duplicates(&self, function: &str) -> bool {
        self.strikes("duplicate_event", function, self.0.plan.duplicate_event)
    }

    /// How late the next event from the bus comes, if it does.
    pub(crate) fn delays_event(&self) -> Option<Duration> {
        let plan = &self.0.plan;
        self.strikes("late_event", "", plan.late_event).then(|| self.up_to("late_event", plan.late_event_ms))
    }

    /// How long the next invocation of `function` lives, if it is killed.
    pub(crate) fn kills(&self, function: &str) -> Option<Duration> {
        let plan = &self.0.plan;
        let killed = self.strikes("kill_function", function, plan.kill_function);
        killed.then(|| self.up_to("kill_function", plan.kill_within_ms))
    }

    /// Whether the next `$disconnect` never happens.
    pub(crate) fn drops_disconnect(&self) -> bool {
        self.strikes("drop_disconnect", "", self.0.plan.drop_disconnect)
    }

    fn is_over(&self) -> bool {
        self.0.over.load(Ordering::SeqCst)
    }

    /// Decides whether the next thing of this kind goes wrong.
    fn strikes(&self, kind: &'static str, on: &str, share: f64) -> bool {
        if share <= 0.0 || self.is_over() {
            return false;
        }
        let number = self.count(kind, on, false);
        let strikes = fraction(self.0.plan.seed, &format!("{kind} {on}"), number) < share;
        if strikes {
            self.count(kind, on, true);
        }
        strikes
    }

    /// Counts a decision, or a mishap, and tells of a mishap. Gives the number of decisions so far.
    fn count(&self, kind: &'static str, on: &str, mishap: bool) -> u64 {
        let number = {
            let mut tally = self.0.tally.lock().unwrap_or_else(PoisonError::into_inner);
            let (decisions, struck) = tally.entry((kind, on.to_owned())).or_default();
            if mishap {
                *struck += 1;
            } else {
                *decisions += 1;
            }
            *decisions
        };
        if let Some(tell) = self.0.teller.as_ref().filter(|_| mishap) {
            tell(kind, on);
        }
        number
    }

    /// From nothing to this many milliseconds.
    fn up_to(&self, what: &'static str, millis: u64) -> Duration {
        Duration::from_millis(self.pick(what, millis + 1))
    }

    fn index(&self, what: &'static str, below: usize) -> usize {
        usize::try_from(self.pick(what, below as u64)).unwrap_or(0)
    }

    /// A number from 0 (included) to `below` (excluded).
    fn pick(&self, what: &'static str, below: u64) -> u64 {
        let number = self.count(what, "pick", false);
        mix(self.0.plan.seed, &format!("{what} pick"), number) % below.max(1)
    }
}

/// From 0 (included) to 1 (excluded).
#[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
fn fraction(seed: u64, kind: &str, number: u64) -> f64 {
    (mix(seed, kind, number) >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64 over seed, kind and number.
fn mix(seed: u64, kind: &str, number: u64) -> u64 {
    let start = kind.bytes().fold(split_mix(seed), |hash, byte| split_mix(hash ^ u64::from(byte)));
    split_mix(start ^ number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_same_again_and_its_shares_come_true() {
        let rolls = |seed| {
            let chaos = Chaos::new(Plan { seed, ..Plan::default() });
            (0..10_000).map(|_| chaos.strikes("refuse", "PutItem", 0.1)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
        let struck = rolls(7).into_iter().filter(|strikes| *strikes).count();
        assert!((900..1100).contains(&struck), "{struck} of 10,000 at a tenth");
    }

    #[test]
    fn nothing_goes_wrong_without_a_plan_or_after_the_end() {
        let all = Calls { refuse: 1.0, ..Calls::default() };
        assert_eq!(Chaos::default().effect_on("PutItem"), None);
        let chaos = Chaos::new(Plan { calls: [(REST.to_owned(), all)].into(), ..Plan::default() });
        assert_eq!(chaos.effect_on("PutItem"), Some(Effect::Refuse(500, "InternalServerError")));
        assert_eq!(chaos.struck(), [("refuse PutItem".to_owned(), 1)].into());
        chaos.stop();
        assert_eq!(chaos.effect_on("PutItem"), None);
    }

    #[test]
    fn an_operation_that_is_named_has_its_own_shares() {
        let chaos = Chaos::new(Plan {
            calls: [
                (REST.to_owned(), Calls { refuse: 1.0, ..Calls::default() }),
                ("Query".to_owned(), Calls { throttle: 1.0, ..Calls::default() }),
            ]
            .into(),
            ..Plan::default()
        });
        assert_eq!(chaos.effect_on("Query"), Some(Effect::Refuse(429, "ThrottlingException")));
        assert_eq!(chaos.effect_on("GetItem"), Some(Effect::Refuse(500, "InternalServerError")));
    }

    #[test]
    fn a_disturbed_batch_has_every_record_and_none_that_never_was() {
        let chaos = Chaos::new(Plan {
            duplicate_batch: 0.5,
            repeat_record: 0.3,
            shuffle_batch: 0.5,
            split_batch: 0.5,
            late_batch: 0.5,
            late_batch_ms: 10,
            ..Plan::default()
        });
        let mut recent = VecDeque::new();
        let mut in_order = 0;
        for start in (0..1000).step_by(10) {
            let batch: Vec<u32> = (start..start + 10).collect();
            let parts = chaos.disturb(batch.clone(), &mut recent);
            let delivered: Vec<u32> = parts.into_iter().flat_map(|(_, part)| part).collect();
            assert!(batch.iter().all(|record| delivered.contains(record)));
            assert!(delivered.iter().all(|record| *record < start + 10));
            in_order += u32::from(delivered == batch);
        }
        assert!(in_order < 30, "{in_order} of 100 batches came as they were");
        let struck = chaos.struck();
        for kind in ["duplicate_batch", "repeat_record", "shuffle_batch", "split_batch", "late_batch"] {
            assert!(struck[kind] > 10, "{struck:?}");
        }
    }
}
