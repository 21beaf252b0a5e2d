//! `webchat local` as a process of its own, looked at from outside: memory, processor time and open files by /proc.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// Clock ticks of /proc a second; the kernel's interface has had this value on every platform for decades.
const TICKS: u64 = 100;

/// A running server. It is killed when this is dropped.
pub struct Server {
    child: Child,
    url: String,
    started_in: Duration,
    /// Without a reader it could not print, and would end.
    _output: BufReader<ChildStdout>,
    _data: Option<tempfile::TempDir>,
}

/// Where its data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// In a new folder, as when a user starts it for the first time.
    NewFolder,
    /// Nowhere.
    Memory,
}

impl Server {
    /// Starts it and waits until it listens.
    pub fn start(program: &Path, data: Data) -> Result<Server> {
        Server::start_under(&[], program, data)
    }

    /// Starts it by a command that ends by running it, such as one that lowers a limit.
    pub fn start_under(command: &[&str], program: &Path, data: Data) -> Result<Server> {
        let folder = (data == Data::NewFolder).then(tempfile::tempdir).transpose()?;
        let words = command.iter().map(PathBuf::from).chain([program.to_owned()]).collect::<Vec<_>>();
        let mut starting = Command::new(&words[0]);
        starting.args(&words[1..]).args(["local", "--port", "0"]);
        match &folder {
            // One that does not exist yet.
            Some(folder) => starting.arg("--data").arg(folder.path().join("data")),
            None => starting.arg("--memory"),
        };
        let began = Instant::now();
        let mut child = starting
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}: `cargo build --release -p cli` makes it", program.display()))?;
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().context("its output")?);
        output.read_line(&mut said)?;
        let started_in = began.elapsed();
        let url = said.trim().strip_prefix("listening on ").map(str::to_owned);
        let server = Server { child, url: url.unwrap_or_default(), started_in, _output: output, _data: folder };
        ensure!(!server.url.is_empty(), "it did not start: {said}");
        Ok(server)
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From its start as a process until it said that it listens.
    #[must_use]
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Memory it holds now, in bytes.
    pub fn memory(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The most memory it has held, in bytes.
    pub fn peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    /// Processor time it has used.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(')').context("its name")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS))
    }

    /// Its open files, sockets among them.
    pub fn open_files(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Whether it runs.
    pub fn is_up(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    fn status(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a line of /proc")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
