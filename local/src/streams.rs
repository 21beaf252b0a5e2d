//! The stream mapping: stream records of the event table to `projector`, in order, at least once.
//!
//! As deployed: INSERT only, batches of 100, `ReportBatchItemFailures`, bisection, finite age, on-failure record. The
//! checkpoint moves only behind what is done, so a crash repeats and never skips.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use dynoxide::actions::get_records::Record as StreamRecord;
use events::{Timing, time};
use serde_json::{Value, json, value::to_raw_value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{
    Chaos, Functions,
    functions::FunctionError,
    randomness,
    runtime_api::function_arn,
    store::Store,
    tables::{EVENTS, Tables},
};

/// Records of a batch.
const BATCH: usize = 100;

/// The mapping from the event table's stream to `projector`.
pub(crate) struct StreamMapping {
    pub(crate) tables: Tables,
    pub(crate) store: Arc<Store>,
    pub(crate) functions: Arc<Functions>,
    pub(crate) timing: Timing,
    pub(crate) chaos: Chaos,
    /// How far it has come, for whoever waits.
    pub(crate) progress: watch::Sender<Progress>,
}

/// How far the mapping has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Times the end of the stream was reached with nothing left to do.
    pub(crate) caught_up: u64,
}

/// A record as Lambda gets it.
#[derive(Clone)]
struct Record {
    sequence: String,
    created: i64,
    json: Value,
}

/// What became of an invocation.
enum Outcome {
    Done,
    /// Records from this index on come again.
    FailedFrom(usize),
    Failed(FunctionError),
}

impl StreamMapping {
    /// Reads and invokes until told to stop; a batch that is under way is finished.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut wait = self.timing.batch_retry;
        while !stop.is_cancelled() {
            if let Err(why) = self.follow(&stop).await {
                error!(why, "the stream could not be read; trying again");
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(wait) => wait = Duration::min(wait * 2, self.timing.batch_retry_max),
                }
            }
        }
    }

    /// Follows the stream from the checkpoint on.
    async fn follow(&self, stop: &CancellationToken) -> Result<(), String> {
        let checkpoint = self.store.checkpoint(EVENTS).map_err(|error| error.to_string())?;
        // What was delivered before, and may be again.
        let mut recent = VecDeque::new();
        let mut position = self.tables.position(checkpoint).await.map_err(|error| error.to_string())??;
        while !stop.is_cancelled() {
            let written = self.tables.written();
            let read = self.tables.records(position.clone(), BATCH).await.map_err(|error| error.to_string())??;
            position = read.next_shard_iterator.unwrap_or(position);
            if read.records.is_empty() {
                self.progress.send_modify(|progress| progress.caught_up += 1);
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = written => {}
                    () = tokio::time::sleep(self.tables.poll()) => {}
                }
                continue;
            }
            let last = read.records.last().map(|record| record.dynamodb.sequence_number.clone());
            let inserts = read.records.iter().filter(|record| record.event_name == "INSERT");
            let batch: Vec<Record> = inserts.map(Record::of).collect();
            for (late, part) in self.chaos.disturb(batch, &mut recent) {
                tokio::time::sleep(late).await;
                if !self.process(part, stop).await {
                    return Ok(());
                }
            }
            self.checkpoint(&last.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Sees a batch through, split and repeated as need be. False if told to stop before all of it was done.
    async fn process(&self, batch: Vec<Record>, stop: &CancellationToken) -> bool {
        let mut parts = VecDeque::from([batch]);
        let mut wait = self.timing.batch_retry;
        let mut failures = Failures::default();
        while let Some(mut part) = parts.pop_front() {
            if part.is_empty() {
                continue;
            }
            let outcome = self.invoke(&part).await;
            failures.count(&outcome);
            match outcome {
                Outcome::Done => {
                    wait = self.timing.batch_retry;
                    continue;
                }
                Outcome::FailedFrom(index) => {
                    warn!(records = part.len(), failed_from = index, "a batch was done in part");
                    part.drain(..index);
                }
                Outcome::Failed(error) if part.len() > 1 && !error.is_throttle() => {
                    warn!(records = part.len(), error = error.error_message, "a batch failed and is split");
                    let rest = part.split_off(part.len() / 2);
                    parts.push_front(rest);
                    parts.push_front(part);
                    continue;
                }
                Outcome::Failed(error) => warn!(error = error.error_message, "a record failed"),
            }
            let too_old = part.iter().take_while(|record| self.is_too_old(record)).count();
            if too_old > 0 {
                let rest = part.split_off(too_old);
                self.give_up(&part, &failures);
                parts.push_front(rest);
                continue;
            }
            parts.push_front(part);
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(wait) => wait = Duration::min(wait * 2, self.timing.batch_retry_max),
            }
        }
        true
    }

    async fn invoke(&self, part: &[Record]) -> Outcome {
        let records: Vec<&Value> = part.iter().map(|record| &record.json).collect();
        let payload = match to_raw_value(&json!({"Records": records})) {
            Ok(payload) => payload,
            Err(error) => {
                return Outcome::Failed(FunctionError {
                    error_type: "InvalidRequestContentException".into(),
                    error_message: error.to_string(),
                });
            }
        };
        match self.functions.invoke("projector", payload).await {
            Ok(answer) => outcome(part, answer.get()),
            Err(error) => Outcome::Failed(error),
        }
    }

    fn is_too_old(&self, record: &Record) -> bool {
        let age = u64::try_from(time::now().timestamp() - record.created).unwrap_or(0);
        Duration::from_secs(age) > self.timing.record_max_age
    }

    /// The record Lambda sends to the mapping's on-failure destination: where, not what.
    fn give_up(&self, part: &[Record], failures: &Failures) {
        let (Some(first), Some(last)) = (part.first(), part.last()) else { return };
        error!(records = part.len(), from = first.sequence, to = last.sequence, "gave up stream records");
        let record = json!({
            "version": "1.0", "timestamp": time::to_text(time::now()),
            "requestContext": {"requestId": randomness::uuid(), "functionArn": function_arn("projector"),
                "condition": "RecordAgeExceeded", "approximateInvokeCount": failures.invocations},
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": failures.function_error},
            "DDBStreamBatchInfo": {"shardId": "shardId-00000001", "startSequenceNumber": first.sequence,
                "endSequenceNumber": last.sequence, "approximateArrivalOfFirstRecord": first.arrived(),
                "approximateArrivalOfLastRecord": last.arrived(), "batchSize": part.len(), "streamArn": stream_arn()},
        });
        if let Err(error) = self.store.give_up("projector", &record.to_string()) {
            error!(%error, "the runtime's store could not be written");
        }
    }

    fn checkpoint(&self, sequence: &str) -> Result<(), String> {
        self.store.set_checkpoint(EVENTS, sequence).map_err(|error| error.to_string())
    }
}

