//! Chaos: a share of everything goes wrong, as it may on AWS. Off by default.
//!
//! For tests and for whoever wants to see the chat survive. What goes wrong is decided by a seed, by the kind of mishap
//! and by how many such decisions came before, so a seed does much the same again. Every mishap is counted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Deserialize;

use crate::Effect;

/// What may go wrong, each as a share from 0 (never) to 1 (always).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Decides which ones.
    pub seed: u64,
    /// AWS calls answered with 500, without effect.
    pub refuse: f64,
    /// AWS calls throttled, without effect.
    pub throttle: f64,
    /// AWS calls that take effect and are answered with 500.
    pub fail_after: f64,
    /// AWS calls that take effect and are never answered.
    pub lose_answer: f64,
    /// PutEvents calls of which every second entry fails.
    pub fail_entries: f64,
    /// Pushes answered 410 although the connection is there.
    pub gone: f64,
    /// Batches of stream records delivered twice.
    pub duplicate_batch: f64,
    /// Batches of stream records shuffled: every record is another item, so any order is one that Streams may choose.
    pub shuffle_batch: f64,
    /// Bus events delivered twice.
    pub duplicate_event: f64,
    /// Bus events delivered later than others.
    pub late_event: f64,
    /// Invocations whose function is killed in the middle.
    pub kill_function: f64,
    /// `$disconnect` invocations that never happen.
    pub drop_disconnect: f64,
}

/// A plan at work. Clones share it.
#[derive(Clone, Default)]
pub struct Chaos(Arc<Inner>);

#[derive(Default)]
struct Inner {
    plan: Plan,
    over: AtomicBool,
    /// Per kind of mishap: decisions made, and mishaps among them.
    tally: Mutex<BTreeMap<&'static str, (u64, u64)>>,
}

impl Chaos {
    /// Starts at once.
    #[must_use]
    pub fn new(plan: Plan) -> Chaos {
        Chaos(Arc::new(Inner { plan, ..Inner::default() }))
    }

    /// From now on nothing goes wrong any more.
    pub fn stop(&self) {
        self.0.over.store(true, Ordering::SeqCst);
    }

    /// How often each kind of mishap struck.
    #[must_use]
    pub fn struck(&self) -> BTreeMap<&'static str, u64> {
        let tally = self.0.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.iter().map(|(kind, (_, struck))| (*kind, *struck)).collect()
    }

    /// What goes wrong with the next call of `operation`, if anything.
    pub(crate) fn effect_on(&self, operation: &str) -> Option<Effect> {
        let plan = &self.0.plan;
        let gone = operation == "PostToConnection" && self.strikes("gone", plan.gone);
        let fail_entries = operation == "PutEvents" && self.strikes("fail_entries", plan.fail_entries);
        let throttling =
            if operation.ends_with("Connection") { "LimitExceededException" } else { "ThrottlingException" };
        let effects = [
            (gone, Effect::Refuse(410, "GoneException")),
            (fail_entries, Effect::FailEntries),
            (self.strikes("refuse", plan.refuse), Effect::Refuse(500, "InternalServerError")),
            (self.strikes("throttle", plan.throttle), Effect::Refuse(429, throttling)),
            (self.strikes("fail_after", plan.fail_after), Effect::FailAfter),
            (self.strikes("lose_answer", plan.lose_answer), Effect::LoseAnswer),
        ];
        effects.into_iter().find_map(|(strikes, effect)| strikes.then_some(effect))
    }

    /// The shares.
    pub(crate) fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// Decides whether the next thing of this kind goes wrong.
    pub(crate) fn strikes(&self, kind: &'static str, share: f64) -> bool {
        if share <= 0.0 || self.0.over.load(Ordering::SeqCst) {
            return false;
        }
        let mut tally = self.0.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let (decisions, struck) = tally.entry(kind).or_default();
        *decisions += 1;
        let strikes = fraction(self.0.plan.seed, kind, *decisions) < share;
        *struck += u64::from(strikes);
        strikes
    }

    /// A number for the next thing of this kind, from 0 (included) to `below` (excluded).
    pub(crate) fn pick(&self, kind: &'static str, below: u64) -> u64 {
        let mut tally = self.0.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let (decisions, _) = tally.entry(kind).or_default();
        *decisions += 1;
        mix(self.0.plan.seed, kind, *decisions) % below.max(1)
    }
}

/// From 0 (included) to 1 (excluded).
#[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
fn fraction(seed: u64, kind: &str, number: u64) -> f64 {
    (mix(seed, kind, number) >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64 over seed, kind and number: spreads neighbouring inputs over all outputs.
fn mix(seed: u64, kind: &str, number: u64) -> u64 {
    let start = kind.bytes().fold(seed, |hash, byte| split_mix(hash ^ u64::from(byte)));
    split_mix(start ^ number)
}

fn split_mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_same_again_and_its_shares_come_true() {
        let rolls = |seed| {
            let chaos = Chaos::new(Plan { seed, ..Plan::default() });
            (0..10_000).map(|_| chaos.strikes("refuse", 0.1)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
        let struck = rolls(7).into_iter().filter(|strikes| *strikes).count();
        assert!((900..1100).contains(&struck), "{struck} of 10,000 at a tenth");
    }

    #[test]
    fn nothing_goes_wrong_without_a_plan_or_after_the_end() {
        assert!(!Chaos::default().strikes("refuse", 0.0));
        let chaos = Chaos::new(Plan { refuse: 1.0, ..Plan::default() });
        assert!(chaos.strikes("refuse", 1.0));
        chaos.stop();
        assert!(!chaos.strikes("refuse", 1.0));
    }
}
