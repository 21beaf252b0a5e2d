//! `webchat`: the command for people who run, try, audit and operate the chat.
//!
//! Each subcommand has its own file. Exit codes: 0, it is done and all is well; 1, it failed, or found a difference; 2, some
//! events could not be read; 130, interrupted. Errors are one line on stderr.

mod connections;
mod deliveries;
mod flaws;
mod history;
mod local;
mod logging;
mod output;
mod parked;
mod replay;
mod seal;
mod source;
mod undelivered;
mod url;
mod verify;
mod when;

use std::{future::Future, io::IsTerminal, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

/// The embedded store and the SDK allocate for every attribute of an event: with the system's allocator, replay is slower by a tenth.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced WebSocket chat.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole chat on this machine, without an account
    Local(local::Args),
    /// Who said what to whom, when, and did it arrive
    History(history::Args),
    /// Who is or was connected, now or at any past moment
    Connections(connections::Args),
    /// Accepted messages of which nobody knows what became
    Undelivered(undelivered::Args),
    /// Publish the notices of messages again: the one command that sends
    Redeliver(undelivered::RedeliverArgs),
    /// Rebuild the view of connections from the events
    Replay(replay::Args),
    /// Prove that the view equals the events, or that sealed days are unchanged
    Verify(verify::Args),
    /// Records the projector set aside
    Parked(parked::Args),
    /// Seal the days that are settled
    Seal(seal::Args),
    /// The address of a stage, signed for connecting with IAM
    Url(url::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Local(args) => local::run(args),
        Command::History(args) => run(history::run(args)),
        Command::Connections(args) => run(connections::run(args)),
        Command::Undelivered(args) => run(undelivered::run(args)),
        Command::Redeliver(args) => run(undelivered::redeliver(args)),
        Command::Replay(args) => run(replay::run(args)),
        Command::Verify(args) => run(verify::run(args)),
        Command::Parked(args) => run(parked::run(args)),
        Command::Seal(args) => run(seal::run(args)),
        Command::Url(args) => run(url::run(args)),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// One line on stderr.
fn tell(error: &anyhow::Error) {
    eprintln!("webchat: {}", output::brief(error));
}

/// Runs a command until it is done or interrupted. Each is written so that it can be cut off anywhere and run again.
fn run(command: impl Future<Output = Result<u8>>) -> Result<u8> {
    logging::start(logging::errors());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting")?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = command => done,
            code = interrupted() => {
                eprintln!("webchat: interrupted; it may be run again");
                code
            }
        }
    });
    // Not waiting for an answer that nobody will type.
    runtime.shutdown_background();
    done
}

/// Ctrl-C, or SIGTERM where there is such a thing; the exit code is the shell's custom.
async fn interrupted() -> Result<u8> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminated = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => Ok(130),
            _ = terminated.recv() => Ok(143),
        }
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await.context("watching for Ctrl-C")?;
        Ok(130)
    }
}

/// Whoever read our output has had enough (`| head`).
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    error.chain().filter_map(io).any(|kind| kind == std::io::ErrorKind::BrokenPipe)
}

/// Asks before something that cannot be taken back. Without a terminal, only `--yes` says yes.
async fn confirm(question: &str, yes: bool) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        bail!("{question} Say --yes to do it without being asked.");
    }
    eprint!("{question} [y/N] ");
    let answer = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().transpose()).await?;
    Ok(matches!(answer.context("reading the answer")?.as_deref().map(str::trim), Some("y" | "Y" | "yes")))
}
