//! The long run of `webchat local` under clients that behave badly: `make soak`. Ten thousand idle connections are held all the while.
//!
//! Each step prints a line of JSON: what was done, what it cost, and how two hundred messages a second of a hundred clients who mean
//! well fared meanwhile. A step fails when one of those that was accepted is not received, when the server ends, or when memory grows
//! past its bound; latency is told and not judged, as it is the machine's as well.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    crowd::Crowd,
    hostile,
    latency::Latency,
    server::{Data, Server},
};

/// Most that a step may add to the memory, for connections of its own and what they keep busy.
const STEP_BYTES: u64 = 256 * 1024 * 1024;
/// Files of the server in the last step, and connections that are tried then.
const FEW_FILES: usize = 256;
const TOO_MANY: usize = 400;

/// Runs the steps once, and again until the time is over.
pub async fn run(program: &Path, connections: usize, minutes: u64, rate: f64) -> Result<()> {
    super::allow_open_files(connections.max(5000))?;
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    let mut server = Server::start(program, Data::NewFolder)?;
    let before = server.memory()?;
    let mut crowd = Crowd::gather(server.url(), connections)?;
    crowd.ping()?;
    let each = server.memory()?.saturating_sub(before) / connections as u64;
    println!("{}", json!({"step": "idle connections", "held": crowd.connections(), "bytes_each": each}));
    let mut round = 0;
    loop {
        round += 1;
        for attack in Attack::ALL {
            step(&mut server, attack, round, rate).await?;
            crowd.ping().with_context(|| format!("after {attack:?}"))?;
        }
        if Instant::now() >= until {
            break;
        }
    }
    drop(server);
    out_of_files(program)?;
    println!("{}", json!({"step": "end", "rounds": round, "held": connections, "passed": true}));
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Attack {
    Nothing,
    Churn,
    Flood,
    Deaf,
    Vanished,
    Oversized,
}

impl Attack {
    const ALL: [Attack; 6] =
        [Attack::Nothing, Attack::Churn, Attack::Flood, Attack::Deaf, Attack::Vanished, Attack::Oversized];

    async fn run(self, url: &str) -> Result<String> {
        Ok(match self {
            Attack::Nothing => "nothing: what the others do without an attack".to_owned(),
            Attack::Churn => {
                format!("{} of 3000 connections let in and gone again", hostile::churn(url, 3000, 50).await?)
            }
            Attack::Flood => {
                let frame = r#"{"action":"list","limit":100}"#;
                format!("one client, {} frames as fast as it can", hostile::flood(url, frame, 10_000).await?)
            }
            Attack::Deaf => {
                let mut accepted = 0;
                for _ in 0..5 {
                    let (_socket, id) = hostile::deaf(url).await?;
                    accepted += hostile::talk_to(url, &id, 300).await?;
                }
                format!("5 clients that do not read, {accepted} messages of 16 KiB accepted for them")
            }
            Attack::Vanished => {
                let silent = hostile::silent(url, 500).await?;
                let unfinished = hostile::unfinished(url, 500).await?;
                let half_open = hostile::half_open(url, 500).await?;
                hostile::all_ended(silent).await?;
                hostile::all_ended(unfinished).await?;
                format!("1000 without a whole handshake, all ended; {} that vanished after it", half_open.len())
            }
            Attack::Oversized => format!("{:?}", hostile::oversized(url).await?),
        })
    }
}

/// One attack, with others talking from before it until after it.
async fn step(server: &mut Server, attack: Attack, round: u32, rate: f64) -> Result<()> {
    let (memory, cpu, began) = (server.memory()?, server.processor_time()?, Instant::now());
    let others = Command::new(std::env::current_exe()?)
        .args(["chat", "--url", server.url(), "--clients", "100", "--rate", &rate.to_string(), "--seconds", "20"])
        .stdout(Stdio::piped())
        .spawn()?;
    let done = attack.run(server.url()).await?;
    let took = began.elapsed();
    let output = others.wait_with_output()?;
    ensure!(output.status.success(), "the others could not talk during {attack:?}");
    let others: Latency = serde_json::from_slice(&output.stdout)?;
    let after = server.memory()?;
    let cpu = (server.processor_time()? - cpu).as_secs_f64();
    println!(
        "{}",
        json!({"step": format!("{attack:?}"), "round": round, "done": done, "seconds": took.as_secs_f64(), "cpu_seconds": cpu,
            "memory_before": memory, "memory_after": after, "open_files": server.open_files()?, "others": others})
    );
    ensure!(server.is_up()?, "the server ended during {attack:?}");
    // More than was accepted may arrive: what was refused for want of an answer may have been recorded all the same.
    ensure!(others.received >= others.accepted, "{} of {} messages arrived", others.received, others.accepted);
    ensure!(after < memory + STEP_BYTES, "{attack:?} left {} MB behind", (after - memory) / 1_000_000);
    Ok(())
}

/// More connections than there are files: the first are served, the rest are told, and there is room when others leave.
fn out_of_files(program: &Path) -> Result<()> {
    let limited = format!("ulimit -n {FEW_FILES}; exec \"$0\" \"$@\"");
    let mut server = Server::start_under(&["sh", "-c", &limited], program, Data::Memory)?;
    // Of so few files, clients get half (local/src/files.rs).
    let room = FEW_FILES / 2;
    let mut crowd = Crowd::gather(server.url(), room)?;
    let refused = Crowd::gather(server.url(), TOO_MANY - room);
    ensure!(refused.is_err(), "{TOO_MANY} connections were let in with {FEW_FILES} files");
    crowd.ping()?;
    drop(crowd);
    // The ends of these are noticed in a moment.
    let again = (0..1000).find_map(|_| Crowd::gather(server.url(), room / 2).ok());
    ensure!(again.is_some(), "nobody was let in again");
    ensure!(server.is_up()?, "it ended without files");
    println!("{}", json!({"step": "out of files", "files": FEW_FILES, "held": room, "tried": TOO_MANY}));
    Ok(())
}
