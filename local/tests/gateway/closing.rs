//! How connections end, and what client and `$disconnect` get to know of it.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Bytes, Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use crate::{
    client::Client,
    toys::{echoes, fails, toy},
    world::{Setup, World, within},
};

async fn world() -> World {
    Setup::new().route("$default", echoes()).start().await
}

/// Code and reason that `$disconnect` was told.
async fn disconnected_with(world: &World) -> (u64, String) {
    let event = world.event("$disconnect").await;
    let context = &event["requestContext"];
    let code = context["disconnectStatusCode"].as_u64().unwrap();
    (code, context["disconnectReason"].as_str().unwrap().to_owned())
}

/// One message of `size` bytes, in frames of at most `frame`.
async fn send_in_frames(client: &mut Client, size: usize, frame: usize) {
    let mut sent = 0;
    while sent < size {
        let part = frame.min(size - sent);
        let kind = if sent == 0 { Data::Text } else { Data::Continue };
        sent += part;
        let frame = Frame::message(Bytes::from(vec![b'x'; part]), OpCode::Data(kind), sent == size);
        within(client.0.feed(Message::Frame(frame))).await.unwrap();
    }
    within(client.0.flush()).await.unwrap();
}

/// Point 23.
#[tokio::test]
async fn a_binary_frame_ends_the_connection() {
    let world = world().await;
    let mut client = world.client().await;
    client.send(Message::binary(vec![1])).await;
    assert_eq!(client.closed_with().await.0, 1003);
    assert_eq!(disconnected_with(&world).await.0, 1003);
}

/// Point 24.
#[tokio::test]
async fn a_frame_over_32_kb_ends_the_connection() {
    let world = world().await;
    let mut client = world.client().await;
    assert_eq!(client.ask(&"x".repeat(32 * 1024)).await.len(), 32 * 1024);
    client.send("x".repeat(33 * 1024)).await;
    assert_eq!(client.closed_with().await.0, 1009);
    assert_eq!(disconnected_with(&world).await.0, 1009);
}

#[tokio::test]
async fn a_client_still_sending_learns_why_it_is_cut_off() {
    // Far more than the buffers in between hold: the client is still writing when the close frame comes.
    let world = world().await;
    let (mut sink, mut stream) = world.client().await.0.split();
    let sending = tokio::spawn(async move { sink.send(Message::text("x".repeat(12 << 20))).await });
    match within(stream.next()).await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1009),
        other => panic!("{other:?}"),
    }
    assert_eq!(disconnected_with(&world).await.0, 1009);
    sending.abort();
}

/// Point 24.
#[tokio::test]
async fn a_message_in_several_frames_arrives_as_one() {
    let world = world().await;
    let mut client = world.client().await;
    send_in_frames(&mut client, 100 * 1024, 25 * 1024).await;
    assert_eq!(client.text().await.len(), 100 * 1024);
    let event = world.event("$default").await;
    assert_eq!(event["body"].as_str().unwrap().len(), 100 * 1024);
}

/// Point 24.
#[tokio::test]
async fn a_message_over_128_kb_ends_the_connection() {
    let world = world().await;
    let mut client = world.client().await;
    send_in_frames(&mut client, 129 * 1024, 32 * 1024).await;
    assert_eq!(client.closed_with().await.0, 1009);
    assert_eq!(world.events_left("$default").await, 0);
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_the_connection() {
    let world = world().await;
    let mut client = world.client().await;
    let frame = Frame::message(Bytes::from_static(b"\xff"), OpCode::Data(Data::Text), true);
    client.send(Message::Frame(frame)).await;
    assert_eq!(client.closed_with().await.0, 1007);
    assert_eq!(disconnected_with(&world).await.0, 1007);
}

/// Point 25.
#[tokio::test]
async fn a_silent_client_is_sent_away_though_it_pings() {
    let setup = Setup::new().timing(|timing| timing.idle_limit = Duration::from_millis(300));
    let world = setup.start().await;
    let client = world.client().await;
    let (mut sink, mut stream) = client.0.split();
    let pinging = tokio::spawn(async move {
        let mut often = tokio::time::interval(Duration::from_millis(20));
        loop {
            often.tick().await;
            if sink.send(Message::Ping(Bytes::new())).await.is_err() {
                return;
            }
        }
    });
    let mut pongs = 0;
    let frame = loop {
        match within(stream.next()).await.unwrap().unwrap() {
            Message::Pong(_) => pongs += 1,
            Message::Close(frame) => break frame.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1001, "Going away"));
    assert!(pongs > 0, "pings are answered");
    assert_eq!(disconnected_with(&world).await, (1001, "Going away".into()));
    pinging.abort();
}

/// Point 26. And traffic keeps the idle limit away until then.
#[tokio::test]
async fn a_busy_client_is_sent_away_when_its_time_is_up() {
    let (idle_limit, connection_limit) = (Duration::from_secs(1), Duration::from_secs(2));
    let setup = Setup::new().route("$default", echoes()).timing(|timing| {
        timing.idle_limit = idle_limit;
        timing.connection_limit = connection_limit;
    });
    let world = setup.start().await;
    let begun = Instant::now();
    let mut client = world.client().await;
    let frame = loop {
        // Once the gateway has closed, sending may fail; what it said is still there to be read.
        let _ = client.0.send("hi".into()).await;
        match within(client.0.next()).await.unwrap().unwrap() {
            Message::Close(frame) => break frame.unwrap(),
            reply => assert_eq!(reply, Message::text("hi")),
        }
    };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1001, "Going away"));
    assert!(begun.elapsed() >= connection_limit);
    assert_eq!(disconnected_with(&world).await, (1001, "Going away".into()));
}

