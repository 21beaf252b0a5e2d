//! What a command met that it could not read: counted, named on stderr, and said by the exit code.

use events::{Event, RecordedEvent, Stored};

/// Exit code of a command that could not read everything.
pub(crate) const COULD_NOT_TELL: u8 = 2;

/// How many flaws of a kind are named; the rest are counted.
const NAMED: u64 = 10;

/// The flaws met so far.
#[derive(Default)]
pub(crate) struct Flaws {
    unknown: u64,
    undecodable: u64,
}

impl Flaws {
    /// The event, if it is one this program knows; else it is counted and named.
    pub(crate) fn sift(&mut self, stored: Stored) -> Option<RecordedEvent> {
        match stored {
            Ok(recorded) if matches!(recorded.event, Event::Unknown(_)) => {
                self.unknown += 1;
                if self.unknown <= NAMED {
                    let (event, version) = (recorded.event.type_name(), recorded.version);
                    eprintln!(
                        "webchat: skipped {} of {}: unknown type {event} version {version}",
                        recorded.id, recorded.stream
                    );
                }
                None
            }
            Ok(recorded) => Some(recorded),
            Err(error) => {
                self.undecodable += 1;
                if self.undecodable <= NAMED {
                    eprintln!("webchat: skipped: {error}");
                }
                None
            }
        }
    }

    /// The exit code, having said how many there were.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.unknown + self.undecodable == 0 {
            return 0;
        }
        eprintln!(
            "webchat: skipped {} events of unknown type and {} that cannot be decoded",
            self.unknown, self.undecodable
        );
        COULD_NOT_TELL
    }
}
