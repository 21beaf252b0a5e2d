//! The `@connections` API: paths and methods, and what reaches a connection.
//!
//! Input: a method, a line break, a path, a line break, a body. `$ID` in the path stands for an open connection's id.

use std::cell::RefCell;

use futures::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::world::{self, Next, Stage, World};

struct Managed {
    world: World,
    socket: WebSocketStream<DuplexStream>,
    id: String,
}

thread_local! {
    static STAGE: RefCell<Option<Stage<Managed>>> = const { RefCell::new(None) };
}

/// How a client begins that speaks HTTP/2.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const STATUSES: [u16; 10] = [200, 204, 400, 403, 404, 405, 410, 413, 414, 429];

/// Makes the request and judges what came of it.
pub fn run(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (method, path, body) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let method = String::from_utf8_lossy(method.unwrap_or_default()).replace('\r', "");
    let path = String::from_utf8_lossy(path).replace('\r', "");
    if method.contains(':') || body.len() > 200 * 1024 {
        return;
    }
    world::play(&STAGE, Managed::start, async |managed| {
        let path = path.replace("$ID", &managed.id);
        let Some((status, head, answer)) = managed.call(&method, &path, body).await else {
            // hyper hangs up on a broken request that HTTP/2 follows, behind empty lines or not.
            let line_ends = body.iter().take_while(|byte| b"\r\n".contains(byte)).count();
            assert!(body[line_ends..].starts_with(HTTP2), "no answer to {method} {path}");
            assert!(managed.socket.next().now_or_never().is_none(), "{method} {path} reached the client");
            return Next::Same;
        };
        assert!(STATUSES.contains(&status), "{status} for {method} {path}");
        let named = addresses(&path, &managed.id);
        match (method.as_str(), status) {
            ("POST", 200) => {
                assert!(named, "pushed by {path}");
                assert_eq!(managed.received().await, String::from_utf8_lossy(body), "pushed what was not sent");
            }
            ("GET", 200) => {
                let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
                assert!(named && answer["connectedAt"].is_string() && answer["identity"]["sourceIp"].is_string());
            }
            ("HEAD", 200) => assert!(named && answer.is_empty()),
            ("DELETE", 204) => assert!(named, "ended by {path}"),
            (_, 200 | 204) => panic!("{method} is no method of this API"),
            (_, 400 | 403 | 410 | 413 | 429) if head.contains("content-type: application/json") || status == 410 => {
                assert!(head.contains("x-amzn-errortype: "), "an error without its type: {head}");
            }
            _ => {}
        }
        let stray = managed.socket.next().now_or_never();
        assert!(status == 204 || stray.is_none(), "{method} {path} sent the client {stray:?}");
        if status == 204 { Next::Fresh } else { Next::Same }
    });
}

/// Whether the path is that of the connection, in either spelling.
fn addresses(path: &str, id: &str) -> bool {
    let mut segments = world::path(path).strip_prefix('/').unwrap_or_default().split('/');
    let [stage, api, connection, end] = std::array::from_fn(|_| segments.next());
    let decoded = |segment: Option<&str>| {
        segment.map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
    };
    decoded(stage).as_deref() == Some("local")
        && matches!(api, Some("@connections" | "%40connections"))
        && decoded(connection).as_deref() == Some(id)
        && end.is_none()
}

impl Managed {
    async fn start() -> Managed {
        let world = World::start().await;
        let request = "ws://localhost:3000/local".into_client_request().expect("a request");
        let (mut socket, _) = client_async(request, world.public.enter()).await.expect("the handshake");
        socket.send(Message::text(r#"{"action":"ping"}"#)).await.expect("sending");
        let pong = socket.next().await.expect("an answer").expect("an answer").into_text().expect("text");
        let pong: serde_json::Value = serde_json::from_str(&pong).expect("JSON");
        let id = pong["connection"].as_str().expect("a pong names the connection").to_owned();
        Managed { world, socket, id }
    }

    /// Status, head and body of the answer, if there is one.
    async fn call(&self, method: &str, path: &str, body: &[u8]) -> Option<(u16, String, String)> {
        let mut pipe = self.world.management.enter();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        // The server may refuse before it has read all.
        let _ = pipe.write_all(&[head.as_bytes(), body].concat()).await;
        let mut answer = Vec::new();
        let _ = pipe.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).expect("an answer in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head[9..12].parse().expect("a status"), head.to_lowercase(), body.to_owned()))
    }

    /// What the client gets next. A push that an earlier input must not have caused would show here.
    async fn received(&mut self) -> String {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            other => panic!("the client got {other:?}"),
        }
    }
}