#[tokio::test]
async fn pushes_alone_keep_a_connection_open() {
    let idle_limit = Duration::from_millis(800);
    let setup = Setup::new().timing(|timing| timing.idle_limit = idle_limit);
    let world = setup.start().await;
    let (mut client, id) = world.client_with_id().await;
    let begun = Instant::now();
    while begun.elapsed() < idle_limit * 2 {
        world.post(&id, "hi").await.unwrap();
        assert_eq!(client.text().await, "hi");
    }
    assert_eq!(world.gateway.connections(), 1);
}

/// Point 27.
#[tokio::test]
async fn a_client_may_close_without_a_code() {
    let world = world().await;
    let mut client = world.client().await;
    client.0.close(None).await.unwrap();
    assert_eq!(client.closed().await, None);
    assert_eq!(disconnected_with(&world).await, (1005, "Client-side close frame status not set".into()));
}

#[tokio::test]
async fn a_clients_code_and_reason_are_echoed_and_passed_on() {
    let world = world().await;
    let mut client = world.client().await;
    let bye = CloseFrame { code: 4001.into(), reason: "bye".into() };
    client.0.close(Some(bye)).await.unwrap();
    assert_eq!(client.closed_with().await, (4001, "bye".into()));
    assert_eq!(disconnected_with(&world).await, (4001, "bye".into()));
}

#[tokio::test]
async fn a_client_that_vanishes_is_disconnected() {
    let world = world().await;
    drop(world.client().await);
    assert_eq!(disconnected_with(&world).await, (1006, String::new()));
    let reset = world.client().await;
    reset.tcp().set_zero_linger().unwrap();
    drop(reset);
    assert_eq!(disconnected_with(&world).await, (1006, String::new()));
}

/// Point 28.
#[tokio::test]
async fn delete_closes_the_connection_normally() {
    let world = world().await;
    let (mut client, id) = world.client_with_id().await;
    world.post(&id, "last words").await.unwrap();
    world.sdk().delete_connection().connection_id(&id).send().await.unwrap();
    assert_eq!(client.text().await, "last words");
    assert_eq!(client.closed_with().await, (1000, "Connection Closed Normally".into()));
    assert_eq!(disconnected_with(&world).await, (1000, "Connection Closed Normally".into()));
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_close_is_not_waited_for() {
    let world = world().await;
    let (client, id) = world.client_with_id().await;
    let (status, _, body) = world.manage("DELETE", &format!("/local/@connections/{id}"), b"").await;
    assert_eq!((status, body.as_str()), (204, ""));
    // `client` reads nothing all the while, so its answer never comes.
    assert_eq!(disconnected_with(&world).await.0, 1000);
    drop(client);
}

/// Point 29.
#[tokio::test]
async fn a_disconnect_event_has_synthetic_headers_and_no_body() {
    let world = world().await;
    world.client().await.0.close(None).await.unwrap();
    let event = world.event("$disconnect").await;
    let keys: Vec<_> = event.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["headers", "isBase64Encoded", "multiValueHeaders", "requestContext"]);
    let headers = json!({ "Host": "localhost", "x-api-key": "", "X-Forwarded-For": "", "x-restapi": "" });
    assert_eq!(event["headers"], headers);
    assert_eq!(event["multiValueHeaders"]["x-restapi"], json!([""]));
    assert_eq!(event["requestContext"]["eventType"], "DISCONNECT");
    assert_eq!(event["requestContext"].get("messageId"), None);
}

/// Point 30.
#[tokio::test]
async fn a_disconnect_that_fails_is_not_tried_again() {
    let world = Setup::new().route("$disconnect", fails()).route("$default", echoes()).start().await;
    world.client().await.0.close(None).await.unwrap();
    world.event("$disconnect").await;
    assert_eq!(world.events_left("$disconnect").await, 0);
    assert_eq!(world.client().await.ask("hi").await, "hi");
}

#[tokio::test]
async fn when_disconnect_runs_the_connection_is_already_gone() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<Value>();
    let (gate, wait) = crate::toys::gated(crate::toys::ok());
    let disconnect = toy(move |event| {
        tell.send(event.clone()).unwrap();
        wait(event)
    });
    let world = Setup::new().route("$disconnect", disconnect).start().await;
    let (mut client, id) = world.client_with_id().await;
    client.0.close(None).await.unwrap();
    within(told.recv()).await.unwrap();
    assert!(world.post(&id, "hi").await.is_err());
    assert_eq!((world.gateway.connections(), world.gateway.in_flight()), (0, 1));
    gate.add_permits(1);
    within(world.gateway.idle()).await;
}
