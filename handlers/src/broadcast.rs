//! `broadcast`: records what somebody says to everyone. Who hears it is decided where it is delivered.

use std::sync::Arc;

use events::{EventLog, Timing, conversation};

use crate::{
    frames::Reply,
    request::{Asked, Refusal},
};

/// The handler of `broadcast`.
pub(crate) struct Broadcast {
    pub(crate) log: EventLog,
    pub(crate) timing: Timing,
}

impl Broadcast {
    pub(crate) async fn handle(self: Arc<Self>, asked: Asked) -> Result<Reply, Refusal> {
        let Asked { request, fields } = asked;
        let text = fields.required("message", "a string")?;
        request.check_age(self.timing.request_max_age)?;
        let said = conversation::broadcast(request.connection, text, request.at, &request.id)?;
        self.log.append(&said).await?;
        Ok(Reply::Accepted { id: said.id, at: said.at })
    }
}
