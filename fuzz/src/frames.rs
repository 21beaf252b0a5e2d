//! Frames of a client: from the socket through routing and handler to the reply, and what was appended on the way.
//!
//! Input: the text of one frame. What must be answered is worked out here a second time, from docs/PROTOCOL.md.

use std::cell::RefCell;

use futures::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json, value::RawValue};
use tokio::io::DuplexStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use crate::{
    wire::Call,
    world::{self, HERE, Next, OTHERS, Stage, World},
};

/// Events after which the tables are made anew.
const APPENDED: usize = 5000;
/// Largest frame of a message: the gateway takes 32 KB.
const FRAME: usize = 30_000;
const MAX_MESSAGE: usize = 128 * 1024;
const MAX_TEXT: usize = 16 * 1024;
const MAX_REF: usize = 64;

pub(crate) struct Chat {
    pub(crate) world: World,
    socket: WebSocketStream<DuplexStream>,
    id: String,
    appended: usize,
}

thread_local! {
    pub(crate) static STAGE: RefCell<Option<Stage<Chat>>> = const { RefCell::new(None) };
}

/// Sends the frame and judges the answer.
pub fn run(input: &[u8]) {
    let frame = String::from_utf8_lossy(input);
    if frame.len() > MAX_MESSAGE {
        return;
    }
    world::play(&STAGE, Chat::start, async |chat| {
        let reply = chat.ask(&frame).await;
        let calls = chat.world.wire.take();
        chat.judge(&frame, &reply, &calls);
        chat.appended += calls.iter().filter(|call| call.writes()).count();
        if chat.appended < APPENDED { Next::Same } else { Next::Fresh }
    });
}

impl Chat {
    pub(crate) async fn start() -> Chat {
        let world = World::start().await;
        let request = "ws://localhost:3000/local".into_client_request().expect("a request");
        let (socket, _) = client_async(request, world.public.enter()).await.expect("the handshake");
        let mut chat = Chat { world, socket, id: String::new(), appended: 0 };
        let pong: Value = serde_json::from_str(&chat.ask(r#"{"action":"ping"}"#).await).expect("JSON");
        chat.id = pong["connection"].as_str().expect("a pong names the connection").to_owned();
        chat.world.wire.take();
        chat
    }

    /// Sends a frame, in pieces if it is large, and gives its one answer.
    pub(crate) async fn ask(&mut self, text: &str) -> String {
        let mut opcode = OpCode::Data(Data::Text);
        let pieces: Vec<&[u8]> = if text.is_empty() { vec![b""] } else { text.as_bytes().chunks(FRAME).collect() };
        for (index, piece) in pieces.iter().enumerate() {
            let frame = Frame::message(piece.to_vec(), opcode, index + 1 == pieces.len());
            self.socket.send(Message::Frame(frame)).await.expect("sending");
            opcode = OpCode::Data(Data::Continue);
        }
        let reply = match self.socket.next().await {
            Some(Ok(Message::Text(reply))) => reply.to_string(),
            other => panic!("no answer but {other:?}"),
        };
        assert!(self.socket.next().now_or_never().is_none(), "a second answer");
        reply
    }

    fn judge(&self, frame: &str, reply: &str, calls: &[Call]) {
        let answer: Value = serde_json::from_str(reply).unwrap_or_else(|error| panic!("{error}: {reply}"));
        let kind = answer["type"].as_str().unwrap_or_else(|| panic!("no type: {reply}"));
        let writes: Vec<&Call> = calls.iter().filter(|call| call.writes()).collect();
        match kind {
            "accepted" => assert_eq!(writes.len(), 1, "accepted is appended, once"),
            "connections" | "pong" => assert!(writes.is_empty(), "{kind} writes {writes:?}"),
            "error" => {
                assert!(writes.is_empty(), "an error writes {writes:?}");
                assert!(
                    answer["message"].as_str().is_some_and(|text| !text.is_empty() && text.len() < 1024),
                    "{reply}"
                );
            }
            _ => panic!("no documented type: {reply}"),
        }
        reads_only_what_was_asked_for(calls, &self.world.settings.connections_table);
        // Half a surrogate pair, deep nesting or a number beyond all numbers may be in a field that nobody asks for.
        let Ok(asked) = serde_json::from_str::<Value>(frame) else {
            let is_json = serde_json::from_str::<&RawValue>(frame).is_ok();
            return assert!(is_json || answer["code"] == "invalid_json" && answer.get("ref").is_none(), "{reply}");
        };
        let expected = expected(&asked, &self.id);
        let said = Expected {
            kind,
            code: answer["code"].as_str().unwrap_or_default(),
            field: answer["field"].as_str().unwrap_or_default(),
        };
        assert_eq!(said, expected, "{frame} is answered {reply}");
        let reference = asked.get("ref").filter(|reference| reference.as_str().is_some_and(|r| r.len() <= MAX_REF));
        assert_eq!(answer.get("ref"), reference, "{frame} is answered {reply}");
        if kind == "accepted" {
            self.judge_appended(&asked, &answer, &writes[0].body["Item"]);
        }
    }

    /// What is recorded is what was said, by who said it.
    fn judge_appended(&self, asked: &Value, answer: &Value, item: &Value) {
        let data = &item["data"]["M"];
        assert_eq!(item["id"]["S"], answer["id"]);
        assert_eq!(item["at"]["S"], answer["at"]);
        assert_eq!(data["from"]["S"], self.id.as_str(), "the sender is the gateway's connection");
        assert_eq!(data["text"]["S"], asked["message"]);
        match asked["action"].as_str() {
            Some("broadcast") => assert_eq!(item["stream"]["S"], "conversation#lobby"),
            _ => {
                let to = asked["connection"].as_str().expect("a recipient");
                let (a, b) = if self.id.as_str() <= to { (self.id.as_str(), to) } else { (to, self.id.as_str()) };
                assert_eq!(item["stream"]["S"], format!("conversation#{a}~{b}"));
                assert_eq!(data["to"]["S"], to);
                assert_eq!(data["receipt"]["BOOL"], asked.get("receipt").cloned().unwrap_or(json!(false)));
            }
        }
    }
}

/// A chat reads the recipient's stream, a list the live index, each by a valid id; nothing else is read.
pub(crate) fn reads_only_what_was_asked_for(calls: &[Call], view: &str) {
    for call in calls.iter().filter(|call| call.operation == "Query") {
        let body = &call.body;
        let values = body["ExpressionAttributeValues"].as_object().expect("the values of a query");
        let texts: Vec<&str> = values.values().filter_map(|value| value["S"].as_str()).collect();
        assert_eq!(texts.len(), values.len(), "{body}");
        let is_id = |text: &str| text.parse::<events::ConnectionId>().is_ok();
        if body["TableName"] == view {
            assert_eq!(body["IndexName"], "live", "{body}");
            assert!(["0", "1", "2", "3"].contains(&values[":live"]["S"].as_str().expect("a shard")), "{body}");
            assert!(texts.iter().all(|text| is_id(text)), "{body}");
        } else {
            assert!(body.get("IndexName").is_none(), "{body}");
            let streams = |text: &&&str| text.strip_prefix("connection#").is_some_and(is_id);
            assert_eq!(texts.iter().filter(streams).count(), texts.len(), "{body}");
        }
    }
    assert!(calls.iter().all(|call| ["Query", "PutItem"].contains(&call.operation.as_str())), "{calls:?}");
}

#[derive(Debug, PartialEq, Eq)]
struct Expected<'a> {
    kind: &'a str,
    code: &'a str,
    field: &'a str,
}

fn error(code: &'static str, field: &'static str) -> Expected<'static> {
    Expected { kind: "error", code, field }
}

