//! A WebSocket client that waits for what it expects, and no longer than a test may take.

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, protocol::CloseFrame},
};

use crate::world::within;

/// An open connection. The socket itself is there for what this does not cover.
pub(crate) struct Client(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn send(&mut self, message: impl Into<Message>) {
        within(self.0.send(message.into())).await.unwrap();
    }

    /// The next text frame.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            match within(self.0.next()).await.unwrap().unwrap() {
                Message::Text(text) => return text.as_str().to_owned(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("no text: {other:?}"),
            }
        }
    }

    /// Sends a frame and takes the next text for its reply.
    pub(crate) async fn ask(&mut self, text: &str) -> String {
        self.send(text).await;
        self.text().await
    }

    /// The close frame, after whatever else is still coming.
    pub(crate) async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            let message = within(self.0.next()).await.expect("a close frame");
            if let Message::Close(frame) = message.expect("a close frame") {
                return frame;
            }
        }
    }

    /// Code and reason of the close frame.
    pub(crate) async fn closed_with(&mut self) -> (u16, String) {
        let frame = self.closed().await.expect("a close code");
        (frame.code.into(), frame.reason.as_str().to_owned())
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        match self.0.get_ref() {
            MaybeTlsStream::Plain(tcp) => tcp,
            _ => unreachable!("no TLS here"),
        }
    }
}
