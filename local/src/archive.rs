//! The data folder of a runtime that is not running: its tables alone, for commands that read or repair.
//!
//! It holds the folder's lock, so that no runtime starts meanwhile, and names no address in it: it ends when its command
//! does, so nobody else may rely on it. Nothing is invoked: what is appended is projected when a runtime runs again.

use std::{net::Ipv4Addr, path::Path};

use aws_config::SdkConfig;
use serde_dynamo::Item;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Chaos, Faults, Holder, Meter, StartError, aws,
    folder::Folder,
    observer::Observer,
    runtime::{address, listen, sdk_config, serve},
    tables::Tables,
};

/// Items of one transaction of a bulk load.
const LOADED_AT_ONCE: usize = 10_000;

/// The tables of a data folder.
pub struct Archive {
    sdk: SdkConfig,
    stop: CancellationToken,
    _folder: Folder,
}

impl Archive {
    /// Opens a folder that has data in it.
    pub async fn open(path: &Path) -> Result<Archive, StartError> {
        let file = path.join("tables.sqlite");
        if !file.exists() {
            return Err(StartError::NoData { folder: path.into() });
        }
        let mut folder = Folder::take(path)?;
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let url = format!("http://{}", address(&listener)?);
        folder.announce(&Holder { pid: std::process::id(), aws: String::new() })?;
        let router = aws::router(
            Tables::open(Some(&file))?,
            None,
            axum::Router::new(),
            Faults::default(),
            Chaos::default(),
            Observer::default(),
            Meter::default(),
        );
        let stop = CancellationToken::new();
        serve(&TaskTracker::new(), listener, router, &stop);
        Ok(Archive { sdk: sdk_config(&url), stop, _folder: folder })
    }

    /// Puts items into a table of a folder in bulk, past the API and without stream records, so that nothing is projected:
    /// for tests and benches that need a large log. The folder is made if need be.
    pub async fn load(path: &Path, table: &str, items: impl IntoIterator<Item = Item>) -> Result<(), StartError> {
        let folder = Folder::take(path)?;
        let tables = Tables::open(Some(&folder.file("tables.sqlite")))?;
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            tables.load(table.to_owned(), items.by_ref().take(LOADED_AT_ONCE).collect()).await?;
        }
        Ok(())
    }

    /// An SDK configuration whose DynamoDB is this folder's.
    #[must_use]
    pub fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
