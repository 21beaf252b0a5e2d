//! The `bootstrap` of every Lambda: runs the function that `_HANDLER` names.

use aws_config::BehaviorVersion;
use handlers::{Function, Settings};
use lambda_runtime::{Error, run, tracing};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let handler = std::env::var("_HANDLER").unwrap_or_default();
    let function = Function::named(&handler).ok_or_else(|| format!("_HANDLER is `{handler}`, which is no function"))?;
    // As a text: what `main` returns is printed by its `Debug`.
    let settings = Settings::from_env().map_err(|error| error.to_string())?;
    let sdk = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let service = function.service(&settings, &sdk);
    run(lambda_runtime::service_fn(move |event| service(event))).await
}
