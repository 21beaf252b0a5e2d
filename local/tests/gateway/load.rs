//! How much a gateway holds for a client that does not read.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use crate::world::{Setup, within};

/// What the systems of both sides may hold of a connection before the gateway notices: Linux's largest buffers, doubled.
const SYSTEM_HOLDS: usize = 24 * 1024 * 1024;

#[tokio::test]
async fn no_more_than_a_mebibyte_waits_for_a_client_that_does_not_read() {
    let world = Setup::new().start().await;
    let (_deaf, id) = world.client_with_id().await;
    let text = "x".repeat(100 * 1024);
    let mut taken = 0;
    // Frames this large would come to 100 MB before there were a thousand of them.
    while within(world.post(&id, &text)).await.is_ok() {
        taken += text.len();
        assert!(taken < SYSTEM_HOLDS + 2 * 1024 * 1024, "{taken} bytes were taken");
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_for_too_long_is_dropped_and_pushes_to_it_are_gone() {
    let setup = Setup::new().timing(|timing| timing.unread_limit = Duration::from_millis(200));
    let world = setup.start().await;
    let (_deaf, id) = world.client_with_id().await;
    let text = "x".repeat(100 * 1024);
    let gone = async {
        while !matches!(world.post(&id, &text).await, Err(aws_sdk_apigatewaymanagement::Error::GoneException(_))) {}
    };
    within(gone).await;
    assert_eq!(within(world.event("$disconnect")).await["requestContext"]["disconnectStatusCode"], 1006);
}

#[tokio::test]
async fn a_client_that_reads_late_but_reads_is_kept() {
    let world = Setup::new().start().await;
    let (mut late, id) = world.client_with_id().await;
    let text = "x".repeat(100 * 1024);
    let mut taken = 0;
    while within(world.post(&id, &text)).await.is_ok() {
        taken += 1;
    }
    for _ in 0..taken {
        assert_eq!(within(late.text()).await.len(), text.len());
    }
    within(world.post(&id, "welcome back")).await.unwrap();
    assert_eq!(within(late.text()).await, "welcome back");
    late.send(Message::Close(None)).await;
}
