//! What a command met that it could not read: counted, named on stderr, and said by the exit code.

use std::{collections::BTreeMap, fmt::Write};

use events::{Event, RecordedEvent, Stored};

use crate::output::printable;

/// Exit code of a command that could not read everything.
pub(crate) const COULD_NOT_TELL: u8 = 2;

/// How many flaws of a kind, and how many kinds, are named; the rest are counted.
const NAMED: u64 = 10;

/// The flaws met so far.
#[derive(Default)]
pub(crate) struct Flaws {
    /// By type and version.
    unknown: BTreeMap<String, u64>,
    undecodable: u64,
}

impl Flaws {
    /// The event, if it is one this program knows; else it is counted and named.
    pub(crate) fn sift(&mut self, stored: Stored) -> Option<RecordedEvent> {
        match stored {
            Ok(recorded) if matches!(recorded.event, Event::Unknown(_)) => {
                self.count_unknown(&recorded);
                None
            }
            Ok(recorded) => Some(recorded),
            Err(error) => {
                self.undecodable += 1;
                if self.undecodable <= NAMED {
                    eprintln!("webchat: skipped: {}", printable(&error.to_string()));
                }
                None
            }
        }
    }

    fn count_unknown(&mut self, recorded: &RecordedEvent) {
        let kind = printable(&format!("{} version {}", recorded.event.type_name(), recorded.version));
        if self.unknown.values().sum::<u64>() < NAMED {
            let (id, stream) = (recorded.id, printable(recorded.stream.as_str()));
            eprintln!("webchat: skipped: event {id} of stream {stream} is of an unknown type: {kind}");
        }
        let room = self.unknown.contains_key(&kind) || (self.unknown.len() as u64) < NAMED;
        *self.unknown.entry(if room { kind } else { "other types".to_owned() }).or_default() += 1;
    }

    /// The exit code, having said how many there were.
    pub(crate) fn exit_code(&self) -> u8 {
        let unknown: u64 = self.unknown.values().sum();
        if unknown + self.undecodable == 0 {
            return 0;
        }
        let mut kinds = String::new();
        for (kind, count) in &self.unknown {
            let _ = write!(kinds, "{}{kind}: {count}", if kinds.is_empty() { " (" } else { ", " });
        }
        let kinds = if kinds.is_empty() { kinds } else { kinds + ")" };
        eprintln!(
            "webchat: skipped {unknown} events of unknown type{kinds} and {} that cannot be decoded",
            self.undecodable
        );
        COULD_NOT_TELL
    }
}
