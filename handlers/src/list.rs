//! `list`: who is there, from the view, a page at a time.

use std::sync::Arc;

use projections::{ConnectionsView, Cursor};

use crate::{
    frames::Reply,
    request::{Asked, Refusal},
};

/// Connections in a page unless `limit` says otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Largest page: about 80 bytes a connection keep it within one 32 KB frame.
const MAX_LIMIT: usize = 400;

/// The handler of `list`.
pub(crate) struct List {
    pub(crate) view: ConnectionsView,
}

impl List {
    pub(crate) async fn handle(self: Arc<Self>, asked: Asked) -> Result<Reply, Refusal> {
        let limit = asked.fields.optional("limit", "a whole number from 1 to 400")?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Refusal::invalid("limit", format!("`limit` is {limit}, not from 1 to {MAX_LIMIT}")));
        }
        let cursor: Option<Cursor> = asked.fields.optional("cursor", "the `next` of an earlier answer")?;
        let page = self.view.live(cursor.unwrap_or_default(), limit).await.map_err(|error| {
            tracing::error!(%error, "the live connections could not be read");
            Refusal::unavailable()
        })?;
        Ok(Reply::Connections { connections: page.connections, next: page.next })
    }
}
