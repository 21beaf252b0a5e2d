//! Peers who mean harm, or whose network does: each a function that does one thing to a server, bounded in number.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{SinkExt, StreamExt, stream};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Bytes, Message,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::client::{Cheap, address};
use crate::PATIENCE;

/// Receive buffer of a client that does not read: small, so that the server notices soon.
const SMALL: u32 = 4096;

/// A client that was welcomed and then reads no more; and its connection id.
pub async fn deaf(url: &str) -> Result<(WebSocketStream<TcpStream>, String)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SMALL)?;
    let tcp = socket.connect(address(url)?.parse()?).await?;
    let (mut socket, _) = client_async(url, tcp).await?;
    let welcome = timeout(PATIENCE, socket.next()).await?.context("a welcome")??;
    let welcome: serde_json::Value = serde_json::from_str(welcome.to_text()?)?;
    Ok((socket, welcome["connection"].as_str().context("an id")?.to_owned()))
}

/// Connections that say nothing at all.
pub async fn silent(url: &str, count: usize) -> Result<Vec<TcpStream>> {
    saying(url, count, "").await
}

/// Connections that begin a handshake and do not end it.
pub async fn unfinished(url: &str, count: usize) -> Result<Vec<TcpStream>> {
    saying(url, count, "GET /local HTTP/1.1\r\nHost: localhost\r\nUpgrade: webs").await
}

/// Connections that are let in and never read or write again, as when the peer's machine is gone.
pub async fn half_open(url: &str, count: usize) -> Result<Vec<TcpStream>> {
    let handshake = "GET /local HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut connections = saying(url, count, handshake).await?;
    for connection in &mut connections {
        let mut status = [0; 12];
        timeout(PATIENCE, connection.read_exact(&mut status)).await??;
        ensure!(&status == b"HTTP/1.1 101", "{}", String::from_utf8_lossy(&status));
    }
    Ok(connections)
}

async fn saying(url: &str, count: usize, what: &str) -> Result<Vec<TcpStream>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = TcpStream::connect(address(url)?).await?;
        connection.write_all(what.as_bytes()).await?;
        connections.push(connection);
    }
    Ok(connections)
}

/// Waits until the server has ended every one of them.
pub async fn all_ended(connections: Vec<TcpStream>) -> Result<()> {
    for mut connection in connections {
        let mut rest = Vec::new();
        // An error is an end, too.
        let _ = timeout(PATIENCE, connection.read_to_end(&mut rest)).await.context("a connection was kept")?;
    }
    Ok(())
}

