//! The push client against a real server, beside the SDK's client: what the gateway answers means the same to both.
#![allow(clippy::unwrap_used, clippy::panic)] // a panic is how a test fails

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_apigatewaymanagement::{
    Client,
    config::{BehaviorVersion, Builder, retry::RetryConfig, timeout::TimeoutConfig},
    error::SdkError,
    primitives::Blob,
};
use aws_types::region::Region;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::Roots;

/// Only turns a hang into a failure, but where a test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway that does to a request what its connection is called. Counts what it took.
struct Gateway {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Gateway {
    async fn start() -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counted = (accepted.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.0.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, counted.1.clone()));
            }
        });
        Gateway { address, accepted, requests }
    }

    fn counts(&self) -> (usize, usize) {
        (self.accepted.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }

    fn url(&self) -> String {
        format!("http://{}/poc", self.address)
    }
}

async fn serve(stream: TcpStream, requests: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    for number_on_this in 1.. {
        let Some(head) = read(&mut stream).await else { return };
        requests.fetch_add(1, Ordering::SeqCst);
        let name = head.split("connections/").nth(1).unwrap().split(' ').next().unwrap().replace("%3D", "=");
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned();
        let answer = match name.trim_end_matches('=') {
            "silent" => std::future::pending().await,
            "dies" => return,
            "nonsense" => "SMTP ready\r\n\r\n".to_owned(),
            "breaks-off" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned(),
            "only-once" if number_on_this > 1 => return,
            "only-once" => ok,
            "last" => {
                stream.write_all(ok.as_bytes()).await.unwrap();
                return;
            }
            status => format!(
                "HTTP/1.1 {} Of Test\r\nx-amzn-errortype: TestException\r\ncontent-length: 19\r\n\r\n{{\"message\":\"of it\"}}",
                status.trim_start_matches('s')
            ),
        };
        let answer = if name == "s204" { "HTTP/1.1 204 No Content\r\n\r\n".to_owned() } else { answer };
        stream.write_all(answer.as_bytes()).await.unwrap();
        if ["nonsense", "breaks-off"].contains(&name.as_str()) {
            return;
        }
    }
}

/// The head of a request, having read its body, too. `None` at the end.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}

fn sdk() -> SdkConfig {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("token".to_owned()), None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(Roots::default().http_client())
        .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(aws_smithy_async::rt::sleep::TokioSleep::new()))
        .build()
}

fn ours(url: &str, patience: Duration) -> GatewayClient {
    GatewayClient::new(&sdk(), url, Dial::default(), patience)
}

/// The SDK's client as this project used it before.
fn theirs(url: &str, patience: Duration) -> Client {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(patience).connect_timeout(patience).build();
    let config = Builder::from(&sdk()).endpoint_url(url).retry_config(RetryConfig::disabled()).timeout_config(timeouts);
    Client::from_conf(config.build())
}

async fn push_with_the_sdk(client: &Client, connection: &ConnectionId) -> Pushed {
    let post = client.post_to_connection().connection_id(connection.as_str()).data(Blob::new("frame"));
    let error = match post.send().await {
        Ok(_) => return Pushed::Taken,
        Err(error) => error,
    };
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (status, error) {
        (Some(410), _) => Pushed::Gone,
        (Some(403), _) => Pushed::Forbidden(String::new()),
        (Some(429), _) => Pushed::Failed(String::new()),
        (Some(400..=499), _) => Pushed::Refused(String::new()),
        (_, SdkError::ConstructionFailure(error)) => panic!("not even sent: {error:?}"),
        _ => Pushed::Failed(String::new()),
    }
}

fn id(text: &str) -> ConnectionId {
    text.parse().unwrap()
}

fn frame() -> Frame {
    Frame::new("frame")
}

/// Whether two outcomes are of the same kind.
fn same(ours: &Pushed, theirs: &Pushed) -> bool {
    std::mem::discriminant(ours) == std::mem::discriminant(theirs)
}

#[tokio::test]
async fn every_answer_means_to_us_what_it_means_to_the_sdk() {
    let gateway = Gateway::start().await;
    for (name, expected) in [
        ("s200", "Taken"),
        ("s204", "Taken"),
        ("s400=", "Refused"),
        ("s401", "Refused"),
        ("s403", "Forbidden"),
        ("s404", "Refused"),
        ("s408", "Refused"),
        ("s410", "Gone"),
        ("s413", "Refused"),
        ("s429", "Failed"),
        ("s500", "Failed"),
        ("s502", "Failed"),
        ("s503", "Failed"),
        ("s504", "Failed"),
        ("dies", "Failed"),
        ("nonsense", "Failed"),
        ("breaks-off", "Failed"),
    ] {
        // A client each: what one case does to a connection is not the next one's affair.
        let ours = ours(&gateway.url(), PATIENCE).push(&id(name), &frame()).await;
        let theirs = push_with_the_sdk(&theirs(&gateway.url(), PATIENCE), &id(name)).await;
        assert!(format!("{ours:?}").starts_with(expected), "{name}: {ours:?}");
        assert!(same(&ours, &theirs), "{name}: ours {ours:?}, the SDK's {theirs:?}");
    }
}

