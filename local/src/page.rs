//! The page: the files of `web/`, embedded, and its `config.json`.
//!
//! Served to whoever may connect. Nothing of it is secret and nothing of it is made from what clients say; the policy
//! below lets the page run its own scripts, talk to its own origin and nothing else.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::inspect::is_this_machine;

/// Path, content type, content.
const FILES: [(&str, &str, &str); 10] = [
    ("/", "text/html; charset=utf-8", include_str!("../../web/index.html")),
    ("/inspect", "text/html; charset=utf-8", include_str!("../../web/inspect.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("../../web/style.css")),
    ("/inspect.css", "text/css; charset=utf-8", include_str!("../../web/inspect.css")),
    ("/client.js", "text/javascript; charset=utf-8", include_str!("../../web/client.js")),
    ("/chat.js", "text/javascript; charset=utf-8", include_str!("../../web/chat.js")),
    ("/dom.js", "text/javascript; charset=utf-8", include_str!("../../web/dom.js")),
    ("/window.js", "text/javascript; charset=utf-8", include_str!("../../web/window.js")),
    ("/inspect.js", "text/javascript; charset=utf-8", include_str!("../../web/inspect.js")),
    ("/favicon.svg", "image/svg+xml", include_str!("../../web/favicon.svg")),
];

/// What the page may do: no inline script or style, no other origin, no text turned into markup, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The page's routes. `socket` is the path of the WebSocket.
pub(crate) fn router(socket: String) -> Router {
    let files = FILES.into_iter().fold(Router::new(), |router, (path, content_type, content)| {
        router.route(path, get(move || async move { file(content_type, content) }))
    });
    files.route(
        "/config.json",
        get(move |ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap| async move {
            // The path alone: the page resolves it against the address it was loaded from.
            let config = json!({"url": socket, "inspect": is_this_machine(peer, &headers)});
            file("application/json", config.to_string())
        }),
    )
}

fn file(content_type: &'static str, content: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The next start may be another version.
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, content).into_response()
}
