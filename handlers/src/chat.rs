//! `chat`: records what somebody says to one other, who must be there.
//!
//! The only handler that reads before it appends: whether the recipient is there is decided on its own stream, not on
//! the view.

use std::sync::Arc;

use events::{
    ConnectionId, EventLog, Timing,
    connection::{self, State},
    conversation::{self, MessageSent},
};

use crate::{
    frames::{Code, Reply},
    request::{Asked, Refusal},
};

/// The handler of `chat`.
pub(crate) struct Chat {
    pub(crate) log: EventLog,
    pub(crate) timing: Timing,
}

impl Chat {
    pub(crate) async fn handle(self: Arc<Self>, asked: Asked) -> Result<Reply, Refusal> {
        let Asked { request, fields } = asked;
        let to = named(fields.required("connection", "a string")?)?;
        let text = fields.required("message", "a string")?;
        let receipt = fields.optional("receipt", "true or false")?.unwrap_or(false);
        request.check_age(self.timing.request_max_age)?;
        let recipient = self.recipient(&to).await?;
        let message = MessageSent { from: request.connection, to, text, receipt };
        let sent = conversation::send(message, &recipient, request.at, &request.id)?;
        self.log.append(&sent).await?;
        Ok(Reply::Accepted { id: sent.id, at: sent.at })
    }

    async fn recipient(&self, connection: &ConnectionId) -> Result<State, Refusal> {
        let stream = connection::stream(connection);
        let events = self.log.read_whole_stream(&stream).await.map_err(|error| {
            tracing::error!(%error, "the recipient could not be looked up");
            Refusal::unavailable()
        })?;
        Ok(State::fold(events.iter().flatten()))
    }
}

/// A text that can be nobody's id is told like an id that nobody has.
fn named(text: String) -> Result<ConnectionId, Refusal> {
    text.try_into().map_err(|_| Refusal {
        code: Code::UnknownConnection,
        message: "`connection` is no id that `list` ever gives".to_owned(),
        field: Some("connection"),
    })
}
