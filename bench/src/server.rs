//! An HTTP server on a free loopback port, on the one thread the harness has.

use std::{convert::Infallible, net::SocketAddr, rc::Rc};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full};
use hyper::{Request, Response, body::Incoming, http::request, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::spawn_local};

pub(crate) type Answer = Response<Full<Bytes>>;

/// Serves until the returned listener task is dropped with the runtime.
pub(crate) async fn serve<F>(answer: impl Fn(request::Parts, Bytes) -> F + 'static) -> Result<SocketAddr>
where
    F: Future<Output = Answer> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = Rc::new(answer);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let (head, body) = request.into_parts();
                    // A request that breaks off is the client's affair.
                    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
                    Ok::<_, Infallible>(answer(head, body).await)
                }
            });
            drop(stream.set_nodelay(true));
            spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

/// An answer with this status and JSON.
pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    answer.headers_mut().insert("content-type", hyper::http::HeaderValue::from_static("application/json"));
    answer
}
