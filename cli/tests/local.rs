//! `webchat local` as a person starts it: what it prints, what it refuses, how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails
#![cfg(unix)] // signals

use std::{net::TcpListener, path::Path, process::Stdio};

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

fn webchat(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webchat"));
    command
        .arg("local")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A running `webchat local`, and what it printed when it was ready.
async fn started(args: &[&str]) -> (Child, String, Vec<String>) {
    let mut child = webchat(args).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().expect("it printed nothing");
    let url = first.strip_prefix("listening on ").expect(&first).to_owned();
    let mut rest = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push(line);
        if rest.last().is_some_and(|line| line.contains("Ctrl-C")) {
            break;
        }
    }
    (child, url, rest)
}

/// It ended with exit code 1 and one line that says why.
async fn refused(args: &[&str]) -> String {
    let output = webchat(args).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(output.stdout.is_empty());
    stderr
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
}

#[tokio::test]
async fn it_says_where_it_listens_where_the_data_is_and_what_to_type() {
    let folder = tempfile::tempdir().unwrap();
    let (_child, url, rest) = started(&["--port", "0", "--data", folder.path().to_str().unwrap()]).await;
    assert!(url.starts_with("ws://127.0.0.1:") && url.ends_with("/local"), "{url}");
    let rest = rest.join("\n");
    assert!(rest.contains(folder.path().to_str().unwrap()), "{rest}");
    let page = url.replace("ws://", "http://").replace("/local", "/");
    assert!(rest.lines().any(|line| line.ends_with(&format!(" {page}"))), "{rest}");
    assert!(rest.contains(&format!("npx wscat -c {url}")) && rest.contains(r#"{"action":"broadcast""#), "{rest}");
}

#[tokio::test]
async fn without_a_folder_named_the_data_is_in_the_users_data_folder() {
    let home = tempfile::tempdir().unwrap();
    let mut command = webchat(&["--port", "0"]);
    command.env("HOME", home.path()).env_remove("XDG_DATA_HOME");
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let data = loop {
        let line = lines.next_line().await.unwrap().expect("it never said where the data is");
        if line.starts_with("data") {
            break line;
        }
    };
    let folder = Path::new(data.strip_prefix("data").unwrap().trim());
    assert!(folder.starts_with(home.path()) && folder.join("tables.sqlite").exists(), "{data}");
}

#[tokio::test]
async fn ctrl_c_says_goodbye_to_clients_and_ends_well() {
    for name in ["-INT", "-TERM"] {
        let (mut child, url, _) = started(&["--port", "0", "--memory"]).await;
        let (mut socket, _) = connect_async(&url).await.unwrap();
        let welcome = socket.next().await.unwrap().unwrap();
        let welcome: Value = serde_json::from_str(welcome.to_text().unwrap()).unwrap();
        assert_eq!(welcome["type"], json!("welcome"));
        signal(&child, name);
        let last = socket.next().await.unwrap().unwrap();
        assert!(matches!(&last, Message::Close(Some(frame)) if u16::from(frame.code) == 1001), "{last:?}");
        drop(socket);
        assert!(child.wait().await.unwrap().success());
    }
}

#[tokio::test]
async fn open_to_every_address_it_lets_in_the_pages_it_was_told_of() {
    let (ours, theirs) = ("http://192.0.2.1:3000", "http://192.0.2.2:3000");
    let origins = format!("https://chat.example,{ours}");
    let (_child, url, _) =
        started(&["--port", "0", "--memory", "--bind", "0.0.0.0", "--allowed-origins", &origins]).await;
    let from = async |origin: &str| {
        let mut request = url.as_str().into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        connect_async(request).await.map(|(_, answer)| answer.status().as_u16()).map_err(|error| error.to_string())
    };
    assert_eq!(from(ours).await, Ok(101));
    let refused = from(theirs).await.unwrap_err();
    assert!(refused.contains("403"), "{refused}");
    for no_origin in ["http://192.0.2.1:3000/", "192.0.2.1:3000", "http://Chat.example", "null"] {
        let output = webchat(&["--memory", "--port", "0", "--allowed-origins", no_origin]).output().await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && stderr.contains("--allowed-origins") && stderr.contains(no_origin),
            "{stderr}"
        );
    }
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = refused(&["--memory", "--port", &port]).await;
    assert!(line.contains(&port) && line.contains("--port 0"), "{line}");
}

#[tokio::test]
async fn a_folder_in_use_is_one_clear_line_that_names_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let (child, _, _) = started(&["--port", "0", "--data", path]).await;
    let line = refused(&["--port", "0", "--data", path]).await;
    assert!(line.contains(path) && line.contains(&child.id().unwrap().to_string()), "{line}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let inside = file.join("data");
    let line = refused(&["--port", "0", "--data", inside.to_str().unwrap()]).await;
    assert!(line.contains(inside.to_str().unwrap()) && line.contains("cannot be written"), "{line}");
}

#[tokio::test]
async fn a_file_from_a_newer_version_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let store = rusqlite::Connection::open(folder.path().join("runtime.sqlite")).unwrap();
    store.execute_batch("PRAGMA user_version = 1000; CREATE TABLE t (v)").unwrap();
    drop(store);
    let line = refused(&["--port", "0", "--data", folder.path().to_str().unwrap()]).await;
    assert!(line.contains("newer version"), "{line}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_one_clear_line() {
    for name in ["runtime.sqlite", "tables.sqlite"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), "not a database, but long enough to be looked at".repeat(100))
            .unwrap();
        let line = refused(&["--port", "0", "--data", folder.path().to_str().unwrap()]).await;
        assert!(line.contains("tables"), "{line}");
    }
}

