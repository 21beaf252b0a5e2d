//! How a connection ended: what the client is told, and what `$disconnect` is told.
//!
//! The socket decides on an [`End`]; codes and reasons are AWS's where they are known. Those for binary, oversized and
//! malformed frames are known by code only, so they carry no reason.

use std::borrow::Cow;

use axum::extract::ws::{CloseFrame, close_code};
use tokio_tungstenite::tungstenite::{self, error::ProtocolError};

#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) code: u16,
    pub(super) reason: Cow<'static, str>,
    /// Whether the gateway ended it, and so owes the client a close frame.
    pub(super) ours: bool,
}

impl End {
    /// The idle limit, the longest a connection may live, or a gateway that stops.
    pub(super) fn going_away() -> Self {
        End::by_us(close_code::AWAY, "Going away")
    }

    /// `DELETE @connections`.
    pub(super) fn deleted() -> Self {
        End::by_us(close_code::NORMAL, "Connection Closed Normally")
    }

    pub(super) fn binary_frame() -> Self {
        End::by_us(close_code::UNSUPPORTED, "")
    }

    /// The peer went without a word.
    pub(super) fn lost() -> Self {
        End::by_client(close_code::ABNORMAL, "".into())
    }

    /// The client's own close frame.
    pub(super) fn client_closed(frame: Option<CloseFrame>) -> Self {
        match frame {
            Some(CloseFrame { code, reason }) => End::by_client(code, reason.as_str().to_owned().into()),
            None => End::by_client(close_code::STATUS, "Client-side close frame status not set".into()),
        }
    }

    /// What could not be read: too large, not UTF-8, no WebSocket frame, or no more connection to read from.
    pub(super) fn unreadable(error: axum::Error) -> Self {
        use tungstenite::Error::{Capacity, Protocol, Utf8};
        match error.into_inner().downcast_ref() {
            Some(Capacity(_)) => End::by_us(close_code::SIZE, ""),
            Some(Utf8(_)) => End::by_us(close_code::INVALID, ""),
            Some(Protocol(ProtocolError::ResetWithoutClosingHandshake)) => End::lost(),
            Some(Protocol(_)) => End::by_us(close_code::PROTOCOL, ""),
            _ => End::lost(),
        }
    }

    pub(super) fn close_frame(&self) -> CloseFrame {
        CloseFrame { code: self.code, reason: self.reason.as_ref().into() }
    }

    fn by_us(code: u16, reason: &'static str) -> Self {
        let reason = reason.into();
        End { code, reason, ours: true }
    }

    fn by_client(code: u16, reason: Cow<'static, str>) -> Self {
        End { code, reason, ours: false }
    }
}
