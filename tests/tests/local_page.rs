//! The pages as a browser would load them, and what the inspect page may be told. Without a browser: tests/browser has one.
//!
//! Local only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a panic is how a test fails

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use events::time;
use local::{Options, Runtime};
use projections::connections;
use serde_json::{Value, json};
use tests::Client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }
}

/// A request as this machine's browser sends it, but for what `headers` say.
async fn get(runtime: &Runtime, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(runtime, "GET", path, headers).await
}

async fn ask(runtime: &Runtime, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let address = runtime.address();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    let host = ("host", address.to_string());
    let named = headers.iter().any(|(name, _)| *name == "host");
    let all = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).chain((!named).then_some(host));
    all.for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
    socket.write_all((request + "\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

/// The files that a page names: `src="…"`, `href="…"`, `from "./…"`.
fn named(text: &str) -> impl Iterator<Item = String> + '_ {
    let starts = ["src=\"", "href=\"", "from \"./"];
    let found = starts.into_iter().flat_map(|start| text.split(start).skip(1));
    found.filter_map(|rest| rest.split('"').next()).filter(|name| !name.starts_with('#')).map(str::to_owned)
}

#[tokio::test]
async fn the_pages_and_all_they_name_are_served_with_a_policy_that_lets_them_do_nothing_else() {
    let runtime = Runtime::start(Options::default()).await.unwrap();
    let mut waiting = vec!["/".to_owned()];
    let mut served = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if !served.insert(path.clone()) {
            continue;
        }
        let answer = get(&runtime, &path, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = &answer.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-store");
        let content_type = match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(answer.headers["content-type"], content_type, "{path}");
        let body = answer.body.replace("http://www.w3.org/2000/svg", "a name, never loaded");
        for inline in ["<style", "onclick=", "onload=", "style=\"", "http://", "https://"] {
            assert!(!body.contains(inline), "{inline} in {path}");
        }
        waiting.extend(named(&answer.body).map(|name| format!("/{}", name.trim_start_matches("./"))));
    }
    for path in ["/inspect", "/client.js", "/window.js", "/dom.js", "/style.css", "/inspect.css"] {
        assert!(served.contains(path), "{path}");
    }
    assert_eq!(get(&runtime, "/nothing", &[]).await.status, 403, "as the gateway answers for a stage there is none of");
    runtime.stop().await;
}

#[tokio::test]
async fn the_page_learns_where_the_chat_is_and_whether_it_may_inspect() {
    let runtime = Runtime::start(Options::default()).await.unwrap();
    assert_eq!(get(&runtime, "/config.json", &[]).await.json(), json!({"url": "/local", "inspect": true}));
    let elsewhere = get(&runtime, "/config.json", &[("host", "chat.example")]).await;
    assert_eq!(elsewhere.json(), json!({"url": "/local", "inspect": false}));
    runtime.stop().await;
}

#[tokio::test]
async fn the_view_of_any_moment_is_the_fold_of_the_log_up_to_it() {
    let runtime = Runtime::start(Options::default()).await.unwrap();
    let (ada, bob) = (Client::welcomed(&runtime.url()).await, Client::welcomed(&runtime.url()).await);
    get(&runtime, "/inspect/log", &[]).await.json(); // what comes later is read as it comes
    bob.close(None).await;
    let eve = Client::welcomed(&runtime.url()).await;
    runtime.idle().await;

    let now = time::now();
    let mut reader = runtime.log().read_log(now - TimeDelta::hours(1), now + TimeDelta::hours(1));
    let mut events = Vec::new();
    while let Some(stored) = reader.next().await.unwrap() {
        events.push(stored.unwrap());
    }
    let shown = get(&runtime, "/inspect/log", &[]).await.json();
    let places: Vec<&str> = shown["events"].as_array().unwrap().iter().map(|e| e["place"].as_str().unwrap()).collect();
    assert_eq!(places.len(), events.len());
    for (index, place) in places.iter().enumerate() {
        let view = get(&runtime, &format!("/inspect/view?up_to={}", place.replace('#', "%23")), &[]).await.json();
        let live = |row: &&Value| row["live"] == true;
        let here: BTreeSet<&str> = view["rows"]
            .as_array()
            .unwrap()
            .iter()
            .filter(live)
            .map(|row| row["connection"].as_str().unwrap())
            .collect();
        let folded = connections::fold(&events[..=index]);
        let live: Vec<_> = folded.values().filter(|row| row.is_live()).map(|row| row.connection.as_str()).collect();
        assert_eq!(here, live.into_iter().collect(), "after {} events", index + 1);
    }
    let view = get(&runtime, "/inspect/view", &[]).await.json();
    assert_eq!((&view["live"], &view["ended"], &view["same_as_log"]), (&json!(2), &json!(1), &json!(true)));
    assert_eq!(get(&runtime, "/inspect/view?up_to=", &[]).await.json()["rows"], json!([]));
    drop((ada, eve));
    runtime.stop().await;
}

#[tokio::test]
async fn the_feed_tells_a_message_on_its_way_in_order() {
    let runtime = Runtime::start(Options::default()).await.unwrap();
    let mut ada = Client::welcomed(&runtime.url()).await;
    let before = get(&runtime, "/inspect/log", &[]).await.json()["next"].as_u64().unwrap();
    let accepted = ada.ask(json!({"action": "chat", "connection": ada.id, "message": "Yo!"})).await;
    ada.expect_id("chat", &accepted["id"]).await;
    runtime.idle().await;
    let told = get(&runtime, &format!("/inspect/feed?after={before}"), &[]).await.json();
    let about = |told: &&Value| told.to_string().contains(accepted["id"].as_str().unwrap());
    let kinds: Vec<&str> =
        told["observed"].as_array().unwrap().iter().filter(about).map(|told| told["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["append", "notice", "push", "append"]);
    let beyond = get(&runtime, "/inspect/feed?after=1000000", &[]).await.json();
    assert_eq!(beyond["missed"], true, "a number of an earlier process");
    runtime.stop().await;
}

#[tokio::test]
async fn a_feed_with_nothing_to_tell_does_not_hold_up_the_end() {
    let runtime = Runtime::start(Options::default()).await.unwrap();
    let next = get(&runtime, "/inspect/log", &[]).await.json()["next"].as_u64().unwrap();
    let mut socket = TcpStream::connect(runtime.address()).await.unwrap();
    let host = runtime.address();
    let request = format!("GET /inspect/feed?after={next} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    runtime.stop().await;
    let mut answer = Vec::new();
    // Ends at once: with an answer, or cut off.
    let _ = tokio::time::timeout(tests::PATIENCE, socket.read_to_end(&mut answer)).await.expect("it went on");
}

#[tokio::test]
async fn other_sites_and_other_names_of_this_machine_are_told_nothing() {
    let runtime = Runtime::start(Options::default()).await.unwrap();
    let port = runtime.address().port();
    let own = format!("http://127.0.0.1:{port}");
    for path in ["/inspect/log", "/inspect/view", "/inspect/feed?after=1000000", "/inspect/parked"] {
        let foreign = [
            ("host", "chat.example"),
            ("origin", "https://chat.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        for header in foreign {
            let answer = get(&runtime, path, &[header]).await;
            assert_eq!(answer.status, 403, "{path} {header:?}");
        }
        let answer = get(&runtime, path, &[("origin", &own), ("sec-fetch-site", "same-origin")]).await;
        assert_eq!((answer.status, answer.headers["cache-control"].as_str()), (200, "no-store"), "{path}");
        let localhost = format!("localhost:{port}");
        assert_eq!(get(&runtime, path, &[("host", &localhost)]).await.status, 200, "{path}");
    }
    runtime.stop().await;
}

#[tokio::test]
async fn what_is_inspected_can_only_be_read() {
    let runtime = Runtime::start(Options::default()).await.unwrap();
    for path in ["/inspect/log", "/inspect/view", "/inspect/feed?after=1000000", "/inspect/parked"] {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let answer = ask(&runtime, method, path, &[("content-length", "0")]).await;
            assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "GET,HEAD"), "{method} {path}");
        }
    }
    runtime.stop().await;
}
