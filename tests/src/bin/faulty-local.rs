//! A local runtime with one fault, to be killed in the middle of things by `tests/local_restart.rs`.
//!
//! `faulty-local DIR OPERATION CONTAINING ignore|lose-answer`: prints its URL, then `struck` when the fault has struck.
#![allow(clippy::unwrap_used, clippy::expect_used)] // part of a test: a panic is how it fails

use local::{Data, Effect, Options, Runtime};
use tests::quick;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, operation, containing, effect] = args.as_slice() else { panic!("four arguments") };
    let effect = match effect.as_str() {
        "ignore" => Effect::Ignore,
        "lose-answer" => Effect::LoseAnswer,
        other => panic!("no effect {other}"),
    };
    let options = Options { data: Data::Folder(folder.into()), timing: quick(), ..Options::default() };
    let struck = options.faults.inject(operation, containing, effect, usize::MAX);
    let runtime = Runtime::start(options).await.unwrap();
    println!("{}", runtime.url());
    struck.reached(1).await;
    println!("struck");
    std::future::pending::<()>().await;
}