/// Connects and leaves, `count` times: with a close frame, without a word, and before the handshake is answered. How many were let in.
pub async fn churn(url: &str, count: usize, at_once: usize) -> Result<usize> {
    let come_and_go = |number: usize| async move {
        if number.is_multiple_of(3) {
            return drop_early(url).await.map(|()| false);
        }
        let mut socket = match Cheap::open(url).await {
            Ok(client) => client.into_socket(),
            // A server that has too much to do may say so.
            Err(error) if is_refusal(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        if number % 3 == 1 {
            socket.close(None).await?;
        }
        anyhow::Ok(true)
    };
    let came: Vec<Result<bool>> = stream::iter((0..count).map(come_and_go)).buffer_unordered(at_once).collect().await;
    let came = came.into_iter().collect::<Result<Vec<bool>>>()?;
    Ok(came.into_iter().filter(|let_in| *let_in).count())
}

fn is_refusal(error: &anyhow::Error) -> bool {
    use tokio_tungstenite::tungstenite::Error::Http;
    matches!(error.downcast_ref(), Some(Http(response)) if response.status().is_server_error())
}

async fn drop_early(url: &str) -> Result<()> {
    // Long enough for `$connect` to have begun at most of them.
    let _ = timeout(Duration::from_millis(2), Cheap::open(url)).await;
    Ok(())
}

/// One client sends the same frame again and again as fast as it can and reads what comes. How many replies it had.
pub async fn flood(url: &str, frame: &str, count: usize) -> Result<usize> {
    let (mut sending, mut receiving) = Cheap::open(url).await?.split();
    let text = Message::text(frame);
    let send = async {
        for _ in 0..count {
            sending.feed(text.clone()).await?;
        }
        anyhow::Ok(sending.flush().await?)
    };
    let receive = async {
        let mut replies = 0;
        while replies < count {
            let next = timeout(PATIENCE, receiving.next()).await.context("no reply came any more")??;
            replies += usize::from(["pong", "accepted", "connections", "error"].contains(&next.kind.as_str()));
        }
        anyhow::Ok(replies)
    };
    let ((), replies) = tokio::try_join!(send, receive)?;
    Ok(replies)
}

/// Sends `count` messages of 16 KiB to a connection, one after the other, until it is gone. How many were accepted.
pub async fn talk_to(url: &str, connection: &str, count: usize) -> Result<usize> {
    let (mut talker, _) = Cheap::welcomed(url).await?;
    let chat = json!({"action": "chat", "connection": connection, "message": "z".repeat(16 * 1024)}).to_string();
    for accepted in 0..count {
        talker.send(chat.clone()).await?;
        loop {
            match timeout(PATIENCE, talker.next()).await.context("no reply came")??.kind.as_str() {
                "accepted" => break,
                "error" => return Ok(accepted),
                _ => {}
            }
        }
    }
    Ok(count)
}

/// Everything that is too large, and what the server makes of it.
pub async fn oversized(url: &str) -> Result<Vec<(&'static str, String)>> {
    let megabyte = "x".repeat(1 << 20);
    let head = |line: &str, headers: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let many: String = (0..20_000).map(|number| format!("X-{number}: 1\r\n")).collect();
    let chat = json!({"action": "broadcast", "message": "y".repeat(17 * 1024)}).to_string();
    Ok(vec![
        ("a URL of 1 MB", status(url, &head(&format!("GET /local?{megabyte}"), "")).await?),
        ("a header of 1 MB", status(url, &head("GET /local", &format!("X-Large: {megabyte}\r\n"))).await?),
        ("20,000 headers", status(url, &head("GET /local", &many)).await?),
        ("a head without end", status(url, &format!("GET /local HTTP/1.1\r\n{megabyte}")).await?),
        (
            "a body of 1 MB",
            status(url, &format!("POST /local HTTP/1.1\r\nHost: l\r\nContent-Length: 1048576\r\n\r\n{megabyte}"))
                .await?,
        ),
        ("a frame of 40 KB", close_code(url, vec![frame(40 * 1024, true, true)]).await?),
        (
            "a message of 160 KB in frames of 20 KB",
            close_code(url, (0..8).map(|number| frame(20 * 1024, number == 0, number == 7)).collect()).await?,
        ),
        (
            "a frame that claims to be of 2^62 bytes",
            raw(url, &[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).await?,
        ),
        ("a message of 17 KiB", reply(url, chat).await?),
    ])
}

fn frame(bytes: usize, first: bool, last: bool) -> Message {
    let opcode = OpCode::Data(if first { Data::Text } else { Data::Continue });
    Message::Frame(Frame::message(Bytes::from(vec![b'x'; bytes]), opcode, last))
}

/// The status of the answer; `none` if the connection ended without one, as the server need not read what it has refused.
async fn status(url: &str, request: &str) -> Result<String> {
    let mut connection = TcpStream::connect(address(url)?).await?;
    let (mut reading, mut writing) = connection.split();
    let asking = async { drop(writing.write_all(request.as_bytes()).await) };
    let mut answer = Vec::new();
    let hearing = async {
        let mut some = [0; 64];
        while !answer.contains(&b'\n') {
            match reading.read(&mut some).await {
                Ok(0) | Err(_) => return,
                Ok(count) => answer.extend_from_slice(&some[..count]),
            }
        }
    };
    timeout(PATIENCE, async {
        tokio::select! {
            ((), ()) = async { tokio::join!(asking, std::future::pending::<()>()) } => {}
            () = hearing => {}
        }
    })
    .await
    .context("no answer came")?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.split(' ').nth(1).unwrap_or("none").to_owned())
}

async fn close_code(url: &str, frames: Vec<Message>) -> Result<String> {
    let mut client = Cheap::open(url).await?.into_socket();
    for frame in frames {
        // The server may have ended it before the last one.
        if client.send(frame).await.is_err() {
            break;
        }
    }
    ending(client).await
}

async fn raw(url: &str, bytes: &[u8]) -> Result<String> {
    let mut client = Cheap::open(url).await?.into_socket();
    client.get_mut().write_all(bytes).await?;
    ending(client).await
}

async fn ending(mut client: WebSocketStream<TcpStream>) -> Result<String> {
    let waiting = async {
        loop {
            match client.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code).to_string(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return "none".to_owned(),
            }
        }
    };
    timeout(PATIENCE, waiting).await.context("the connection was kept")
}

async fn reply(url: &str, text: String) -> Result<String> {
    let mut client = Cheap::open(url).await?;
    client.send(text).await?;
    client.expect("error").await?;
    Ok("error".to_owned())
}
