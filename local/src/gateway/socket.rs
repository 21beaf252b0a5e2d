//! The life of one open socket: frames in, frames out, timers, and the close.
//!
//! The upgrade runs [`serve`] in the one task a connection has. Everything that can end a connection is a branch of
//! `converse`; an idle connection costs this task, a 4 KiB read buffer and an entry in the registry.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use futures::{StreamExt, stream::SplitStream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Gateway,
    connection::{CONCURRENT_FRAMES, Connection},
    end::End,
    farewell::Farewell,
    outbox::Outbox,
};

/// How long a client may take to answer a close frame. It may be dead or may not read, and `$disconnect` waits for it;
/// a live one answers within a round trip.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

type Incoming = Option<Result<Message, axum::Error>>;

/// Runs the connection from its 101 to the invocation of `$disconnect`.
pub(super) async fn serve(mut farewell: Farewell, queue: mpsc::Receiver<Utf8Bytes>, websocket: WebSocket) {
    farewell.established();
    let mut socket = Socket::new(&farewell, queue, websocket);
    let end = socket.converse().await;
    farewell.unreachable();
    socket.close(&end).await;
    let unread = end.ours && socket.is_deaf;
    farewell.say(end);
    if unread {
        // Bytes we shall never read may still be arriving. Closing now would answer them with a reset, and some systems
        // then throw away what their side has not read yet: our close frame.
        tokio::time::sleep(CLOSE_PATIENCE).await;
    }
}

struct Socket {
    gateway: Arc<Gateway>,
    connection: Arc<Connection>,
    inbox: SplitStream<WebSocket>,
    outbox: Outbox,
    closing: watch::Receiver<bool>,
    idle_at: Instant,
    expires_at: Instant,
    /// When a frame was last taken from the queue, or written.
    written_at: Instant,
    /// Reading failed, and cannot be taken up again.
    is_deaf: bool,
}

impl Socket {
    fn new(farewell: &Farewell, queue: mpsc::Receiver<Utf8Bytes>, websocket: WebSocket) -> Self {
        let (sink, inbox) = websocket.split();
        let gateway = Arc::clone(&farewell.gateway);
        let now = Instant::now();
        let connection = Arc::clone(&farewell.connection);
        Socket {
            outbox: Outbox::new(sink, queue, Arc::clone(&connection)),
            connection,
            inbox,
            closing: gateway.closing.subscribe(),
            idle_at: now + gateway.timing.idle_limit,
            expires_at: now + gateway.timing.connection_limit,
            written_at: now,
            is_deaf: false,
            gateway,
        }
    }

    /// Serves the connection until something ends it.
    async fn converse(&mut self) -> End {
        loop {
            // In a fixed order, so that a simulation goes the same way again. Writing comes before reading: what a client
            // is owed is in a bounded queue, while it may send without end.
            tokio::select! {
                biased;
                () = is_closing(&mut self.closing) => {
                    self.finish_invocations().await;
                    return End::going_away();
                }
                () = self.connection.hang_up.notified() => return End::deleted(),
                () = sleep_until(self.idle_at.min(self.expires_at)) => return End::going_away(),
                written = self.outbox.step() => match written {
                    Ok(()) => {
                        self.not_idle();
                        self.written_at = Instant::now();
                    }
                    Err(_) => return End::lost(),
                },
                // Pushes to it are refused and tried again and again: it is better gone, so that they end.
                () = sleep_until(self.written_at + self.gateway.timing.unread_limit), if self.outbox.is_waiting_for_client() => {
                    return End::lost();
                }
                (turn, incoming) = next_in_turn(&self.connection.turns, &mut self.inbox) => {
                    if let Some(end) = self.receive(turn, incoming) {
                        return end;
                    }
                }
            }
        }
    }

    fn receive(&mut self, turn: Option<OwnedSemaphorePermit>, incoming: Incoming) -> Option<End> {
        match incoming {
            Some(Ok(Message::Text(frame))) => {
                self.not_idle();
                if let Some(turn) = turn {
                    self.gateway.receive(&self.connection, &frame, turn);
                }
                None
            }
            // Answered by the WebSocket layer, and no sign of life to API Gateway.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => None,
            Some(Ok(Message::Binary(_))) => Some(End::binary_frame()),
            Some(Ok(Message::Close(frame))) => Some(End::client_closed(frame)),
            Some(Err(error)) => {
                self.is_deaf = true;
                Some(End::unreadable(error))
            }
            None => Some(End::lost()),
        }
    }

    /// Goes on writing until every frame taken in has its reply queued.
    async fn finish_invocations(&mut self) {
        let turns = Arc::clone(&self.connection.turns);
        let all_replied = async {
            let mut all_turns = std::pin::pin!(turns.acquire_many(CONCURRENT_FRAMES));
            loop {
                tokio::select! {
                    biased;
                    _ = &mut all_turns => return,
                    written = self.outbox.step() => if written.is_err() { return },
                }
            }
        };
        // By then every invocation has been answered for; what is left is a client that does not read.
        let _ = timeout(self.gateway.timing.integration_timeout, all_replied).await;
    }

    /// Says the last words and waits, not for long, until the client has had them.
    async fn close(&mut self, end: &End) {
        let last_words = async {
            if end.ours && self.outbox.close(end).await.is_err() {
                return;
            }
            // Until the client has closed too. After its own close frame, this is what writes our answer.
            while let Some(Ok(_)) = self.inbox.next().await {}
        };
        let _ = timeout(CLOSE_PATIENCE, last_words).await;
    }

    fn not_idle(&mut self) {
        self.idle_at = Instant::now() + self.gateway.timing.idle_limit;
    }
}

/// The next frame, read only when there is a turn for it.
async fn next_in_turn(
    turns: &Arc<Semaphore>,
    inbox: &mut SplitStream<WebSocket>,
) -> (Option<OwnedSemaphorePermit>, Incoming) {
    let turn = Arc::clone(turns).acquire_owned().await.ok();
    (turn, inbox.next().await)
}

async fn is_closing(closing: &mut watch::Receiver<bool>) {
    // An error means that the gateway is no more, which is the same to us.
    let _ = closing.wait_for(|closing| *closing).await;
}
