//! `$default`: everything no route takes. Answers `ping`; says what is wrong with the rest. Touches no table.

use std::sync::Arc;

use crate::{
    frames::{Code, Reply},
    request::{Asked, Refusal},
};

/// The actions there are, for the error.
const ACTIONS: &str = "broadcast, list, chat, ping";

/// The handler of `$default`.
pub(crate) struct Fallback;

impl Fallback {
    pub(crate) async fn handle(self: Arc<Self>, asked: Asked) -> Result<Reply, Refusal> {
        let action = asked.fields.action()?;
        if action == "ping" {
            return Ok(Reply::Pong { connection: asked.request.connection });
        }
        let action: String = action.chars().take(32).collect();
        Err(Refusal {
            code: Code::UnknownAction,
            message: format!("there is no action `{action}`, only {ACTIONS}"),
            field: Some("action"),
        })
    }
}
