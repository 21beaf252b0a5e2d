//! `webchat`: the command for people who run, try and operate the chat.
//!
//! Each subcommand has its own file. Errors are one line on stderr and exit code 1.

mod local;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Local(args) => local::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("webchat: {error:#}");
            ExitCode::FAILURE
        }
    }
}
