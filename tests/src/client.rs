//! A chat client over a real WebSocket, as a program would write it.

use std::{fmt, net::SocketAddr};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        protocol::frame::{
            CloseFrame, Frame,
            coding::{Data, OpCode},
        },
    },
};

use crate::PATIENCE;

/// Largest frame a client may send, with some room: the gateway takes 32 KB.
const FRAME: usize = 30_000;

/// A connected client. Frames it was not asked for yet are kept.
pub struct Client {
    /// Its connection id, once welcomed; empty before.
    pub id: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    unread: Vec<Value>,
}

impl Client {
    /// Opens a connection without waiting for the welcome.
    pub async fn open(url: impl IntoClientRequest + Unpin) -> Result<Client, Error> {
        let (socket, _) = timeout(PATIENCE, connect_async(url)).await.expect("the handshake was never answered")?;
        Ok(Client { id: String::new(), socket, unread: Vec::new() })
    }

    /// Opens a connection and waits for its welcome.
    pub async fn welcomed(url: impl IntoClientRequest + Unpin) -> Client {
        let mut client = Client::open(url).await.expect("connecting");
        let welcome = client.expect("welcome").await;
        client.id = welcome["connection"].as_str().expect("the welcome names the connection").to_owned();
        client
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    /// Sends a text, in several frames if the gateway takes no frame that large.
    pub async fn send_text(&mut self, text: &str) {
        let mut chunks = text.as_bytes().chunks(FRAME).peekable();
        let mut opcode = OpCode::Data(Data::Text);
        while let Some(chunk) = chunks.next() {
            let frame = Frame::message(chunk.to_vec(), opcode, chunks.peek().is_none());
            self.socket.send(Message::Frame(frame)).await.expect("sending");
            opcode = OpCode::Data(Data::Continue);
        }
    }

    /// Sends anything.
    pub async fn send_raw(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message).await
    }

    /// Sends a frame and waits for the reply that carries its `ref`.
    pub async fn ask(&mut self, mut frame: Value) -> Value {
        let reference = uuid::Uuid::new_v4().to_string();
        frame["ref"] = json!(reference);
        self.send(frame).await;
        self.expect_that("a reply", |reply| reply["ref"] == reference.as_str()).await
    }

    /// Waits for a frame of this type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        self.expect_that(kind, |frame| frame["type"] == kind).await
    }

    /// Waits for a frame of this type with this id.
    pub async fn expect_id(&mut self, kind: &str, id: &Value) -> Value {
        self.expect_that(kind, |frame| frame["type"] == kind && frame["id"] == *id).await
    }

    /// Waits for a frame; others are kept for later.
    pub async fn expect_that(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(found) = self.unread.iter().position(&wanted) {
            return self.unread.remove(found);
        }
        loop {
            let frame =
                self.read(what).await.unwrap_or_else(|end| panic!("waiting for {what}, the connection ended: {end}"));
            if wanted(&frame) {
                return frame;
            }
            self.unread.push(frame);
        }
    }

    /// Every frame received until everything sent so far has been answered and pushed: a message to itself is the fence.
    pub async fn everything_so_far(&mut self) -> Vec<Value> {
        let chat = json!({"action": "chat", "connection": self.id, "message": "fence"});
        let accepted = self.ask(chat).await;
        self.expect_id("chat", &accepted["id"]).await;
        std::mem::take(&mut self.unread)
    }

    /// All live connections, by `list` and its `next`, `limit` at a time.
    pub async fn list(&mut self, limit: usize) -> Vec<String> {
        let mut all = Vec::new();
        let mut ask = json!({"action": "list", "limit": limit});
        loop {
            let page = self.ask(ask.clone()).await;
            let connections = page["connections"].as_array().unwrap_or_else(|| panic!("no list: {page}"));
            assert!(connections.len() <= limit, "{} connections in a page of {limit}", connections.len());
            all.extend(connections.iter().map(|c| c["connection"].as_str().unwrap().to_owned()));
            match &page["next"] {
                Value::Null => return all,
                next => ask["cursor"] = next.clone(),
            }
        }
    }

    /// Asks for the list until `connection` is in it (or not, as wanted).
    pub async fn list_until(&mut self, connection: &str, wanted: bool) {
        let asking = async {
            while self.list(400).await.iter().any(|id| id == connection) != wanted {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{connection} listed: never {wanted}"));
    }

    /// Waits for the end and says how it came: the close code, or `None` without a close frame.
    pub async fn ended(&mut self) -> Option<u16> {
        loop {
            if let Err(End { code, .. }) = self.read("the end").await {
                return code;
            }
        }
    }

    /// Says goodbye with a close frame.
    pub async fn close(mut self, frame: Option<CloseFrame>) {
        self.socket.close(frame).await.expect("closing");
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    /// Ends the TCP connection without a word: in order (FIN), or by a reset (RST).
    pub fn vanish(self, reset: bool) {
        let MaybeTlsStream::Plain(tcp) = self.socket.get_ref() else { return };
        if reset {
            #[allow(deprecated)] // it blocks at drop only for a linger that is not zero
            tcp.set_linger(Some(std::time::Duration::ZERO)).expect("SO_LINGER");
        }
        drop(self);
    }

    /// Our end of the TCP connection.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.socket.get_ref() {
            MaybeTlsStream::Plain(tcp) => tcp.local_addr().ok(),
            _ => None,
        }
    }

    async fn read(&mut self, what: &str) -> Result<Value, End> {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await;
            let message = message.unwrap_or_else(|_| panic!("{what} never came; unread: {:#?}", self.unread));
            match message {
                Some(Ok(Message::Text(text))) => {
                    return Ok(
                        serde_json::from_str(&text).unwrap_or_else(|_| panic!("a frame that is no JSON: {text}"))
                    );
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(End { code: frame.map(|f| f.code.into()), why: "closed".into() });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(End { code: None, why: error.to_string() }),
                None => return Err(End { code: None, why: "end of stream".into() }),
            }
        }
    }
}

/// How a connection ended.
struct End {
    code: Option<u16>,
    why: String,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {:?})", self.why, self.code)
    }
}
