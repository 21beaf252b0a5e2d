//! Load on a chat server: `load chat --url ws://127.0.0.1:3000/local` and so on; one line of JSON comes out.
//!
//! `load bench` and `load soak` start a `webchat local` of their own, and this program again for the clients.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde_json::json;
use tests::load::{bench, crowd, latency, soak};

#[derive(Parser)]
#[command(about)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Hold idle connections until the input ends; `ping` on a line of it has all of them ask for a pong
    Hold {
        #[arg(long)]
        url: String,
        #[arg(long)]
        connections: usize,
    },
    /// Measure direct messages
    Chat {
        #[arg(long)]
        url: String,
        #[command(flatten)]
        pace: latency::Pace,
    },
    /// Measure broadcasts
    Broadcast {
        #[arg(long)]
        url: String,
        #[command(flatten)]
        pace: latency::Pace,
    },
    /// Measure `webchat local` for `make bench`, and write WEBCHAT_BENCH_JSON
    Bench {
        /// The program to measure
        #[arg(long, default_value = "target/release/webchat")]
        webchat: PathBuf,
    },
    /// Hold idle connections while clients behave badly, for `make soak`
    Soak {
        /// The program to run
        #[arg(long, default_value = "target/release/webchat")]
        webchat: PathBuf,
        /// Idle connections
        #[arg(long, default_value_t = 10_000)]
        connections: usize,
        /// At least one round, and then as many as fit
        #[arg(long, default_value_t = 0)]
        minutes: u64,
        /// Messages a second of those who mean well
        #[arg(long, default_value_t = 200.0)]
        rate: f64,
    },
}

fn main() -> Result<()> {
    let what = Args::parse().what;
    // Of clients, one thread is enough, and leaves the other processors to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match what {
        What::Hold { url, connections } => runtime.block_on(crowd::hold(&url, connections)),
        What::Chat { url, pace } => print(&runtime.block_on(latency::chat(&url, pace))?),
        What::Broadcast { url, pace } => print(&runtime.block_on(latency::broadcast(&url, pace))?),
        What::Soak { webchat, connections, minutes, rate } => {
            runtime.block_on(soak::run(&webchat, connections, minutes, rate))
        }
        What::Bench { webchat } => {
            let rows = bench::run(&webchat)?;
            let file = std::env::var("WEBCHAT_BENCH_JSON").unwrap_or_else(|_| "target/bench/local.json".to_owned());
            let file = PathBuf::from(file);
            std::fs::create_dir_all(file.parent().context("a folder for the figures")?)?;
            std::fs::write(&file, json!({"machine": tests::machine(), "rows": rows}).to_string())?;
            Ok(())
        }
    }
}

fn print(figures: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(figures)?);
    Ok(())
}
