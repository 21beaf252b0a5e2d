//! The Runtime API as a process meets it, over HTTP. `Point n` names a point of docs/FIDELITY.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::time::Duration;

use events::time;
use local::runtime_api::{Answer, Environment, Invocation, RuntimeApi};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

const PATIENCE: Duration = Duration::from_secs(60);

async fn within<T>(awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, awaited).await.expect("it never came")
}

fn invocation(request_id: &str) -> Invocation {
    let payload = json!({"n": 1}).to_string();
    Invocation { request_id: request_id.into(), function: "f".into(), payload, timeout: Duration::from_secs(10) }
}

/// What a process does, by hand.
#[derive(Clone)]
struct Process(String);

impl Process {
    fn of(environment: &Environment) -> Process {
        Process(environment.address().strip_prefix("http://").unwrap().to_owned())
    }

    /// One request below `/2018-06-01/runtime`: status, head and body.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let (address, base) = self.0.split_once('/').unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} /{base}/2018-06-01/runtime/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        // The server may refuse a body that is too large before it has read it.
        let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await;
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
    }

    async fn next(&self) -> (u16, String, String) {
        self.ask("GET", "invocation/next", "").await
    }

    /// Status and `errorType` of what is answered to this answer.
    async fn respond(&self, id: &str, body: &str) -> (u16, Value) {
        let (status, _, body) = self.ask("POST", &format!("invocation/{id}/response"), body).await;
        (status, serde_json::from_str::<Value>(&body).unwrap()["errorType"].clone())
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("{name}: {head}"))
}

/// Hands over an invocation from a task of its own.
fn invoke(mut environment: Environment, id: &'static str) -> JoinHandle<(Environment, Option<Answer>)> {
    tokio::spawn(async move {
        let answer = environment.invoke(invocation(id)).await;
        (environment, answer)
    })
}

