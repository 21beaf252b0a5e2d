//! Where the data is: a local folder, any DynamoDB endpoint, or a deployed stage.
//!
//! A folder that a running `webchat local` holds is reached through it; otherwise its files are opened here, alone, and
//! another command waits until this one is done.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use events::{EventLog, Timing};
use handlers::{Bus, Parked};
use local::{Archive, Holder, StartError};
use projections::ConnectionsView;
use tokio::net::TcpStream;

/// Where the data is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Where the data is")]
pub(crate) struct Source {
    /// Folder of a local chat [default: webchat in the platform's data folder]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["stage", "endpoint_url"])]
    data: Option<PathBuf>,

    /// A deployed stage, whose tables are webchat-STAGE-…
    #[arg(long, value_name = "STAGE", value_parser = stage_name)]
    stage: Option<String>,

    /// Another DynamoDB endpoint; its tables are those of --stage, or of a local chat
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,

    /// AWS profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// AWS region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

/// An opened source.
pub(crate) struct Data {
    sdk: SdkConfig,
    stage: String,
    /// Parts a table is scanned in at once.
    pub(crate) segments: i32,
    /// Whether notices can be published.
    has_bus: bool,
    _archive: Option<Archive>,
}

/// How often a folder that is in use is looked at again.
const LOOK: Duration = Duration::from_millis(50);

/// The stage of a local chat's table names.
const LOCAL: &str = "local";

fn stage_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match !text.is_empty() && text.len() <= 20 && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("a stage has 1 to 20 lower-case letters, digits and hyphens".to_owned()),
    }
}

/// The folder of a local chat, unless another is named.
pub(crate) fn folder(given: Option<PathBuf>) -> Result<PathBuf> {
    match given {
        Some(folder) => Ok(folder),
        None => directories::ProjectDirs::from("", "", "webchat")
            .map(|dirs| dirs.data_dir().to_owned())
            .context("this user has no data folder; name one with --data (`webchat local` also takes --memory)"),
    }
}

impl Source {
    /// Whether it is a folder of this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.stage.is_none() && self.endpoint_url.is_none()
    }

    /// Opens it.
    pub(crate) async fn open(self) -> Result<Data> {
        if !self.is_local() {
            return self.open_endpoint().await;
        }
        let folder = folder(self.data)?;
        let mut waiting = false;
        loop {
            let busy = match Archive::open(&folder).await {
                Ok(archive) => return Ok(Data::local(archive.sdk().clone(), false, Some(archive))),
                Err(busy @ StartError::InUse { .. }) => busy,
                Err(error) => return Err(error.into()),
            };
            if let StartError::InUse { holder: Some(holder), .. } = &busy
                && answers(holder).await
            {
                return Ok(Data::local(local::sdk_config(&holder.aws), true, None));
            }
            if !std::mem::replace(&mut waiting, true) {
                eprintln!("webchat: {busy}; waiting for it");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn open_endpoint(self) -> Result<Data> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(profile) = self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = self.region {
            loader = loader.region(Region::new(region));
        }
        if let Some(url) = self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let sdk = loader.load().await;
        if sdk.region().is_none() {
            bail!("no AWS region: name one with --region, or set it in the profile");
        }
        let stage = self.stage.unwrap_or_else(|| LOCAL.to_owned());
        Ok(Data { sdk, stage, segments: 8, has_bus: true, _archive: None })
    }
}

/// Whether a runtime can be reached there. One that is just starting may have left the address of the last one; a command
/// that works on the folder has none.
async fn answers(holder: &Holder) -> bool {
    let address = holder.aws.strip_prefix("http://").unwrap_or_default();
    !address.is_empty() && TcpStream::connect(address).await.is_ok()
}

impl Data {
    /// The embedded store answers one call at a time, so parts would only get in each other's way.
    fn local(sdk: SdkConfig, has_bus: bool, archive: Option<Archive>) -> Data {
        Data { sdk, stage: LOCAL.to_owned(), segments: 1, has_bus, _archive: archive }
    }

    pub(crate) fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    pub(crate) fn log(&self) -> EventLog {
        EventLog::new(self.dynamodb(), self.table("events"))
    }

    /// The live view.
    pub(crate) fn view(&self) -> ConnectionsView {
        self.view_in(&self.table("connections"))
    }

    /// A view in another table.
    pub(crate) fn view_in(&self, table: &str) -> ConnectionsView {
        ConnectionsView::new(self.dynamodb(), table, Timing::default().view_retention)
    }

    pub(crate) fn parked(&self) -> Parked {
        Parked::new(self.dynamodb(), self.table("parked"))
    }

    pub(crate) fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.sdk)
    }

    /// The bus, if there is one to publish on.
    pub(crate) fn bus(&self) -> Result<Bus> {
        if !self.has_bus {
            bail!("nobody would deliver: start `webchat local` on this folder first");
        }
        let client = aws_sdk_eventbridge::Client::new(&self.sdk);
        Ok(Bus::new(client, format!("webchat-{}", self.stage), Duration::from_millis(100)))
    }

    /// The name of a table, such as `events`.
    pub(crate) fn table(&self, name: &str) -> String {
        format!("webchat-{}-{name}", self.stage)
    }
}
