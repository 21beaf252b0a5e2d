//! A client that is really connected, for functions that push.

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::process::PATIENCE;

/// A connected and welcomed client.
pub(crate) struct Client {
    pub(crate) id: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub(crate) async fn welcomed(url: &str) -> Client {
        let (socket, _) = timeout(PATIENCE, connect_async(url)).await.unwrap().unwrap();
        let mut client = Client { id: String::new(), socket };
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        client.id = welcome["connection"].as_str().unwrap().to_owned();
        client
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("no frame came").unwrap().unwrap();
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The next frame of this type, past any others.
    #[allow(dead_code)] // not every test of functions needs it
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    #[allow(dead_code)]
    pub(crate) async fn send(&mut self, frame: &Value) {
        timeout(PATIENCE, self.socket.send(Message::text(frame.to_string()))).await.unwrap().unwrap();
    }
}
