//! Parked records: what the projector could not take, set aside so that the records behind it go on.
//!
//! Only the place and the reason are kept; the event itself is in the log. Parking the same record again changes nothing
//! that matters.

use aws_sdk_dynamodb::{Client, error::DisplayErrorContext, types::AttributeValue};
use events::time;

use crate::Fault;

/// The table of parked records: `stream`, `id`, `why`, `parked_at`.
#[derive(Clone, Debug)]
pub struct Parked {
    client: Client,
    table: String,
}

impl Parked {
    /// The parked records in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Parked {
        Parked { client, table: table.into() }
    }

    /// Sets a record aside.
    pub async fn park(&self, stream: &str, id: &str, why: &str) -> Result<(), Fault> {
        tracing::error!(stream, id, why, "parked a record");
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let put = self.client.put_item().table_name(&self.table).item("stream", text(stream)).item("id", text(id));
        let put = put.item("why", text(why)).item("parked_at", AttributeValue::S(time::to_text(time::now())));
        put.send().await.map(drop).map_err(|error| Fault::new("NotParked", DisplayErrorContext(error)))
    }
}
