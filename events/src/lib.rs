//! What happened: the events, their streams and ids, the decisions that make them, and the log that keeps them.
//!
//! Every other crate stands on this one; it knows no Lambda and no WebSocket. Read [`connection`], [`conversation`]
//! and [`delivery`] first: one aggregate each, in the same order (stream, events, state, decisions). Stored names are
//! a contract, pinned by `tests/golden/`.

pub mod connection;
pub mod conversation;
pub mod delivery;
mod event;
mod id;
mod log;
mod log_reader;
pub mod seal;
mod stored;
mod stream;
pub mod time;
mod timing;

pub use event::{Event, RecordedEvent, Unknown};
pub use id::{ConnectionId, EventId, InvalidId};
pub use log::{AppendError, Appended, EventLog, ReadError};
pub use log_reader::{LogReader, Page, ReadCost, Reader};
pub use stored::{Stored, Undecodable, from_item, to_item};
pub use stream::StreamName;
pub use timing::Timing;
