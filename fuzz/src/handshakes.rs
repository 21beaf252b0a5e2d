//! Handshakes: what a client sends to get in, from the first byte on.
//!
//! Input: an HTTP request, byte for byte.

use std::cell::RefCell;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{self, Next, ORIGIN, PEER, Stage, World};

/// Events after which the tables are made anew.
const APPENDED: usize = 5000;
/// As many as hyper takes.
const MAX_HEADERS: usize = 100;

/// How an answer begins that lets a client in.
const LET_IN: &[u8] = b"HTTP/1.1 101 ";

const STATUSES: [u16; 9] = [101, 400, 403, 404, 409, 414, 426, 431, 502];

struct Gate {
    world: World,
    appended: usize,
}

thread_local! {
    static STAGE: RefCell<Option<Stage<Gate>>> = const { RefCell::new(None) };
}

/// Sends the request and judges the answer.
pub fn run(input: &[u8]) {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let read = request.parse(input);
    world::play(&STAGE, Gate::start, async |gate| {
        let mut pipe = gate.world.public.enter();
        let complete = matches!(read, Ok(httparse::Status::Complete(_)));
        let _ = pipe.write_all(input).await;
        if !complete {
            // More could come. It does not: that must end the connection, and nothing else.
            let _ = pipe.shutdown().await;
            let _ = pipe.read_to_end(&mut Vec::new()).await;
            assert!(gate.world.wire.take().is_empty(), "half a request was acted on");
            return Next::Same;
        }
        let status = status(&mut pipe).await;
        if let Some(status) = status {
            assert!(STATUSES.contains(&status), "{status}");
        }
        // Requests behind one that was refused are answered for themselves.
        let mut behind = Vec::new();
        if status != Some(101) {
            let _ = pipe.shutdown().await;
            let _ = pipe.read_to_end(&mut behind).await;
        }
        let let_in_later = behind.windows(LET_IN.len()).filter(|answer| *answer == LET_IN).count();
        drop(pipe);
        gate.world.gateway.idle().await;
        // Who is in is seen leaving.
        while gate.world.gateway.connections() > 0 {
            tokio::task::yield_now().await;
        }
        gate.world.gateway.idle().await;
        let calls = gate.world.wire.take();
        let of = |kind: &str| calls.iter().filter(|call| call.body["Item"]["type"]["S"] == kind).collect::<Vec<_>>();
        let (opened, closed) = (of("ConnectionOpened"), of("ConnectionClosed"));
        if status == Some(101) {
            may_enter(&request);
            assert_eq!(opened.len(), 1, "in, and not recorded");
        } else {
            assert_eq!(opened.len(), let_in_later, "as many recorded as let in, and the first answered {status:?}");
        }
        for event in &opened {
            let data = &event.body["Item"]["data"]["M"];
            assert_eq!(data["source_ip"]["S"], PEER.ip().to_string(), "where a client comes from is not its to say");
        }
        assert_eq!(closed.len(), opened.len(), "as many closed as opened");
        gate.appended += opened.len() + closed.len();
        if gate.appended < APPENDED { Next::Same } else { Next::Fresh }
    });
}

impl Gate {
    async fn start() -> Gate {
        let world = World::start().await;
        world.wire.take();
        Gate { world, appended: 0 }
    }
}

/// The status of the answer; `None` if the connection ends without one.
async fn status(pipe: &mut (impl AsyncReadExt + Unpin)) -> Option<u16> {
    let mut head = [0; 12];
    pipe.read_exact(&mut head).await.ok()?;
    std::str::from_utf8(&head[9..]).ok()?.parse().ok()
}

/// Everything that must be true of a request that was answered with 101.
fn may_enter(request: &httparse::Request<'_, '_>) {
    assert_eq!(request.method, Some("GET"));
    let all = |name: &str| -> Vec<&[u8]> {
        let named = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    };
    assert!(all("origin").iter().all(|origin| *origin == ORIGIN.as_bytes()), "let in a page of {:?}", all("origin"));
    assert!(!all("sec-websocket-key").is_empty());
    assert!(all("sec-websocket-version").contains(&b"13".as_slice()));
    assert!(all("upgrade").iter().any(|upgrade| upgrade.eq_ignore_ascii_case(b"websocket")));
    let path = world::path(request.path.unwrap_or_default());
    let stage = path.strip_prefix('/').unwrap_or_default();
    assert_eq!(percent_encoding::percent_decode_str(stage).decode_utf8_lossy(), "local", "{path}");
}