/// Failures since something was done last, for the on-failure record.
#[derive(Default)]
struct Failures {
    invocations: u32,
    /// Absent in the record's sense (null) where the function answered, and listed failures.
    function_error: Option<&'static str>,
}

impl Failures {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Done => *self = Failures::default(),
            Outcome::FailedFrom(_) => *self = Failures { invocations: self.invocations + 1, function_error: None },
            Outcome::Failed(_) => {
                *self = Failures { invocations: self.invocations + 1, function_error: Some("Unhandled") };
            }
        }
    }
}

/// What a projector's answer means: nothing listed is success; an identifier that is none of ours fails the whole batch.
fn outcome(part: &[Record], answer: &str) -> Outcome {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let index = |item: &Value| {
        let identifier = item["itemIdentifier"].as_str();
        part.iter().position(|record| Some(record.sequence.as_str()) == identifier).unwrap_or(0)
    };
    match answer["batchItemFailures"].as_array().into_iter().flatten().map(index).min() {
        Some(first) => Outcome::FailedFrom(first),
        None => Outcome::Done,
    }
}

fn stream_arn() -> String {
    format!("arn:aws:dynamodb:us-east-1:000000000000:table/{EVENTS}/stream/2026-01-01T00:00:00.000")
}

impl Record {
    /// dynoxide's record in the shape Lambda delivers: whole seconds, the region and ARN of a deployment.
    fn of(record: &StreamRecord) -> Record {
        #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
        let created = record.dynamodb.approximate_creation_date_time as i64;
        let mut json = serde_json::to_value(record).unwrap_or_default();
        json["awsRegion"] = json!("us-east-1");
        json["dynamodb"]["ApproximateCreationDateTime"] = json!(created);
        json["eventSourceARN"] = json!(stream_arn());
        Record { sequence: record.dynamodb.sequence_number.clone(), created, json }
    }

    /// As the on-failure record writes it: whole seconds.
    fn arrived(&self) -> String {
        let at = chrono::DateTime::from_timestamp(self.created, 0).unwrap_or_default();
        at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    }
}