/// Point 45.
#[tokio::test]
async fn an_invocation_comes_with_its_id_its_deadline_and_its_function() {
    let api = RuntimeApi::start().await.unwrap();
    let environment = api.environment();
    let process = Process::of(&environment);
    let before = time::now().timestamp_millis();
    let answered = invoke(environment, "r1");
    let (status, head, body) = process.next().await;
    assert_eq!((status, body.as_str()), (200, r#"{"n":1}"#));
    let deadline: i64 = header(&head, "lambda-runtime-deadline-ms").parse().unwrap();
    assert!((before + 10_000..=time::now().timestamp_millis() + 10_000).contains(&deadline), "{head}");
    assert_eq!(header(&head, "lambda-runtime-aws-request-id"), "r1");
    let arn = header(&head, "lambda-runtime-invoked-function-arn");
    assert!(arn.starts_with("arn:aws:lambda:") && arn.ends_with(":function:f"), "{arn}");
    assert_eq!(header(&head, "content-type"), "application/json");
    let trace = header(&head, "lambda-runtime-trace-id");
    assert_eq!(trace.len(), "Root=1-5e1b4151-5ac6c58f0b7d2f7e0b7d2f7e;Parent=53995c3f42cd8ad8;Sampled=0".len());
    assert_eq!(process.respond("r1", "\"done\"").await, (202, Value::Null));
    assert_eq!(answered.await.unwrap().1, Some(Ok("\"done\"".into())));
}

/// Point 44.
#[tokio::test]
async fn a_process_waits_for_its_next_invocation_as_long_as_it_takes() {
    let api = RuntimeApi::start().await.unwrap();
    let environment = api.environment();
    let process = Process::of(&environment);
    let waiting = tokio::spawn(async move { process.next().await });
    within(environment.ready()).await.unwrap();
    // There is no timer on this path; an answer without an invocation would be there now.
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let _answered = invoke(environment, "r1");
    assert_eq!(within(waiting).await.unwrap().0, 200);
}

/// Point 42: nobody waits for the answer any more, or for the process.
#[tokio::test]
async fn an_answer_that_comes_too_late_is_refused() {
    let api = RuntimeApi::start().await.unwrap();
    let mut environment = api.environment();
    let process = Process::of(&environment);
    let late = process.clone();
    let taken = tokio::spawn(async move { late.next().await });
    tokio::select! {
        _ = environment.invoke(invocation("r1")) => panic!("nobody has answered"),
        taken = taken => assert_eq!(taken.unwrap().0, 200),
    }
    assert_eq!(process.respond("r1", "\"late\"").await, (400, json!("InvalidRequestID")));
    assert_eq!(process.respond("r1", "\"again\"").await, (400, json!("InvalidRequestID")));
    drop(environment);
    assert_eq!(process.respond("r1", "\"from the grave\"").await.0, 410);
    assert_eq!(process.next().await.0, 410);
}

#[tokio::test]
async fn answers_are_taken_once_and_for_the_invocation_that_runs() {
    let api = RuntimeApi::start().await.unwrap();
    let environment = api.environment();
    let process = Process::of(&environment);
    let answered = invoke(environment, "r1");
    process.next().await;
    assert_eq!(process.respond("r2", "1").await, (400, json!("InvalidRequestID")));
    let (status, _, body) = process.next().await;
    assert_eq!((status, body.contains("InvalidStateTransition")), (403, true), "it has not answered yet");
    assert_eq!(process.respond("r1", "1").await.0, 202);
    assert_eq!(process.respond("r1", "2").await, (400, json!("InvalidRequestID")));
    assert_eq!(answered.await.unwrap().1, Some(Ok("1".into())));
}

/// Point 39.
#[tokio::test]
async fn an_error_a_function_reports_is_the_answer_of_its_invocation() {
    let api = RuntimeApi::start().await.unwrap();
    let environment = api.environment();
    let process = Process::of(&environment);
    let answered = invoke(environment, "r1");
    process.next().await;
    let error = json!({"errorType": "Broken", "errorMessage": "as asked"}).to_string();
    let (status, _, body) = process.ask("POST", "invocation/r1/error", &error).await;
    assert_eq!((status, body.as_str()), (202, r#"{"status":"OK"}"#));
    let (mut environment, answer) = answered.await.unwrap();
    assert_eq!(answer, Some(Err(error)));
    // And the process goes on.
    let again = tokio::spawn(async move { environment.invoke(invocation("r2")).await });
    assert_eq!(process.next().await.0, 200);
    assert_eq!(process.respond("r2", "2").await.0, 202);
    assert_eq!(again.await.unwrap(), Some(Ok("2".into())));
}

/// Point 43: a process may say why it cannot start.
#[tokio::test]
async fn a_process_that_cannot_start_fails_the_invocation_with_its_reason() {
    let api = RuntimeApi::start().await.unwrap();
    let environment = api.environment();
    let process = Process::of(&environment);
    let answered = invoke(environment, "r1");
    let reason = json!({"errorType": "Runtime.Unready", "errorMessage": "no table"}).to_string();
    assert_eq!(process.ask("POST", "init/error", &reason).await.0, 202);
    assert_eq!(within(answered).await.unwrap().1, Some(Err(reason)));
    assert_eq!(process.next().await.0, 410, "the environment went with the task");
}

#[tokio::test]
async fn a_response_over_6_mb_is_refused_and_fails_the_invocation() {
    let api = RuntimeApi::start().await.unwrap();
    let environment = api.environment();
    let process = Process::of(&environment);
    let answered = invoke(environment, "r1");
    process.next().await;
    let most = 6 * 1024 * 1024 + 100;
    assert_eq!(process.respond("r1", &"x".repeat(most + 1)).await, (413, json!("RequestEntityTooLarge")));
    let error: Value = serde_json::from_str(&answered.await.unwrap().1.unwrap().unwrap_err()).unwrap();
    assert_eq!(error["errorType"], "Function.ResponseSizeTooLarge");
}

#[tokio::test]
async fn an_address_nobody_was_given_leads_nowhere() {
    let api = RuntimeApi::start().await.unwrap();
    let environment = api.environment();
    let process = Process::of(&environment);
    let (address, _) = process.0.split_once('/').unwrap();
    assert_eq!(Process(format!("{address}/guessed")).next().await.0, 410);
}
