//! Who may look: this machine, and no page but our own.
//!
//! The peer's address alone is not enough. A browser here runs other sites' pages, and a site can point a name of its
//! own at 127.0.0.1; a proxy here speaks for others.

use std::net::SocketAddr;

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Middleware: lets through what [`is_this_machine`].
pub(super) async fn guard(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    if is_this_machine(peer, request.headers()) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "for programs and pages of this machine only\n").into_response()
}

/// Whether the request comes from this machine, by a name of this machine, and from no other origin's page.
pub(crate) fn is_this_machine(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let host = text(header::HOST).unwrap_or_default();
    let own_origin = |origin: &str| origin == format!("http://{host}");
    let forwarded = ["forwarded", "x-forwarded-for", "x-forwarded-host", "via"];
    peer.ip().to_canonical().is_loopback()
        && headers.get_all(header::HOST).iter().count() == 1
        && is_loopback_host(host)
        && text(header::ORIGIN).is_none_or(own_origin)
        && matches!(text(header::HeaderName::from_static("sec-fetch-site")), None | Some("same-origin" | "none"))
        && !forwarded.into_iter().any(|name| headers.contains_key(name))
}

/// Whether what the request names as its host, in its address or its headers, is a loopback name. A page whose own name
/// points here sends that name.
pub(crate) fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let in_headers = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("unreadable"));
    let mut names = in_headers.chain(uri.authority().map(Authority::as_str)).peekable();
    names.peek().is_some() && names.all(is_loopback_host)
}

fn is_loopback_host(host: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| match host.strip_prefix(name) {
        Some("") => true,
        Some(rest) => rest.strip_prefix(':').is_some_and(is_port),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails

    use super::*;

    fn allowed(peer: &str, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        is_this_machine(peer.parse().unwrap(), &headers)
    }

    #[test]
    fn a_loopback_peer_that_names_a_loopback_host_may_look() {
        for peer in ["127.0.0.1:5000", "127.8.8.8:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
            for host in ["127.0.0.1:3000", "localhost:3000", "[::1]:3000", "localhost", "127.0.0.1"] {
                assert!(allowed(peer, &[("host", host)]), "{peer} {host}");
            }
        }
    }

    #[test]
    fn nobody_else_may() {
        assert!(!allowed("192.0.2.1:5000", &[("host", "127.0.0.1:3000")]), "another machine");
        assert!(!allowed("127.0.0.1:5000", &[]), "no host");
        assert!(!allowed("127.0.0.1:5000", &[("host", "localhost"), ("host", "localhost")]), "two hosts");
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "localhost:", "localhost:x", "127.0.0.10"]
        {
            assert!(!allowed("127.0.0.1:5000", &[("host", host)]), "{host}");
        }
        assert!(!allowed("127.0.0.1:5000", &[("host", "localhost"), ("x-forwarded-for", "192.0.2.1")]), "a proxy");
    }

    #[test]
    fn pages_may_if_they_are_ours() {
        let by = |name, value| allowed("127.0.0.1:5000", &[("host", "localhost:3000"), (name, value)]);
        assert!(by("origin", "http://localhost:3000") && by("sec-fetch-site", "same-origin"));
        assert!(by("sec-fetch-site", "none"), "typed into the address bar");
        for origin in
            ["http://localhost:4000", "http://127.0.0.1:3000", "https://localhost:3000", "https://evil.example", "null"]
        {
            assert!(!by("origin", origin), "{origin}");
        }
        for site in ["cross-site", "same-site", "anything"] {
            assert!(!by("sec-fetch-site", site), "{site}");
        }
    }
}