#[tokio::test]
async fn no_answer_in_time_and_no_server_at_all_may_be_tried_again_as_with_the_sdk() {
    let gateway = Gateway::start().await;
    let soon = Duration::from_millis(50);
    let silent = ours(&gateway.url(), soon).push(&id("silent"), &frame()).await;
    assert_eq!(silent, Pushed::Failed("no answer within 50 ms".to_owned()));
    assert!(same(&silent, &push_with_the_sdk(&theirs(&gateway.url(), soon), &id("silent")).await));

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{nobody}/poc");
    let refused = ours(&url, PATIENCE).push(&id("s200"), &frame()).await;
    assert!(matches!(&refused, Pushed::Failed(why) if why.starts_with("connecting to 127.0.0.1: ")), "{refused:?}");
    assert!(same(&refused, &push_with_the_sdk(&theirs(&url, PATIENCE), &id("s200")).await));
}

#[tokio::test]
async fn an_error_says_what_the_gateway_said_and_the_alarm_finds_a_429() {
    let gateway = Gateway::start().await;
    let throttled = ours(&gateway.url(), PATIENCE).push(&id("s429"), &frame()).await;
    assert_eq!(throttled, Pushed::Failed("StatusCode(429), TestException: of it".to_owned()));
}

#[tokio::test]
async fn a_connection_is_asked_for_and_only_a_410_means_gone() {
    let gateway = Gateway::start().await;
    let client = ours(&gateway.url(), PATIENCE);
    assert_eq!(client.look_for(&id("s200")).await, Known::Here);
    assert_eq!(client.look_for(&id("s410")).await, Known::Gone);
    for name in ["s400", "s403", "s404", "s429", "s500", "dies"] {
        assert!(matches!(client.look_for(&id(name)).await, Known::Unclear(_)), "{name}");
    }
}

#[tokio::test]
async fn pushes_one_after_the_other_share_one_connection() {
    let gateway = Gateway::start().await;
    let client = ours(&gateway.url(), PATIENCE);
    assert_eq!(client.in_flight(), HANDSHAKES);
    for _ in 0..100 {
        assert_eq!(client.push(&id("s200"), &frame()).await, Pushed::Taken);
    }
    assert_eq!(gateway.counts(), (1, 100));
    assert_eq!(client.in_flight(), HANDSHAKES + 1);
}

#[tokio::test]
async fn at_most_64_connections_are_opened_at_once_and_128_used() {
    let gateway = Gateway::start().await;
    let client = ours(&gateway.url(), PATIENCE);
    let mut opened = 0;
    for (round, expected) in [64, 128, 128].into_iter().enumerate() {
        assert_eq!(client.in_flight(), expected, "round {round}");
        let (name, frame) = (id("s200"), frame());
        let pushes = (0..expected).map(|_| client.push(&name, &frame));
        assert!(futures::future::join_all(pushes).await.iter().all(|pushed| *pushed == Pushed::Taken));
        let now = gateway.counts().0;
        assert!(now - opened <= HANDSHAKES, "{} opened in round {round}", now - opened);
        opened = now;
    }
    assert!(opened <= IN_FLIGHT);
}

#[tokio::test]
async fn a_kept_connection_that_the_gateway_closed_is_replaced_without_a_word() {
    let gateway = Gateway::start().await;
    let client = ours(&gateway.url(), PATIENCE);
    for _ in 0..20 {
        assert_eq!(client.push(&id("last"), &frame()).await, Pushed::Taken);
    }
    assert_eq!(gateway.counts().0, 20);
}

#[tokio::test]
async fn a_request_that_died_with_its_kept_connection_is_sent_once_more() {
    let gateway = Gateway::start().await;
    let client = ours(&gateway.url(), PATIENCE);
    for _ in 0..20 {
        assert_eq!(client.push(&id("only-once"), &frame()).await, Pushed::Taken);
    }
    // The first, and then each twice: taken by a connection that dies of it, and again by a new one.
    assert_eq!(gateway.counts(), (20, 39));
}

#[tokio::test]
async fn a_request_that_died_with_a_new_connection_is_not_sent_again() {
    let gateway = Gateway::start().await;
    assert!(matches!(ours(&gateway.url(), PATIENCE).push(&id("dies"), &frame()).await, Pushed::Failed(_)));
    assert_eq!(gateway.counts(), (1, 1));
}

#[tokio::test]
async fn an_answer_that_came_too_late_is_nobody_elses() {
    let gateway = Gateway::start().await;
    let client = ours(&gateway.url(), Duration::from_millis(50));
    assert_eq!(client.push(&id("s200"), &frame()).await, Pushed::Taken);
    assert!(matches!(client.push(&id("silent"), &frame()).await, Pushed::Failed(_)));
    assert_eq!(client.push(&id("s410"), &frame()).await, Pushed::Gone);
    assert_eq!(gateway.counts(), (2, 3), "the connection that was given up is not used again");
}

#[tokio::test]
async fn without_credentials_a_push_fails_and_says_so() {
    let client = GatewayClient::new(&SdkConfig::builder().build(), "http://127.0.0.1:9/poc", Dial::default(), PATIENCE);
    let failed = client.push(&id("s200"), &frame()).await;
    assert_eq!(failed, Pushed::Failed("there are no credentials to sign with".to_owned()));
}

#[tokio::test]
async fn a_simulation_can_open_the_streams() {
    let gateway = Gateway::start().await;
    let address = gateway.address;
    let dial = Dial::Through(Arc::new(move || {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Stream>) })
    }));
    let client = GatewayClient::new(&sdk(), "http://nowhere.invalid/poc", dial, PATIENCE);
    assert_eq!(client.push(&id("s200"), &frame()).await, Pushed::Taken);
}
