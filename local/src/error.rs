//! Why a runtime does not start: one line each, for the person who started it.

use std::{fmt::Write, net::SocketAddr, path::PathBuf};

use crate::Holder;

/// Why a runtime does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The public address is taken or not ours.
    #[error("cannot listen on {address}: {why}; --port 0 takes a free port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        why: String,
    },
    /// Another runtime has the folder.
    #[error("the data folder {} is in use{}", folder.display(), by(.holder))]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Who, if the lock file says.
        holder: Option<Holder>,
    },
    /// The folder cannot be made or written.
    #[error("the data folder {} cannot be written: {why}", folder.display())]
    Unwritable {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A later webchat wrote it.
    #[error("{} was written by a newer version of webchat", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
    },
    /// There is nothing to open.
    #[error("there is no data in {}; `webchat local` puts some there", folder.display())]
    NoData {
        /// The folder.
        folder: PathBuf,
    },
    /// Functions are to run by process, and there is no program for it.
    #[error(
        "there is no bootstrap at {}; `cargo build -p handlers` puts one beside webchat, --bootstrap names another",
        path.display()
    )]
    NoBootstrap {
        /// Where it was expected.
        path: PathBuf,
    },
    /// The tables do not open.
    #[error("{what} the tables: {why}")]
    Tables {
        /// What we were doing.
        what: String,
        /// What the store said.
        why: String,
    },
}

fn by(holder: &Option<Holder>) -> String {
    let mut text = String::new();
    if let Some(holder) = holder {
        let _ = write!(text, " by process {}", holder.pid);
    }
    text
}
