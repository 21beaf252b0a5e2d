//! Stopping the gateway: everybody hears of it, nothing is left undone.

use std::sync::Arc;

use crate::{
    toys::{echoes, gated, ok},
    world::{Setup, within},
};

#[tokio::test]
async fn everybody_is_sent_away_and_disconnected() {
    let world = Setup::new().start().await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(world.client().await);
    }
    let away = clients.into_iter().map(|mut client| tokio::spawn(async move { client.closed_with().await }));
    let away: Vec<_> = away.collect();
    within(world.gateway.shutdown()).await;
    assert_eq!((world.gateway.connections(), world.gateway.in_flight()), (0, 0));
    assert_eq!(world.events_left("$disconnect").await, 5);
    let event = world.event("$disconnect").await;
    assert_eq!(event["requestContext"]["disconnectStatusCode"], 1001);
    assert_eq!(event["requestContext"]["disconnectReason"], "Going away");
    for client in away {
        assert_eq!(client.await.unwrap(), (1001, "Going away".into()));
    }
}

#[tokio::test]
async fn a_running_invocation_still_replies() {
    let (gate, slow) = gated(echoes());
    let world = Setup::new().route("$default", slow).start().await;
    let mut client = world.client().await;
    client.send("one last thing").await;
    world.event("$default").await;
    let shutdown = tokio::spawn({
        let gateway = Arc::clone(&world.gateway);
        async move { gateway.shutdown().await }
    });
    // Refused: the shutdown has begun.
    while world.handshake(world.request("/local")).await.is_ok() {}
    assert!(!shutdown.is_finished());
    gate.add_permits(1);
    assert_eq!(client.text().await, "one last thing");
    assert_eq!(client.closed_with().await, (1001, "Going away".into()));
    within(shutdown).await.unwrap();
}

#[tokio::test]
async fn disconnect_is_waited_for() {
    let (gate, slow) = gated(ok());
    let world = Setup::new().route("$disconnect", slow).start().await;
    let mut client = world.client().await;
    let shutdown = tokio::spawn({
        let gateway = Arc::clone(&world.gateway);
        async move { gateway.shutdown().await }
    });
    client.closed_with().await;
    // Reading on is what answers the close frame.
    assert!(futures::StreamExt::next(&mut client.0).await.is_none());
    world.event("$disconnect").await;
    assert!(!shutdown.is_finished());
    gate.add_permits(1);
    within(shutdown).await.unwrap();
}

#[tokio::test]
async fn nobody_new_is_let_in() {
    let world = Setup::new().start().await;
    within(world.gateway.shutdown()).await;
    assert_eq!(world.refused(world.request("/local")).await.0, 503);
    assert_eq!(world.events_left("$connect").await, 0);
}

#[tokio::test]
async fn a_client_on_its_way_in_is_let_in_and_sent_away() {
    let (gate, slow) = gated(ok());
    let world = Arc::new(Setup::new().route("$connect", slow).start().await);
    let upgrade = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.handshake(world.request("/local")).await }
    });
    world.event("$connect").await;
    let shutdown = tokio::spawn({
        let gateway = Arc::clone(&world.gateway);
        async move { gateway.shutdown().await }
    });
    gate.add_permits(1);
    let (mut client, _) = upgrade.await.unwrap().unwrap();
    assert_eq!(client.closed_with().await.0, 1001);
    within(shutdown).await.unwrap();
    assert_eq!(world.events_left("$disconnect").await, 1);
}
