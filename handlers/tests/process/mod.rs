//! The built `bootstrap` as Lambda would run it: one process, one function, an environment of its own.
//!
//! Nothing of the user's environment or AWS configuration reaches it. It is killed when dropped.

use std::{
    collections::BTreeMap,
    process::{Output, Stdio},
    time::Duration,
};

use local::{
    Runtime,
    runtime_api::{Environment, Invocation, RuntimeApi},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

/// Only turns a hang into a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The process's environment.
pub(crate) type Variables = BTreeMap<&'static str, String>;

/// A function in a process.
pub(crate) struct Process {
    /// Ends first: it would complain of a Runtime API that went away.
    child: Child,
    environment: Environment,
    function: String,
    _api: RuntimeApi,
    stdout: JoinHandle<String>,
    _home: TempDir,
}

impl Process {
    /// Starts `function` as it is deployed, with `runtime` for its AWS.
    pub(crate) async fn start(function: &str, runtime: &Runtime) -> Process {
        Process::start_under(RuntimeApi::start().await.unwrap(), function, runtime)
    }

    /// [`start`](Self::start) under a Runtime API of the test's own.
    pub(crate) fn start_under(api: RuntimeApi, function: &str, runtime: &Runtime) -> Process {
        let environment = api.environment();
        let home = tempfile::tempdir().unwrap();
        let mut command = command(variables(function, &environment, runtime), &home);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdout.take().unwrap();
        let stdout = tokio::spawn(async move {
            let mut text = String::new();
            pipe.read_to_string(&mut text).await.unwrap();
            text
        });
        Process { environment, function: function.to_owned(), _api: api, child, stdout, _home: home }
    }

    /// Invokes the function: its answer, or the error it reported.
    pub(crate) async fn invoke(&mut self, event: &Value) -> Result<Value, Value> {
        self.invoke_text(event.to_string()).await
    }

    /// [`invoke`](Self::invoke) with any bytes for the event.
    pub(crate) async fn invoke_text(&mut self, event: String) -> Result<Value, Value> {
        let request_id = uuid::Uuid::new_v4().to_string();
        let function = self.function.clone();
        let invocation = Invocation { request_id, function, payload: event, timeout: PATIENCE };
        let answer = tokio::select! {
            answer = timeout(PATIENCE, self.environment.invoke(invocation)) => answer.expect("it never answered"),
            status = self.child.wait() => panic!("bootstrap ended: {status:?}"),
        };
        let parse = |text: String| serde_json::from_str(&text).unwrap();
        answer.expect("it went away").map(parse).map_err(parse)
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(mut self) {
        timeout(PATIENCE, self.child.wait()).await.expect("it lives on").unwrap();
    }

    /// Ends the process and gives the lines it logged.
    pub(crate) async fn stop(mut self) -> Vec<String> {
        self.child.kill().await.unwrap();
        self.stdout.await.unwrap().lines().map(str::to_owned).collect()
    }
}

/// Runs bootstrap with these variables to its end.
pub(crate) async fn run_to_end(variables: Variables) -> Output {
    let home = tempfile::tempdir().unwrap();
    timeout(PATIENCE, command(variables, &home).output()).await.expect("it did not end").unwrap()
}

/// The environment Lambda gives a function, and the deployment.
pub(crate) fn variables(function: &str, environment: &Environment, runtime: &Runtime) -> Variables {
    let settings = runtime.settings();
    Variables::from([
        ("_HANDLER", function.to_owned()),
        ("AWS_LAMBDA_RUNTIME_API", environment.address().to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", format!("webchat-poc-{function}")),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_ENDPOINT_URL", runtime.sdk().endpoint_url().unwrap().to_owned()),
        ("WEBCHAT_EVENTS_TABLE", settings.events_table.clone()),
        ("WEBCHAT_CONNECTIONS_TABLE", settings.connections_table.clone()),
        ("WEBCHAT_PARKED_TABLE", settings.parked_table.clone()),
        ("WEBCHAT_BUS", settings.bus.clone()),
        ("WEBCHAT_GATEWAY_URL", settings.gateway_url.clone()),
        ("WEBCHAT_ALLOWED_ORIGINS", "https://chat.example".to_owned()),
    ])
}

fn command(variables: Variables, home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    command.env_clear().envs(variables).env("HOME", home.path()).current_dir(home.path());
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}