#[tokio::test]
async fn a_bootstrap_that_is_not_there_is_one_clear_line_that_says_how_to_make_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("bootstrap");
    let missing = missing.to_str().unwrap();
    let line = refused(&["--memory", "--port", "0", "--functions", "processes", "--bootstrap", missing]).await;
    assert!(line.contains(missing) && line.contains("cargo build -p handlers"), "{line}");
}

#[tokio::test]
async fn a_log_filter_that_is_none_is_one_clear_line() {
    let line = refused(&["--memory", "--port", "0", "--log", "handlers=loud"]).await;
    assert!(line.contains("--log handlers=loud"), "{line}");
}

#[tokio::test]
async fn listening_beyond_loopback_warns_of_what_that_exposes() {
    let mut child = webchat(&["--memory", "--port", "0", "--bind", "0.0.0.0"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let warning = lines.next_line().await.unwrap().unwrap();
    assert!(warning.contains("warning") && warning.contains("0.0.0.0"), "{warning}");
}

#[tokio::test]
async fn another_sites_page_cannot_connect() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let (_child, url, _) = started(&["--port", "0", "--memory"]).await;
    let connect = |origin: &str| {
        let mut request = url.as_str().into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        connect_async(request)
    };
    let error = connect("https://evil.example").await.err().unwrap().to_string();
    assert!(error.contains("403"), "{error}");
    let own = url.replace("ws://", "http://").replace("/local", "");
    assert!(connect(&own).await.is_ok());
    assert!(connect(&own.replace("127.0.0.1", "localhost")).await.is_ok());
}

#[tokio::test]
async fn the_aws_facing_side_refuses_what_a_page_could_send() {
    let folder = tempfile::tempdir().unwrap();
    let (_child, _, _) = started(&["--port", "0", "--data", folder.path().to_str().unwrap()]).await;
    let holder: Value = serde_json::from_slice(&std::fs::read(folder.path().join("lock")).unwrap()).unwrap();
    let aws = holder["aws"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let list = "x-amz-target: DynamoDB_20120810.ListTables\r\n";
    let signed = "authorization: AWS4-HMAC-SHA256 anything\r\n";
    let origin = "origin: http://127.0.0.1:3000\r\n";
    assert_eq!(status(&aws, &format!("{list}{signed}")).await, "200");
    assert_eq!(status(&aws, list).await, "403");
    assert_eq!(status(&aws, &format!("{list}{signed}{origin}")).await, "403");
    assert_eq!(status(&aws, &format!("{list}{signed}sec-fetch-site: same-origin\r\n")).await, "403");
    let (_, port) = aws.rsplit_once(':').unwrap();
    for name in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0"] {
        let rebound = status_at(&aws, &format!("{name}:{port}"), &format!("{list}{signed}")).await;
        assert_eq!(rebound, "403", "a page whose name {name} points here");
    }
    let asks = "access-control-request-method: POST\r\naccess-control-request-headers: authorization,x-amz-target\r\n";
    let preflight =
        exchange(&format!("OPTIONS / HTTP/1.1\r\nhost: {aws}\r\nconnection: close\r\n{signed}{asks}\r\n"), &aws).await;
    assert!(!preflight.to_lowercase().contains("access-control-allow"), "{preflight}");
    let twice = status(&aws, &format!("host: evil.example\r\n{list}{signed}")).await;
    assert!(["400", "403"].contains(&twice.as_str()), "two hosts: {twice}");
}

async fn status(address: &str, headers: &str) -> String {
    status_at(address, address, headers).await
}

async fn status_at(address: &str, host: &str, headers: &str) -> String {
    let request =
        format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\nconnection: close\r\n{headers}\r\n{{}}");
    exchange(&request, address).await.split(' ').nth(1).unwrap().to_owned()
}

async fn exchange(request: &str, address: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn with_a_plan_it_says_that_chaos_is_on_and_at_the_end_what_struck() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.json");
    std::fs::write(&plan, r#"{"seed": 7, "duplicate_event": 1}"#).unwrap();
    let mut command = webchat(&["--port", "0", "--memory", "--chaos", plan.to_str().unwrap()]);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("chaos is on, seed 7"));
    let listening = lines.next_line().await.unwrap().unwrap();
    let url = listening.strip_prefix("listening on ").unwrap().to_owned();
    let (mut socket, _) = connect_async(&url).await.unwrap();
    // Every event comes twice, and so does the welcome.
    for _ in 0..2 {
        let welcome: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
        assert_eq!(welcome["type"], "welcome");
    }
    drop(socket);
    signal(&child, "-TERM");
    let mut rest = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push(line);
    }
    assert!(rest.iter().any(|line| line.ends_with("mishaps")), "{rest:?}");
    assert!(rest.iter().any(|line| line.ends_with(" duplicate_event post")), "{rest:?}");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_plan_that_cannot_be_read_is_refused_in_one_line_that_names_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.json");
    for (text, named) in [(r#"{"refuze": 0.1}"#, "refuze"), (r#"{"late_event": 7}"#, "late_event"), ("{", "EOF")] {
        std::fs::write(&plan, text).unwrap();
        let stderr = refused(&["--memory", "--port", "0", "--chaos", plan.to_str().unwrap()]).await;
        assert!(stderr.contains(named) && stderr.contains("plan.json"), "{stderr}");
    }
    let stderr = refused(&["--memory", "--chaos", "no-such-plan.json"]).await;
    assert!(stderr.contains("no-such-plan.json"), "{stderr}");
}
