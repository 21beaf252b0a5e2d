//! Runs `webchat` and holds what it said.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// Where the commands look: `--data DIR`, or an endpoint and what the SDK takes from the environment.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn folder(path: &Path) -> Place {
        Place { args: vec!["--data".into(), path.to_str().unwrap().into()], env: Vec::new() }
    }

    /// The same folder, with nothing that an SDK could find credentials or a region in.
    pub(crate) fn without_aws(&self) -> Place {
        let nothing = [
            ("AWS_PROFILE", "nobody"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let keys =
            ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"];
        let all = nothing.into_iter().chain(keys.map(|name| (name, "")));
        Place { args: self.args.clone(), env: all.map(|(name, value)| (name, value.to_owned())).collect() }
    }

    /// Dummy credentials, and nothing of whoever runs the test.
    pub(crate) fn endpoint(url: &str) -> Place {
        let args = ["--endpoint-url", url, "--region", "eu-west-1"].map(str::to_owned).to_vec();
        let env = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
        let nowhere = ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"].map(|name| (name, "/dev/null"));
        Place { args, env: env.into_iter().chain(nowhere).map(|(name, value)| (name, value.to_owned())).collect() }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_webchat"));
        command.args(args).args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Said {
        let output = self.command(args).output();
        let output = tokio::time::timeout(Duration::from_secs(120), output).await;
        let output = output.unwrap_or_else(|_| panic!("{args:?} never ended")).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs it, which must end well, and reads its JSON lines.
    pub(crate) async fn rows(&self, args: &[&str]) -> Vec<Value> {
        self.run(&[args, &["--format", "jsonl"]].concat()).await.expect(0).rows()
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }
}

impl Said {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// It printed nothing and said why in one line.
    #[track_caller]
    pub(crate) fn one_line(self, code: i32) -> String {
        let said = self.expect(code);
        assert_eq!((said.out.as_str(), said.err.lines().count()), ("", 1), "{said:#?}");
        assert!(said.err.starts_with("webchat: "), "{said:#?}");
        said.err
    }

    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }

    /// CSV by the names of its header.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<std::collections::HashMap<String, String>> {
        csv::Reader::from_reader(self.out.as_bytes()).deserialize().map(Result::unwrap).collect()
    }
}

/// A command that is still running.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) async fn line(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        line.expect("a line never came").unwrap().expect("it ended")
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Reads no further.
    pub(crate) async fn close(self) -> (Option<i32>, String) {
        let Running { child, lines } = self;
        drop(lines);
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
        let output = output.expect("it never ended").unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    pub(crate) async fn code(&mut self) -> Option<i32> {
        tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await.expect("it never ended").unwrap().code()
    }
}
