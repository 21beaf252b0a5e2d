//! What follows from the events: the live-connections view, and the notices to send.
//!
//! The two are separate on purpose. State is derived by [`connections`] (pure), kept by [`ConnectionsView`], rebuilt by
//! a [`reconcile::Reconciliation`]. Notices are derived by [`notices`] (pure) and sent by somebody else: this crate has
//! neither a bus nor a gateway among its dependencies, so a replay cannot send anything.

pub mod connections;
mod live;
pub mod notices;
pub mod reconcile;
mod rows;
mod undelivered;
mod view;

pub use connections::Row;
pub use live::{Cursor, InvalidCursor, LiveConnection, LivePage};
pub use undelivered::Undelivered;
pub use view::{ConnectionsView, StoredRow, ViewError};
