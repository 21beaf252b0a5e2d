//! A client that costs little: small buffers, no values parsed that nobody looks at.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Message,
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use crate::PATIENCE;

/// An open connection.
pub struct Cheap {
    socket: WebSocketStream<TcpStream>,
}

/// Its sending half.
pub type Sending = SplitSink<WebSocketStream<TcpStream>, Message>;

/// Its receiving half.
pub struct Receiving(SplitStream<WebSocketStream<TcpStream>>);

/// What a load client looks at in a frame.
#[derive(Debug, Default, Deserialize)]
pub struct Frame {
    /// Its kind.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// What was said.
    #[serde(default)]
    pub message: String,
    /// The connection of a welcome or a pong.
    #[serde(default)]
    pub connection: String,
}

impl Cheap {
    /// Opens a connection; an answer that does not come is an error.
    pub async fn open(url: &str) -> Result<Cheap> {
        Cheap::open_within(url, PATIENCE).await
    }

    /// Opens a connection within a time.
    pub async fn open_within(url: &str, patience: Duration) -> Result<Cheap> {
        let tcp = TcpStream::connect(address(url)?).await.context("connecting")?;
        tcp.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(2048).write_buffer_size(0);
        let handshake = client_async_with_config(url, tcp, Some(config));
        let (socket, _) = timeout(patience, handshake).await.context("the handshake was not answered")??;
        Ok(Cheap { socket })
    }

    /// Opens a connection and waits for its welcome; its id comes with it.
    pub async fn welcomed(url: &str) -> Result<(Cheap, String)> {
        let mut client = Cheap::open(url).await?;
        let welcome = client.next().await?;
        if welcome.kind != "welcome" {
            bail!("instead of a welcome came {welcome:?}");
        }
        Ok((client, welcome.connection))
    }

    /// Sends a text.
    pub async fn send(&mut self, text: String) -> Result<()> {
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// The next frame.
    pub async fn next(&mut self) -> Result<Frame> {
        read(self.socket.next().await)?.context("a frame")
    }

    /// Waits for a frame of this kind; others are passed over.
    pub async fn expect(&mut self, kind: &str) -> Result<Frame> {
        let waiting = async {
            loop {
                let frame = self.next().await?;
                if frame.kind == kind {
                    return Ok(frame);
                }
            }
        };
        timeout(PATIENCE, waiting).await.with_context(|| format!("no {kind} came"))?
    }

    /// Reads until the end; the close frame, if there was one.
    pub async fn ended(&mut self) -> Result<Option<CloseFrame>> {
        let waiting = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(frame))) => return frame,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        timeout(PATIENCE, waiting).await.context("the connection did not end")
    }

    /// The two halves.
    pub fn split(self) -> (Sending, Receiving) {
        let (sending, receiving) = self.socket.split();
        (sending, Receiving(receiving))
    }

    /// The socket, for those who want to misuse it.
    #[must_use]
    pub fn into_socket(self) -> WebSocketStream<TcpStream> {
        self.socket
    }
}

impl Receiving {
    /// The next frame, or the end.
    pub async fn next(&mut self) -> Result<Frame> {
        read(self.0.next().await)?.context("a frame")
    }
}

fn read(message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) -> Result<Option<Frame>> {
    match message {
        Some(Ok(Message::Text(text))) => Ok(Some(serde_json::from_str(&text)?)),
        Some(Ok(Message::Close(frame))) => bail!("closed: {frame:?}"),
        Some(Ok(_)) => Ok(Some(Frame::default())),
        Some(Err(error)) => Err(error.into()),
        None => bail!("the connection ended"),
    }
}

/// `127.0.0.1:3000` of `ws://127.0.0.1:3000/local`.
pub fn address(url: &str) -> Result<&str> {
    url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).context("a ws:// address")
}
