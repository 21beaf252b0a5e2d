//! The name of a stream: `<category>#<identity>`, the partition key of the event table.
//!
//! Each aggregate's file says what its streams are called; a name nobody here knows is kept as it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stream's name. Stored: a contract.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamName(String);

impl StreamName {
    /// `category#identity`.
    pub(crate) fn new(category: &str, identity: impl fmt::Display) -> StreamName {
        StreamName(format!("{category}#{identity}"))
    }

    /// The part behind `category#`, if the stream is of that category.
    pub(crate) fn identity_in(&self, category: &str) -> Option<&str> {
        self.0.strip_prefix(category)?.strip_prefix('#')
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for StreamName {
    fn from(name: String) -> Self {
        StreamName(name)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
