//! The built `bootstrap`, every function in a process of its own, fed the events of its trigger: answer and effect.
//!
//! The events (`events/*.json`) are what AWS sends, but for the time of a request: old requests are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a panic is how a test fails

mod client;
mod process;

use std::time::Duration;

use aws_sdk_dynamodb::Client as DynamoDb;
use chrono::TimeDelta;
use events::{
    Appended, ConnectionId, Event, EventId, RecordedEvent, StreamName, Timing,
    connection::{self, ConnectionClosed, ConnectionOpened, FoundBy},
    conversation,
    delivery::{self, MessageUndeliverable, Reason},
    time,
};
use local::{Effect, Faults, Options, PARKED, Runtime, runtime_api::RuntimeApi};
use projections::connections;
use serde_json::{Value, json};

use client::Client;
use process::{Process, run_to_end, variables};

/// Connections of the fixtures. Nobody is connected by these names.
const ALICE: &str = "TXzPWdnOjoECGjA=";
const BOB: &str = "TXzPWeFOjoECHKw=";
/// The message of the fixtures' notices.
const MESSAGE: &str = "019f2a6b-3c4d-7abc-8def-0123456789ab";

async fn start() -> Runtime {
    start_with(Faults::default()).await
}

/// A runtime whose own `post` tries a push once and hands it on: hardly anybody is there.
async fn start_with(faults: Faults) -> Runtime {
    let timing = Timing {
        push_budget: Duration::ZERO,
        batch_retry: Duration::from_millis(20),
        batch_retry_max: Duration::from_millis(20),
        ..Timing::default()
    };
    Runtime::start(Options { timing, faults, ..Options::default() }).await.unwrap()
}

/// Nothing may be left undone.
async fn finish(runtime: Runtime) {
    runtime.idle().await;
    assert_eq!(runtime.given_up(), []);
    runtime.stop().await;
}

