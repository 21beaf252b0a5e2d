//! `webchat local`: the deployment on one machine, until Ctrl-C.

use std::{
    io::{Write, stdout},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use http::Uri;
use local::{Chaos, Data, Mode, Options, Plan, Runtime};
use tracing_subscriber::EnvFilter;

use crate::{logging, source};

/// Arguments of `webchat local`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Port for clients; 0 takes a free one
    #[arg(long, default_value_t = 3000)]
    port: u16,

    /// Address for clients
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into(), value_name = "ADDRESS")]
    bind: IpAddr,

    /// Web pages that may connect besides its own, such as http://192.168.1.5:3000, separated by commas
    #[arg(long, value_name = "ORIGINS", value_delimiter = ',', value_parser = origin)]
    allowed_origins: Vec<String>,

    /// Folder of the data [default: webchat in the platform's data folder]
    #[arg(long, value_name = "DIR", conflicts_with = "memory")]
    data: Option<PathBuf>,

    /// Keep nothing: all data ends with the program
    #[arg(long)]
    memory: bool,

    /// Have a share of everything go wrong, as this file (JSON) says, to see the chat survive
    #[arg(long, value_name = "FILE")]
    chaos: Option<PathBuf>,

    /// Where the functions run: in this process, or each invocation in a process of its own, as on Lambda
    #[arg(long, value_enum, default_value_t = Functions::InProcess, value_name = "WHERE")]
    functions: Functions,

    /// The program of --functions processes [default: bootstrap, beside webchat]
    #[arg(long, value_name = "FILE")]
    bootstrap: Option<PathBuf>,

    /// Lambda's reserved concurrency of each function: more invocations at once are throttled [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: Option<u16>,

    /// What to log to stderr, such as info or handlers=debug,local=info
    #[arg(long, default_value = "warn", value_name = "FILTER")]
    log: String,
}

/// Where the functions run.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Functions {
    InProcess,
    Processes,
}

impl Args {
    fn mode(&self) -> Result<Mode> {
        if self.functions == Functions::InProcess {
            return Ok(Mode::InProcess);
        }
        let beside = || -> std::io::Result<PathBuf> {
            let program = format!("bootstrap{}", std::env::consts::EXE_SUFFIX);
            Ok(std::env::current_exe()?.with_file_name(program))
        };
        let bootstrap = self.bootstrap.clone().map_or_else(beside, Ok).context("finding this program's folder")?;
        Ok(Mode::Processes { bootstrap })
    }
}

pub(crate) fn run(args: Args) -> Result<u8> {
    let filter = EnvFilter::builder().parse(&args.log).with_context(|| format!("--log {}", args.log))?;
    logging::start(filter);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting")?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> Result<u8> {
    let plan = args.chaos.as_deref().map(plan).transpose()?;
    let mode = args.mode()?;
    let data = if args.memory { Data::Memory } else { Data::Folder(source::folder(args.data)?) };
    let mut interrupted = Interrupt::new()?;
    let chaos = Chaos::new(plan.clone().unwrap_or_default());
    let options = Options {
        bind: args.bind,
        port: args.port,
        allowed_origins: args.allowed_origins,
        data: data.clone(),
        functions: mode,
        concurrency: args.concurrency.map(usize::from),
        chaos: chaos.clone(),
        ..Options::default()
    };
    let runtime = Runtime::start(options).await?;
    if let Some(plan) = &plan {
        println!("chaos is on, seed {}", plan.seed);
    }
    greet(&runtime, &data, args.bind)?;
    interrupted.wait().await;
    eprintln!("stopping: saying goodbye to clients and finishing what is under way (Ctrl-C again to end at once)");
    tokio::select! {
        () = runtime.stop() => {}
        () = interrupted.wait() => {}
    }
    if plan.is_some() {
        count(&chaos)?;
    }
    Ok(0)
}

/// An origin as browsers send it: anything else would never match.
fn origin(text: &str) -> Result<String, String> {
    let sent = text.parse::<Uri>().ok().and_then(|uri| {
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        Some(format!("{scheme}://{authority}").to_lowercase())
    });
    let as_sent = sent.as_deref() == Some(text);
    as_sent.then(|| text.to_owned()).ok_or_else(|| "no origin such as http://192.168.1.5:3000".to_owned())
}

/// Reads what is to go wrong.
fn plan(file: &Path) -> Result<Plan> {
    let what = || format!("--chaos {}", file.display());
    let text = std::fs::read_to_string(file).with_context(what)?;
    Plan::from_json(&text).map_err(anyhow::Error::msg).with_context(what)
}

/// What went wrong, and how often.
fn count(chaos: &Chaos) -> std::io::Result<()> {
    let struck = chaos.struck();
    let mut out = stdout().lock();
    writeln!(out, "{} mishaps", struck.values().sum::<u64>())?;
    struck.iter().try_for_each(|(kind, times)| writeln!(out, "{times:>8} {kind}"))?;
    out.flush()
}

/// The line with the address is for programs, the rest for people.
fn greet(runtime: &Runtime, data: &Data, bind: IpAddr) -> std::io::Result<()> {
    let url = runtime.url();
    let mut out = stdout().lock();
    writeln!(out, "listening on {url}")?;
    writeln!(out, "page       {}", runtime.page())?;
    match data {
        Data::Memory => writeln!(out, "data       in memory, gone when this ends")?,
        Data::Folder(folder) => writeln!(out, "data       {}", folder.display())?,
    }
    writeln!(out)?;
    writeln!(out, "In another terminal or two:   npx wscat -c {url}")?;
    writeln!(out, "Then type, for example:       {{\"action\":\"broadcast\",\"message\":\"Anybody home?\"}}")?;
    writeln!(out, "                              {{\"action\":\"list\"}}")?;
    writeln!(out, "Ctrl-C ends it.")?;
    out.flush()?;
    if !bind.is_loopback() {
        eprintln!(
            "webchat: warning: everyone who can reach {bind} can connect, read along and write, without a password"
        );
    }
    Ok(())
}

/// Ctrl-C, and SIGTERM where there is such a thing.
struct Interrupt {
    #[cfg(unix)]
    terminated: tokio::signal::unix::Signal,
}

impl Interrupt {
    fn new() -> Result<Interrupt> {
        Ok(Interrupt {
            #[cfg(unix)]
            terminated: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .context("watching for SIGTERM")?,
        })
    }

    async fn wait(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = self.terminated.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