fn invalid(field: &'static str) -> Expected<'static> {
    error("invalid_request", field)
}

/// The answer that the protocol's description asks for.
fn expected(asked: &Value, me: &str) -> Expected<'static> {
    let ok = |kind| Expected { kind, code: "", field: "" };
    let Some(fields) = asked.as_object() else { return invalid("action") };
    if fields.get("ref").is_some_and(|reference| reference.as_str().is_none_or(|text| text.len() > MAX_REF)) {
        return invalid("ref");
    }
    let text = |field: &str| fields.get(field).and_then(Value::as_str);
    match text("action") {
        None => invalid("action"),
        Some("ping") => ok("pong"),
        Some("broadcast") => message(text("message")).unwrap_or(ok("accepted")),
        Some("chat") => {
            let Some(connection) = text("connection") else { return invalid("connection") };
            if connection.parse::<events::ConnectionId>().is_err() {
                return error("unknown_connection", "connection");
            }
            if text("message").is_none() {
                return invalid("message");
            }
            if fields.get("receipt").is_some_and(|receipt| !receipt.is_boolean()) {
                return invalid("receipt");
            }
            let here = connection == HERE || connection == me || OTHERS.contains(&connection);
            let unknown = (!here).then_some(error("unknown_connection", "connection"));
            message(text("message")).or(unknown).unwrap_or(ok("accepted"))
        }
        Some("list") => {
            if fields.get("limit").is_some_and(|limit| limit.as_u64().is_none_or(|limit| !(1..=400).contains(&limit))) {
                return invalid("limit");
            }
            match fields.get("cursor") {
                Some(cursor) if !cursor.as_str().is_some_and(is_cursor) => invalid("cursor"),
                _ => ok("connections"),
            }
        }
        Some(_) => error("unknown_action", "action"),
    }
}

/// What is wrong with a message, if something is.
fn message(text: Option<&str>) -> Option<Expected<'static>> {
    match text.map(str::len) {
        None | Some(0) => Some(invalid("message")),
        Some(1..=MAX_TEXT) => None,
        Some(_) => Some(error("message_too_large", "message")),
    }
}

/// A shard, and behind a point a connection id.
fn is_cursor(text: &str) -> bool {
    let (shard, after) = text.split_once('.').map_or((text, None), |(shard, after)| (shard, Some(after)));
    ["0", "1", "2", "3"].contains(&shard) && after.is_none_or(|after| after.parse::<events::ConnectionId>().is_ok())
}
