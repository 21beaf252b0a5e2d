//! An HTTP server on a free loopback port, on the one thread the harness has.

use std::{convert::Infallible, net::SocketAddr, rc::Rc, sync::Arc};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full};
use hyper::{Request, Response, body::Incoming, http::request, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{net::TcpListener, task::spawn_local};
use tokio_rustls::TlsAcceptor;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Serves until the returned listener task is dropped with the runtime; over TLS if there is an acceptor.
pub(crate) async fn serve<F>(
    tls: Option<TlsAcceptor>,
    answer: impl Fn(request::Parts, Bytes) -> F + 'static,
) -> Result<SocketAddr>
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
            let tls = tls.clone();
            spawn_local(async move {
                let http = http1::Builder::new();
                // A connection that breaks off is the client's affair, too.
                match tls {
                    None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            drop(http.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                }
            });
        }
    });
    Ok(address)
}

/// TLS with a certificate of its own, for 127.0.0.1, and the certificate as PEM for who is to trust it.
pub(crate) fn tls() -> Result<(TlsAcceptor, String)> {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), own.cert.pem()))
}

/// An answer with this status and JSON.
pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    answer.headers_mut().insert("content-type", hyper::http::HeaderValue::from_static("application/json"));
    answer
}
