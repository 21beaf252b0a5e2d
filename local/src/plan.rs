//! What may go wrong: the plan that `chaos.rs` carries out, as `webchat local --chaos FILE` reads it.
//!
//! Shares are numbers from 0 (never) to 1 (always). Field names are what users write.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// In `calls`: the operations that have no entry of their own.
pub(crate) const REST: &str = "*";

/// The operations that `calls` may name.
const OPERATIONS: [&str; 13] = [
    REST,
    "GetItem",
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "Query",
    "Scan",
    "BatchGetItem",
    "BatchWriteItem",
    "PutEvents",
    "PostToConnection",
    "GetConnection",
    "DeleteConnection",
];

/// What may go wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Decides which ones.
    pub seed: u64,
    /// AWS calls, by operation; `*` is for all that are not named.
    pub calls: BTreeMap<String, Calls>,
    /// PutEvents calls of which every second entry fails.
    pub fail_entries: f64,
    /// Connections that answer 410 in their first moments, though they are there.
    pub early_gone: f64,
    /// How long those moments are.
    pub early_gone_ms: u64,
    /// Parts of a batch of stream records that come twice.
    pub duplicate_batch: f64,
    /// Stream records beside which an older one comes again.
    pub repeat_record: f64,
    /// Batches of stream records shuffled.
    pub shuffle_batch: f64,
    /// Batches of stream records that come in two parts.
    pub split_batch: f64,
    /// Parts of a batch that come late.
    pub late_batch: f64,
    /// How late at most.
    pub late_batch_ms: u64,
    /// Bus events delivered twice.
    pub duplicate_event: f64,
    /// Bus events delivered later than others.
    pub late_event: f64,
    /// How late at most.
    pub late_event_ms: u64,
    /// Invocations whose function is killed in the middle.
    pub kill_function: f64,
    /// How long it lives at most.
    pub kill_within_ms: u64,
    /// `$disconnect` invocations that never happen.
    pub drop_disconnect: f64,
}

/// What may go wrong with calls of one operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Calls {
    /// Answered with 500, without effect.
    pub refuse: f64,
    /// Throttled, without effect.
    pub throttle: f64,
    /// Never answered, without effect.
    pub ignore: f64,
    /// They take effect and are answered with 500.
    pub fail_after: f64,
    /// They take effect and are never answered.
    pub lose_answer: f64,
    /// They take effect late.
    pub delay: f64,
    /// How late at most.
    pub delay_ms: u64,
}

impl Plan {
    /// Reads a plan as JSON. The error is one line that names the field.
    pub fn from_json(text: &str) -> Result<Plan, String> {
        let plan: Plan = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for operation in plan.calls.keys() {
            if !OPERATIONS.contains(&operation.as_str()) {
                return Err(format!("calls.{operation}: no such operation, only {}", OPERATIONS.join(", ")));
            }
        }
        match plan.shares().into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            Some((name, share)) => Err(format!("{name}: {share} is no share from 0 to 1")),
            None => Ok(plan),
        }
    }

    /// A plan in which everything goes wrong now and then.
    #[must_use]
    pub fn rough(seed: u64) -> Plan {
        let calls = Calls {
            refuse: 0.04,
            throttle: 0.03,
            ignore: 0.01,
            fail_after: 0.03,
            lose_answer: 0.02,
            delay: 0.05,
            delay_ms: 300,
        };
        Plan {
            seed,
            calls: [(REST.to_owned(), calls)].into(),
            fail_entries: 0.10,
            early_gone: 0.2,
            early_gone_ms: 500,
            duplicate_batch: 0.15,
            repeat_record: 0.05,
            shuffle_batch: 0.5,
            split_batch: 0.3,
            late_batch: 0.1,
            late_batch_ms: 200,
            duplicate_event: 0.15,
            late_event: 0.15,
            late_event_ms: 200,
            kill_function: 0.04,
            kill_within_ms: 10,
            drop_disconnect: 0.3,
        }
    }

    /// Whether stream records come as they are.
    pub(crate) fn is_calm(&self) -> bool {
        let shares = [self.duplicate_batch, self.repeat_record, self.shuffle_batch, self.split_batch, self.late_batch];
        shares.iter().all(|share| *share <= 0.0)
    }

    fn shares(&self) -> Vec<(String, f64)> {
        let own = [
            ("fail_entries", self.fail_entries),
            ("early_gone", self.early_gone),
            ("duplicate_batch", self.duplicate_batch),
            ("repeat_record", self.repeat_record),
            ("shuffle_batch", self.shuffle_batch),
            ("split_batch", self.split_batch),
            ("late_batch", self.late_batch),
            ("duplicate_event", self.duplicate_event),
            ("late_event", self.late_event),
            ("kill_function", self.kill_function),
            ("drop_disconnect", self.drop_disconnect),
        ];
        let of_calls = self.calls.iter().flat_map(|(operation, calls)| {
            let shares = [
                ("refuse", calls.refuse),
                ("throttle", calls.throttle),
                ("ignore", calls.ignore),
                ("fail_after", calls.fail_after),
                ("lose_answer", calls.lose_answer),
                ("delay", calls.delay),
            ];
            shares.map(|(name, share)| (format!("calls.{operation}.{name}"), share))
        });
        own.into_iter().map(|(name, share)| (name.to_owned(), share)).chain(of_calls).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_and_what_is_wrong_in_it_is_named() {
        let read = |text| Plan::from_json(text);
        assert_eq!(read("{}"), Ok(Plan::default()));
        let plan =
            read(r#"{"seed":7,"calls":{"*":{"refuse":0.1},"Query":{"delay":1,"delay_ms":50}},"kill_function":0.5}"#);
        assert_eq!(plan.map(|plan| (plan.seed, plan.calls["Query"].delay_ms, plan.kill_function)), Ok((7, 50, 0.5)));
        for (text, named) in [
            (r#"{"refuse":0.1}"#, "`refuse`"),
            (r#"{"calls":{"Query":{"refus":0.1}}}"#, "`refus`"),
            (r#"{"calls":{"Quary":{}}}"#, "calls.Quary"),
            (r#"{"calls":{"*":{"refuse":2}}}"#, "calls.*.refuse"),
            (r#"{"late_event":-1}"#, "late_event"),
            ("", "EOF"),
        ] {
            let error = read(text).err().unwrap_or_default();
            assert!(error.contains(named) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_plan_is_written_as_it_is_read() {
        let plan = Plan::rough(3);
        assert_eq!(serde_json::to_string(&plan).map(|text| Plan::from_json(&text)).ok(), Some(Ok(plan)));
    }
}