fn id(text: &str) -> ConnectionId {
    text.parse().unwrap()
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A gateway's event, of now.
fn request(name: &str) -> Value {
    let mut event = fixture(name);
    event["requestContext"]["requestTimeEpoch"] = json!(time::now().timestamp_millis());
    event
}

fn request_time(event: &Value) -> chrono::DateTime<chrono::Utc> {
    time::from_millis(event["requestContext"]["requestTimeEpoch"].as_i64().unwrap()).unwrap()
}

/// A notice with other values in its detail.
fn notice(name: &str, change: Value) -> Value {
    let mut event = fixture(name);
    event["detail"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    event
}

/// The frame in a route's answer.
fn frame(answer: Result<Value, Value>) -> Value {
    let answer = answer.unwrap();
    assert_eq!(answer["statusCode"], 200);
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

async fn stream(runtime: &Runtime, stream: &StreamName) -> Vec<RecordedEvent> {
    runtime.log().read_whole_stream(stream).await.unwrap().into_iter().map(Result::unwrap).collect()
}

async fn connection_stream(runtime: &Runtime, connection: &str) -> Vec<RecordedEvent> {
    stream(runtime, &connection::stream(&id(connection))).await
}

/// The one thing that became of the fixtures' message: it will not arrive.
async fn outcome(runtime: &Runtime) -> MessageUndeliverable {
    match outcomes(runtime).await.as_slice() {
        [Event::MessageUndeliverable(outcome)] => outcome.clone(),
        others => panic!("{others:?}"),
    }
}

/// What became of the fixtures' message.
async fn outcomes(runtime: &Runtime) -> Vec<Event> {
    let stream = stream(runtime, &delivery::stream(MESSAGE.parse().unwrap())).await;
    stream.into_iter().map(|recorded| recorded.event).collect()
}

async fn append(runtime: &Runtime, recorded: &RecordedEvent) {
    assert_eq!(runtime.log().append(recorded).await.unwrap(), Appended::New);
}

fn opened(connection: &str, minutes_ago: i64) -> RecordedEvent {
    let data = ConnectionOpened { source_ip: None, user_agent: None };
    connection::open(&id(connection), data, time::now() - TimeDelta::minutes(minutes_ago), "r1")
}

fn closed(connection: &str) -> RecordedEvent {
    connection::close(&id(connection), ConnectionClosed { code: Some(1000), text: None }, time::now(), "r2")
}

// Routes

#[tokio::test(flavor = "multi_thread")]
async fn connect_lets_a_client_in_once_its_opening_is_recorded() {
    let runtime = start().await;
    let mut connect = Process::start("connect", &runtime).await;
    let event = request("connect");
    assert_eq!(connect.invoke(&event).await, Ok(json!({"statusCode": 200})));
    assert_eq!(connect.invoke(&event).await, Ok(json!({"statusCode": 200})), "the same invocation again");

    let [recorded] = connection_stream(&runtime, ALICE).await.try_into().unwrap();
    let Event::ConnectionOpened(opened) = recorded.event else { panic!("{recorded:?}") };
    assert_eq!(opened.source_ip.as_deref(), Some("185.69.197.15"));
    assert_eq!(opened.user_agent.as_deref(), event["requestContext"]["identity"]["userAgent"].as_str());
    assert_eq!(recorded.request_id, "TXzPWFkkjoEF92g=");
    runtime.idle().await;
    assert!(runtime.view().get(&id(ALICE)).await.unwrap().unwrap().row.is_live());
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_refuses_other_origins_a_second_opening_and_a_request_that_waited() {
    let runtime = start().await;
    let mut connect = Process::start("connect", &runtime).await;
    let mut foreign = request("connect");
    foreign["headers"]["Origin"] = json!("https://elsewhere.example");
    foreign["multiValueHeaders"]["Origin"] = json!(["https://elsewhere.example"]);
    assert_eq!(connect.invoke(&foreign).await, Ok(json!({"statusCode": 403})));
    let own = "https://chat.example";
    for (last, all) in [
        (own, vec!["https://elsewhere.example", own]),
        ("null", vec!["null"]),
        ("", vec![""]),
        ("https://chat.example.evil.example", vec!["https://chat.example.evil.example"]),
        ("https://chät.example", vec!["https://chät.example"]),
    ] {
        foreign["headers"]["Origin"] = json!(last);
        foreign["multiValueHeaders"]["Origin"] = json!(all);
        assert_eq!(connect.invoke(&foreign).await, Ok(json!({"statusCode": 403})), "{all:?}");
    }
    assert_eq!(connect.invoke(&fixture("connect")).await, Ok(json!({"statusCode": 503})), "years old");
    assert_eq!(connection_stream(&runtime, ALICE).await, []);

    let mut program = request("connect");
    program["headers"].as_object_mut().unwrap().remove("Origin");
    program["multiValueHeaders"].as_object_mut().unwrap().remove("Origin");
    assert_eq!(connect.invoke(&program).await, Ok(json!({"statusCode": 200})), "programs send none");
    let mut second = request("connect");
    second["requestContext"]["requestId"] = json!("another");
    assert_eq!(connect.invoke(&second).await, Ok(json!({"statusCode": 409})));
    assert_eq!(connection_stream(&runtime, ALICE).await.len(), 1);
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnect_records_how_a_connection_ended() {
    let runtime = start().await;
    let mut disconnect = Process::start("disconnect", &runtime).await;
    for _ in 0..2 {
        assert_eq!(disconnect.invoke(&request("disconnect")).await, Ok(json!({"statusCode": 200})));
    }
    let [recorded] = connection_stream(&runtime, ALICE).await.try_into().unwrap();
    let closed = ConnectionClosed { code: Some(1001), text: Some("Going away".into()) };
    assert_eq!(recorded.event, Event::ConnectionClosed(closed));
    assert_eq!(disconnect.invoke(&fixture("disconnect")).await, Ok(json!({"statusCode": 200})), "an end is an end");
    runtime.idle().await;
    assert!(runtime.view().get(&id(ALICE)).await.unwrap().unwrap().row.closed.is_some());
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broadcast_accepts_a_message_once_however_often_it_is_delivered() {
    let runtime = start().await;
    let mut broadcast = Process::start("broadcast", &runtime).await;
    let event = request("broadcast");
    let accepted = frame(broadcast.invoke(&event).await);
    let (at, request_id) = (request_time(&event), event["requestContext"]["requestId"].as_str().unwrap());
    let message = EventId::of_request(at, request_id);
    assert_eq!(accepted, json!({"type": "accepted", "id": message, "at": time::to_text(at), "ref": "1"}));
    assert_eq!(frame(broadcast.invoke(&event).await), accepted, "the same invocation again");

    let [recorded] = stream(&runtime, &conversation::lobby()).await.try_into().unwrap();
    let said = conversation::broadcast(id(ALICE), "Anybody home?".into(), at, request_id).unwrap();
    assert_eq!(recorded, said);
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broadcast_refuses_a_mistake_and_a_request_that_waited_and_records_nothing() {
    let runtime = start().await;
    let mut broadcast = Process::start("broadcast", &runtime).await;
    let late = frame(broadcast.invoke(&fixture("broadcast")).await);
    assert_eq!((&late["code"], &late["ref"]), (&json!("unavailable"), &json!("1")));
    let mut mute = request("broadcast");
    mute["body"] = json!(r#"{"action":"broadcast","ref":"9"}"#);
    let mute = frame(broadcast.invoke(&mute).await);
    assert_eq!(
        (&mute["code"], &mute["field"], &mute["ref"]),
        (&json!("invalid_request"), &json!("message"), &json!("9"))
    );
    assert_eq!(stream(&runtime, &conversation::lobby()).await, []);
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_accepts_a_message_to_who_is_there_once_however_often_it_is_delivered() {
    let runtime = start().await;
    append(&runtime, &opened(BOB, 0)).await;
    let mut chat = Process::start("chat", &runtime).await;
    let event = request("chat");
    let accepted = frame(chat.invoke(&event).await);
    assert_eq!((&accepted["type"], &accepted["ref"]), (&json!("accepted"), &json!("2")));
    assert_eq!(frame(chat.invoke(&event).await), accepted, "the same invocation again");

    let [recorded] = stream(&runtime, &conversation::between(&id(ALICE), &id(BOB))).await.try_into().unwrap();
    assert_eq!(json!(recorded.id), accepted["id"]);
    let Event::MessageSent(sent) = recorded.event else { panic!("{recorded:?}") };
    assert_eq!((sent.from, sent.to, sent.text.as_str(), sent.receipt), (id(ALICE), id(BOB), "Yo! 👋", true));
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_refuses_a_message_to_who_has_left_or_never_came() {
    let runtime = start().await;
    let mut chat = Process::start("chat", &runtime).await;
    let never = frame(chat.invoke(&request("chat")).await);
    assert_eq!((&never["code"], &never["field"]), (&json!("unknown_connection"), &json!("connection")));
    append(&runtime, &closed(BOB)).await;
    append(&runtime, &opened(BOB, 5)).await;
    assert_eq!(frame(chat.invoke(&request("chat")).await), never);
    assert_eq!(stream(&runtime, &conversation::between(&id(ALICE), &id(BOB))).await, []);
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_tells_who_is_there_page_by_page() {
    let runtime = start().await;
    let all: Vec<_> = [ALICE, BOB, "TXzPWcarolECGjA="].map(|connection| opened(connection, 0)).to_vec();
    for row in connections::fold(&all).into_values() {
        runtime.view().write(&row).await.unwrap();
    }
    let mut list = Process::start("list", &runtime).await;
    let first = frame(list.invoke(&request("list")).await);
    assert_eq!(first["type"], "connections");
    let mut event = request("list");
    event["body"] = json!(json!({"action": "list", "limit": 2, "cursor": first["next"]}).to_string());
    let rest = frame(list.invoke(&event).await);
    let pages = [&first, &rest].map(|page| page["connections"].as_array().unwrap().clone());
    assert_eq!(pages.each_ref().map(Vec::len), [2, 1]);
    let mut listed = pages.concat();
    let mut expected: Vec<_> = all
        .iter()
        .map(|opened| json!({"connection": connection::of_stream(&opened.stream), "opened_at": time::to_text(opened.at)}))
        .collect();
    listed.sort_by_key(|live| live["connection"].to_string());
    expected.sort_by_key(|live| live["connection"].to_string());
    assert_eq!(listed, expected);
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fallback_answers_ping_and_says_what_is_wrong_with_the_rest() {
    let runtime = start().await;
    let mut fallback = Process::start("fallback", &runtime).await;
    let pong = frame(fallback.invoke(&request("ping")).await);
    assert_eq!(pong, json!({"type": "pong", "connection": ALICE, "ref": "3"}));
    assert_eq!(frame(fallback.invoke(&request("not_json")).await)["code"], "invalid_json");
    let mut unknown = request("ping");
    unknown["body"] = json!(r#"{"action":"sing","ref":"4"}"#);
    let unknown = frame(fallback.invoke(&unknown).await);
    assert_eq!(
        (&unknown["code"], &unknown["field"], &unknown["ref"]),
        (&json!("unknown_action"), &json!("action"), &json!("4"))
    );
    finish(runtime).await;
}

// Behind the stream

/// The events are in no log of this runtime, so that only the function can have written and published what follows.
#[tokio::test(flavor = "multi_thread")]
async fn projector_writes_rows_publishes_notices_and_parks_what_it_cannot_take() {
    let runtime = start().await;
    let mut bob = Client::welcomed(&runtime.url()).await;
    let mut projector = Process::start("projector", &runtime).await;
    let mut batch = fixture("stream");
    batch["Records"][3]["dynamodb"]["NewImage"]["data"]["M"]["to"]["S"] = json!(bob.id);
    assert_eq!(projector.invoke(&batch).await, Ok(json!({"batchItemFailures": []})));

    let alice = runtime.view().get(&id(ALICE)).await.unwrap().unwrap();
    assert_eq!((alice.row.is_live(), alice.live.is_some()), (true, true));
    let chat = bob.next().await;
    assert_eq!((&chat["type"], &chat["from"], &chat["message"]), (&json!("chat"), &json!(ALICE), &json!("Yo! 👋")));

    let parked = DynamoDb::new(runtime.sdk()).scan().table_name(PARKED).limit(10).send().await.unwrap();
    let mut parked: Vec<_> = parked.items().iter().map(|item| item["stream"].as_s().unwrap().clone()).collect();
    parked.sort();
    assert_eq!(parked, [format!("connection#{ALICE}"), "conversation#lobby".to_owned()]);
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn projector_gives_back_what_it_could_not_publish() {
    let faults = Faults::default();
    let runtime = start_with(faults.clone()).await;
    faults.inject("PutEvents", "", Effect::Refuse(500, "InternalFailure"), usize::MAX);
    let mut projector = Process::start("projector", &runtime).await;
    let first = json!({"batchItemFailures": [{"itemIdentifier": "1405400000000002063282832"}]});
    assert_eq!(projector.invoke(&fixture("stream")).await, Ok(first));
    faults.clear();
    assert_eq!(projector.invoke(&fixture("stream")).await, Ok(json!({"batchItemFailures": []})));
    finish(runtime).await;
}

// Behind the bus

#[tokio::test(flavor = "multi_thread")]
async fn post_pushes_every_kind_of_notice_to_who_is_there_and_records_what_became_of_messages() {
    let runtime = start().await;
    let mut bob = Client::welcomed(&runtime.url()).await;
    runtime.idle().await;
    let mut post = Process::start("post", &runtime).await;
    let at = time::to_text(time::now());

    let welcome = notice("notice_welcome", json!({"connection": bob.id}));
    assert_eq!(post.invoke(&welcome).await, Ok(Value::Null));
    assert_eq!(
        bob.next().await,
        json!({"type": "welcome", "id": welcome["detail"]["id"], "at": welcome["detail"]["at"], "connection": bob.id,
            "message": format!("Welcome! - connected on {}", bob.id)})
    );

    let receipt = notice("notice_receipt", json!({"to": bob.id}));
    assert_eq!(post.invoke(&receipt).await, Ok(Value::Null));
    assert_eq!(
        bob.next().await,
        json!({"type": "receipt", "id": receipt["detail"]["id"], "at": receipt["detail"]["at"], "message_id": MESSAGE,
            "status": "undeliverable", "reason": "gone"})
    );
    assert_eq!(outcomes(&runtime).await, [], "neither is a message");

    let broadcast = json!({"type": "broadcast", "id": MESSAGE, "at": at, "from": ALICE, "message": "Anybody home?"});
    assert_eq!(post.invoke(&notice("notice_broadcast", json!({"at": at}))).await, Ok(Value::Null));
    assert_eq!(bob.next().await, broadcast);
    let deliver = notice("notice_deliver", json!({"at": at, "connections": [BOB, bob.id]}));
    assert_eq!(post.invoke(&deliver).await, Ok(Value::Null));
    assert_eq!(bob.next().await, broadcast);

    assert_eq!(post.invoke(&notice("notice_chat", json!({"to": bob.id}))).await, Ok(Value::Null));
    let chat = bob.next().await;
    assert_eq!((&chat["type"], &chat["from"], &chat["to"]), (&json!("chat"), &json!(ALICE), &json!(bob.id)));

    let (mut pages, mut delivered) = (Vec::new(), Vec::new());
    for event in outcomes(&runtime).await {
        match event {
            Event::BroadcastDelivered(d) => pages.push((d.page, d.delivered, d.gone, d.failed)),
            Event::MessageDelivered(d) => delivered.push(d.address.to),
            other => panic!("{other:?}"),
        }
    }
    pages.sort_unstable();
    assert_eq!(pages, [(0, 1, 0, 0), (3, 1, 1, 0)]);
    assert_eq!(delivered, [id(&bob.id)]);
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn post_tells_the_sender_that_the_recipient_has_left() {
    let runtime = start().await;
    let mut alice = Client::welcomed(&runtime.url()).await;
    append(&runtime, &closed(BOB)).await;
    append(&runtime, &opened(BOB, 5)).await;
    runtime.idle().await;
    let mut post = Process::start("post", &runtime).await;
    for _ in 0..2 {
        assert_eq!(post.invoke(&notice("notice_chat", json!({"from": alice.id}))).await, Ok(Value::Null));
    }
    let outcome = outcome(&runtime).await;
    assert_eq!((outcome.reason, outcome.address.to), (Reason::Ended, id(BOB)));
    let receipt = alice.next().await;
    assert_eq!(receipt["message_id"], MESSAGE);
    assert_eq!((&receipt["status"], &receipt["reason"]), (&json!("undeliverable"), &json!("ended")));
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn post_has_a_connection_looked_at_that_the_gateway_forgot() {
    let runtime = start().await;
    let mut post = Process::start("post", &runtime).await;
    // Nobody by this name ever opened, so its row and its stream stay as they are: none.
    assert_eq!(post.invoke(&fixture("notice_chat")).await, Ok(Value::Null));
    let outcome = outcome(&runtime).await;
    assert_eq!(outcome.reason, Reason::Gone);
    let misled = post.invoke(&fixture("notice_connection_gone")).await.unwrap_err();
    assert_eq!(misled["errorType"], "InvalidEvent", "that one is for manage");
    finish(runtime).await;
}

/// The runtime's own projector is kept from publishing welcomes: its `post` would find the connections gone before us.
#[tokio::test(flavor = "multi_thread")]
async fn manage_records_connections_that_are_lost_and_repairs_rows_that_do_not_say_so() {
    let faults = Faults::default();
    let runtime = start_with(faults.clone()).await;
    let mut alice = Client::welcomed(&runtime.url()).await;
    runtime.idle().await;
    let unpublished = faults.inject("PutEvents", "", Effect::Refuse(500, "InternalFailure"), usize::MAX);
    let carol = "TXzPWcarolECGjA=";
    for connection in [BOB, carol] {
        let opened = opened(connection, 5);
        append(&runtime, &opened).await;
        runtime.view().write(&connections::fold([&opened])[&id(connection)]).await.unwrap();
    }
    unpublished.reached(1).await;
    let mut manage = Process::start("manage", &runtime).await;
    let lost = async |connection| {
        let events = connection_stream(&runtime, connection).await.into_iter();
        let found_by = events.filter_map(|recorded| match recorded.event {
            Event::ConnectionLost(lost) => Some(lost.found_by),
            _ => None,
        });
        found_by.collect::<Vec<_>>()
    };
    let is_live = async |connection| runtime.view().get(&id(connection)).await.unwrap().unwrap().live.is_some();

    assert_eq!(manage.invoke(&fixture("notice_connection_gone")).await, Ok(Value::Null));
    assert_eq!((lost(BOB).await, lost(carol).await), (vec![FoundBy::Post], vec![]));
    assert!(is_live(BOB).await, "the projector is held up");
    assert_eq!(manage.invoke(&fixture("scheduled")).await, Ok(Value::Null));
    assert_eq!((lost(BOB).await, lost(carol).await), (vec![FoundBy::Post], vec![FoundBy::Sweep]));
    assert_eq!((is_live(BOB).await, is_live(carol).await), (false, true), "what was lost before is repaired");

    faults.clear();
    runtime.idle().await;
    assert!(!is_live(carol).await);
    assert!(is_live(&alice.id).await, "who is there stays");
    assert_eq!(lost(&alice.id).await, []);
    let mut post = Process::start("post", &runtime).await;
    assert_eq!(post.invoke(&notice("notice_welcome", json!({"connection": alice.id}))).await, Ok(Value::Null));
    assert_eq!(alice.next().await["type"], "welcome");
    finish(runtime).await;
}

// The process

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_nobody_knows_ends_the_process_with_one_line_that_says_so() {
    let runtime = start().await;
    let api = RuntimeApi::start().await.unwrap();
    let ended = run_to_end(variables("sing", &api.environment(), &runtime)).await;
    assert!(!ended.status.success());
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.contains("_HANDLER is `sing`, which is no function"), "{said}");
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_variable_ends_the_process_with_one_line_that_names_it() {
    let runtime = start().await;
    let api = RuntimeApi::start().await.unwrap();
    for (name, _) in handlers::VARIABLES.into_iter().filter(|(_, required)| *required) {
        let mut variables = variables("projector", &api.environment(), &runtime);
        variables.remove(name).unwrap();
        let ended = run_to_end(variables).await;
        assert!(!ended.status.success());
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.contains(&format!("the environment variable {name} is not set")), "{said}");
    }
    finish(runtime).await;
}

/// As after `kill -9` of what serves the Runtime API: its connections end with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_runtime_api_is_gone_ends() {
    let runtime = start().await;
    let doomed = tokio::runtime::Runtime::new().unwrap();
    let api = doomed.spawn(RuntimeApi::start()).await.unwrap().unwrap();
    let mut process = Process::start_under(api, "fallback", &runtime);
    frame(process.invoke(&request("ping")).await);
    doomed.shutdown_background();
    process.ended().await;
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_reported_and_the_next_invocation_is_served() {
    let runtime = start().await;
    for function in handlers::Function::ALL {
        let mut process = Process::start(function.name(), &runtime).await;
        for garbage in ["not json", "[]", "7", r#"{"requestContext":{}}"#, r#"{"detail-type":"welcome","detail":{}}"#] {
            let error = process.invoke_text(garbage.to_owned()).await.unwrap_err();
            assert!(!error["errorMessage"].as_str().unwrap().is_empty(), "{function}: {error}");
        }
        let sound = match function.name() {
            "projector" => json!({"Records": []}),
            "post" => fixture("notice_welcome"),
            "manage" => fixture("scheduled"),
            "fallback" => request("ping"),
            route => request(route),
        };
        process.invoke(&sound).await.unwrap_or_else(|error| panic!("{function}: {error}"));
    }
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_logs_one_line_of_json_and_never_what_was_said() {
    let runtime = start().await;
    append(&runtime, &opened(BOB, 0)).await;
    for (function, event) in [
        ("connect", "connect"),
        ("broadcast", "broadcast"),
        ("list", "list"),
        ("chat", "chat"),
        ("fallback", "ping"),
        ("disconnect", "disconnect"),
        ("projector", "stream"),
    ] {
        let mut process = Process::start(function, &runtime).await;
        // Twice: a line that came late would stand before the second's.
        for _ in 0..2 {
            let event = if function == "projector" { sound_records() } else { request(event) };
            process.invoke(&event).await.unwrap();
        }
        let lines = process.stop().await;
        assert_eq!(lines.len(), 2, "{function}: {lines:#?}");
        for line in lines {
            let json: Value = serde_json::from_str(&line).unwrap();
            assert_eq!((&json["level"], &json["fields"]["function"]), (&json!("INFO"), &json!(function)), "{line}");
            assert!(json["fields"]["duration_ms"].is_u64(), "a number to compute with: {line}");
            assert!(!line.contains("Anybody home?") && !line.contains("Yo!"), "{line}");
        }
    }
    finish(runtime).await;
}

/// The batch of the fixture without the records that are parked: parking logs, too.
fn sound_records() -> Value {
    let batch = fixture("stream");
    json!({"Records": [batch["Records"][0], batch["Records"][3]]})
}
