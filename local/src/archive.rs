//! The data folder of a runtime that is not running: its tables alone, for commands that read or repair.
//!
//! It holds the folder's lock, so that no runtime starts meanwhile. Nothing is invoked: what is appended is projected
//! when a runtime runs again.

use std::{net::Ipv4Addr, path::Path};

use aws_config::SdkConfig;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Chaos, Faults, Holder, StartError, aws,
    folder::Folder,
    observer::Observer,
    runtime::{address, listen, sdk_config, serve},
    tables::Tables,
};

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
        folder.announce(&Holder { pid: std::process::id(), aws: url.clone() })?;
        let router = aws::router(
            Tables::open(Some(&file))?,
            None,
            axum::Router::new(),
            Faults::default(),
            Chaos::default(),
            Observer::default(),
        );
        let stop = CancellationToken::new();
        serve(&TaskTracker::new(), listener, router, &stop);
        Ok(Archive { sdk: sdk_config(&url), stop, _folder: folder })
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
