//! Identifiers in the shape AWS gives them: 11 bytes as padded URL-safe base64, 15 characters and a `=`.
//!
//! Connection ids, request ids and message ids share the shape. A connection id is also a capability (whoever knows it can
//! be chatted to), so its bytes are the operating system's randomness.

use base64::{Engine, engine::general_purpose::URL_SAFE};

use crate::randomness::random;

/// A new id, never given before.
pub(super) fn fresh() -> String {
    URL_SAFE.encode(random::<11>())
}

/// Whether `id` could be one of ours. What could not is a bad request to AWS; what could, and is not there, is gone.
pub(super) fn is_well_formed(id: &str) -> bool {
    let is_symbol = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    matches!(id.as_bytes(), [symbols @ .., b'='] if symbols.len() == 15 && symbols.iter().copied().all(is_symbol))
}

/// A new `X-Amzn-Trace-Id`.
pub(super) fn trace(millis: i64) -> String {
    let unique: String = random::<12>().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("Root=1-{:08x}-{unique}", millis / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_id_is_well_formed_and_fresh() {
        let (one, other) = (fresh(), fresh());
        assert!(is_well_formed(&one), "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn other_shapes_are_refused() {
        for id in ["", "not-an-id", "JC1dgf9yoAMCK-g", "JC1dgf9yoAMCK-g%3D", "JC1dgf9yoAMCK/g=", "JC1dgf9yoAMCK-gg="] {
            assert!(!is_well_formed(id), "{id}");
        }
    }
}
