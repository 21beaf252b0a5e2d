//! Functions as processes: every invocation in a `bootstrap` of its own under the Runtime API, as on Lambda.
//!
//! A process is started when an invocation finds none free, runs one invocation at a time, is kept warm, and is killed when
//! an invocation is over its time. Its environment is that of a deployed function and nothing of the user's. It ends with
//! the runtime: killed when that stops, and by itself when its Runtime API is gone (after `kill -9`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use handlers::{Function, Payload, Settings};
use serde_json::{Value, value::RawValue};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, info, warn};

use crate::{
    FunctionError,
    functions::UNEXPLAINED,
    runtime_api::{Environment, Invocation, RuntimeApi},
};

/// Lambda gives a process this long to ask for its first invocation, and then once more the function's own time.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// A process whose connection to the Runtime API is gone is about to end.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

/// Starts processes.
pub(crate) struct Launcher {
    api: RuntimeApi,
    bootstrap: PathBuf,
    settings: Settings,
    aws_url: String,
}

impl Launcher {
    pub(crate) fn new(api: RuntimeApi, bootstrap: PathBuf, settings: Settings, aws_url: String) -> Launcher {
        Launcher { api, bootstrap, settings, aws_url }
    }

    /// What Lambda and the deployment put into a function's environment; the endpoint and the keys are this machine's.
    fn variables(&self, function: Function, runtime_api: &str) -> BTreeMap<&'static str, String> {
        let name = function_name(function);
        let settings = &self.settings;
        let root = self.task_root();
        BTreeMap::from([
            ("_HANDLER", function.name().to_owned()),
            ("LAMBDA_TASK_ROOT", root.display().to_string()),
            ("TZ", "UTC".to_owned()),
            ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_owned()),
            ("AWS_LAMBDA_FUNCTION_NAME", name.clone()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_ENDPOINT_URL", self.aws_url.clone()),
            ("WEBCHAT_EVENTS_TABLE", settings.events_table.clone()),
            ("WEBCHAT_CONNECTIONS_TABLE", settings.connections_table.clone()),
            ("WEBCHAT_PARKED_TABLE", settings.parked_table.clone()),
            ("WEBCHAT_BUS", settings.bus.clone()),
            ("WEBCHAT_GATEWAY_URL", settings.gateway_url.clone()),
            ("WEBCHAT_ALLOWED_ORIGINS", settings.allowed_origins.join(",")),
        ])
    }

    fn task_root(&self) -> &Path {
        self.bootstrap.parent().unwrap_or(Path::new("/"))
    }

    fn launch(&self, function: Function) -> std::io::Result<(Child, Environment)> {
        let environment = self.api.environment();
        let mut command = Command::new(&self.bootstrap);
        command.current_dir(self.task_root()).env_clear().envs(self.variables(function, environment.address()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Ctrl-C is for the runtime, which lets invocations finish. A terminal sends it to the whole group.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(relay(function, stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(relay(function, stderr));
        }
        Ok((child, environment))
    }
}

/// The function's name among the deployed ones.
fn function_name(function: Function) -> String {
    format!("webchat-local-{function}")
}

/// The processes of one function.
pub(crate) struct Processes {
    function: Function,
    launcher: Arc<Launcher>,
    /// One permit for each process that may be busy.
    turns: Arc<Semaphore>,
    /// Waiting for an invocation, the one used last at the end.
    warm: Mutex<Vec<Process>>,
    up: Arc<Mutex<BTreeSet<u32>>>,
    /// Tasks of processes that have answered and not asked again yet.
    keeping: TaskTracker,
    stop: CancellationToken,
}

/// A process, and what it is doing. Killed when dropped.
struct Process {
    // First to be dropped: it would complain of a Runtime API that went away.
    child: Child,
    environment: Environment,
    _up: Up,
}

/// A process id in the list of those that are up.
struct Up {
    pid: u32,
    list: Arc<Mutex<BTreeSet<u32>>>,
}

/// How an invocation in a process ended.
enum Ended {
    Answered(Result<String, String>),
    /// Its connection is gone, or it is.
    Exited(std::io::Result<ExitStatus>),
    TimedOut,
}

impl Processes {
    /// Up to `most` processes of `function`.
    pub(crate) fn new(function: Function, launcher: Arc<Launcher>, most: usize) -> Arc<Processes> {
        Arc::new(Processes {
            function,
            launcher,
            turns: Arc::new(Semaphore::new(most)),
            warm: Mutex::default(),
            up: Arc::default(),
            keeping: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Runs one invocation. With `lives`, the process is killed after that time, whatever it has done by then.
    pub(crate) async fn invoke(
        self: &Arc<Self>,
        request_id: &str,
        payload: Payload,
        time_limit: Duration,
        lives: Option<Duration>,
    ) -> Result<Payload, FunctionError> {
        let Ok(turn) = self.turns.clone().acquire_owned().await else {
            return Err(FunctionError::exited(request_id, "the runtime is stopping"));
        };
        let mut process = match self.warm() {
            Some(process) => process,
            None => self.launch(request_id)?,
        };
        process.start(request_id, INIT_LIMIT + time_limit).await?;
        let invocation = Invocation {
            request_id: request_id.to_owned(),
            function: function_name(self.function),
            payload: payload.get().to_owned(),
            timeout: time_limit,
        };
        let ended = process.run(invocation, lives.unwrap_or(time_limit)).await;
        if lives.is_some() {
            process.kill().await;
            return Err(FunctionError::exited(request_id, "Runtime exited with error: signal: killed"));
        }
        match ended {
            Ended::Answered(answer) => {
                self.keep(process, turn, time_limit);
                match answer {
                    Ok(answer) => RawValue::from_string(answer).map_err(|error| FunctionError {
                        error_type: "Runtime.InvalidResponse".into(),
                        error_message: error.to_string(),
                    }),
                    Err(error) => Err(FunctionError::reported(&error)),
                }
            }
            Ended::Exited(status) => Err(exited(request_id, &status)),
            Ended::TimedOut => {
                process.kill().await;
                Err(FunctionError::timed_out(request_id, time_limit))
            }
        }
    }

    /// Process ids.
    pub(crate) fn up(&self) -> Vec<u32> {
        lock(&self.up).iter().copied().collect()
    }

    /// Starts nothing more and ends the processes that wait.
    pub(crate) async fn stop(&self) {
        self.turns.close();
        self.stop.cancel();
        self.keeping.close();
        self.keeping.wait().await;
        let warm = std::mem::take(&mut *lock(&self.warm));
        for mut process in warm {
            process.kill().await;
        }
    }

    /// A process that waits and has not ended meanwhile.
    fn warm(&self) -> Option<Process> {
        let mut warm = lock(&self.warm);
        loop {
            let mut process = warm.pop()?;
            match process.child.try_wait() {
                Ok(None) => return Some(process),
                ended => warn!(function = %self.function, ?ended, "a process ended while it waited"),
            }
        }
    }

    fn launch(&self, request_id: &str) -> Result<Process, FunctionError> {
        let launched = self.launcher.launch(self.function).map_err(|error| {
            error!(function = %self.function, bootstrap = %self.launcher.bootstrap.display(), %error, "no process");
            FunctionError {
                error_type: "Runtime.InvalidEntrypoint".into(),
                error_message: format!("RequestId: {request_id} Error: {error}"),
            }
        })?;
        let (child, environment) = launched;
        let pid = child.id().unwrap_or_default();
        debug!(function = %self.function, pid, "started a process");
        lock(&self.up).insert(pid);
        Ok(Process { child, environment, _up: Up { pid, list: self.up.clone() } })
    }

    /// Keeps the process for the next invocation, once it asks for one. Until then its turn is taken.
    fn keep(self: &Arc<Self>, mut process: Process, turn: OwnedSemaphorePermit, time_limit: Duration) {
        let processes = self.clone();
        self.keeping.spawn(async move {
            let ready = tokio::select! {
                ready = timeout(time_limit, process.environment.ready()) => matches!(ready, Ok(Ok(()))),
                _ = process.child.wait() => false,
                () = processes.stop.cancelled() => false,
            };
            if ready {
                lock(&processes.warm).push(process);
            } else {
                process.kill().await;
            }
            drop(turn);
        });
    }
}

impl Process {
    /// Waits until the process asks for work. One that ends or hangs instead fails the invocation.
    async fn start(&mut self, request_id: &str, limit: Duration) -> Result<(), FunctionError> {
        tokio::select! {
            biased;
            ready = timeout(limit, self.environment.ready()) => match ready {
                Ok(Ok(())) => Ok(()),
                Ok(Err(reported)) => Err(FunctionError::reported(&reported)),
                Err(_) => {
                    self.kill().await;
                    Err(FunctionError::timed_out(request_id, limit))
                }
            },
            status = self.child.wait() => Err(exited(request_id, &status)),
        }
    }

    async fn run(&mut self, invocation: Invocation, limit: Duration) -> Ended {
        tokio::select! {
            biased;
            answer = self.environment.invoke(invocation) => match answer {
                Some(answer) => Ended::Answered(answer),
                None => Ended::Exited(timeout(LAST_MOMENTS, self.child.wait()).await.unwrap_or_else(|_| {
                    Err(std::io::Error::other("it left its Runtime API"))
                })),
            },
            status = self.child.wait() => Ended::Exited(status),
            () = tokio::time::sleep(limit) => Ended::TimedOut,
        }
    }

    /// Ends it, if it has not ended by itself.
    async fn kill(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        if let Err(error) = self.child.kill().await {
            warn!(%error, "a process could not be killed");
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        lock(&self.list).remove(&self.pid);
    }
}

/// In Lambda's words.
fn exited(request_id: &str, status: &std::io::Result<ExitStatus>) -> FunctionError {
    match status {
        Ok(status) if status.success() => FunctionError::exited(request_id, UNEXPLAINED),
        // `exit status: 127`, `signal: 9 (SIGKILL)`; Lambda writes the former without the colon.
        Ok(status) => {
            let status = status.to_string().replace("exit status: ", "exit status ");
            FunctionError::exited(request_id, &format!("Runtime exited with error: {status}"))
        }
        Err(error) => FunctionError::exited(request_id, &format!("Runtime exited with error: {error}")),
    }
}

/// Puts what a process writes into the log: its lines are JSON with a level; any other is a complaint.
async fn relay(function: Function, output: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let level = serde_json::from_str::<Value>(&line).ok().map(|json| json["level"].as_str().map(str::to_owned));
        match level.flatten().as_deref() {
            Some("TRACE" | "DEBUG") => debug!(target: "handlers", %function, "{line}"),
            Some("INFO") => info!(target: "handlers", %function, "{line}"),
            Some("ERROR") => error!(target: "handlers", %function, "{line}"),
            Some(_) => warn!(target: "handlers", %function, "{line}"),
            // Escaped: it may hold anything.
            None => warn!(target: "handlers", %function, "{line:?}"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
