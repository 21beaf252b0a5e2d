//! The sending half of a socket and the queue that feeds it.
//!
//! Used by `socket.rs` alone. A step may be abandoned at any await without losing a frame, which is what lets one task
//! read, write and watch the clock.

use axum::{
    Error,
    extract::ws::{Message, Utf8Bytes, WebSocket},
};
use futures::{SinkExt, stream::SplitSink};
use std::sync::Arc;
use tokio::sync::mpsc;

use super::{connection::Connection, end::End};

pub(super) struct Outbox {
    sink: SplitSink<WebSocket, Message>,
    queue: mpsc::Receiver<Utf8Bytes>,
    connection: Arc<Connection>,
    unwritten: bool,
}

impl Outbox {
    pub(super) fn new(
        sink: SplitSink<WebSocket, Message>,
        queue: mpsc::Receiver<Utf8Bytes>,
        connection: Arc<Connection>,
    ) -> Self {
        Outbox { sink, queue, connection, unwritten: false }
    }

    /// Whether a frame is taken and the client has not read enough for it to be written.
    pub(super) fn is_waiting_for_client(&self) -> bool {
        self.unwritten
    }

    /// Takes the next frame, or goes on writing the one taken before. Waits for the queue, or for the client to read.
    pub(super) async fn step(&mut self) -> Result<(), Error> {
        if self.unwritten {
            self.sink.flush().await?;
            self.unwritten = false;
        } else if let Some(text) = self.queue.recv().await {
            self.connection.unqueued(text.len());
            // With nothing unwritten the sink has room at once, so this does not wait.
            self.sink.feed(Message::Text(text)).await?;
            self.unwritten = true;
        }
        Ok(())
    }

    /// Sends what is queued and then the close frame; nothing more can be queued.
    pub(super) async fn close(&mut self, end: &End) -> Result<(), Error> {
        self.queue.close();
        while let Some(text) = self.queue.recv().await {
            self.sink.feed(Message::Text(text)).await?;
        }
        self.sink.send(Message::Close(Some(end.close_frame()))).await
    }
}
