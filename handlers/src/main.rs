//! The `bootstrap` of every Lambda: runs the function that `_HANDLER` names.

use handlers::{Function, Roots, Settings, sdk_from_env};
use lambda_runtime::{Error, run, tracing::subscriber};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log_to_stdout();
    let handler = std::env::var("_HANDLER").unwrap_or_default();
    let function = Function::named(&handler).ok_or_else(|| format!("_HANDLER is `{handler}`, which is no function"))?;
    // As a text: what `main` returns is printed by its `Debug`.
    let roots = Roots::from_env().map_err(|error| error.to_string())?;
    let settings = Settings::from_env(&roots).map_err(|error| error.to_string())?;
    let sdk = sdk_from_env(&roots).map_err(|error| error.to_string())?;
    let service = function.service(&settings, &sdk);
    run(lambda_runtime::service_fn(move |event| service(event))).await
}

/// As `lambda_runtime` would, by the variables of Lambda's logging controls, but for directives by module in `RUST_LOG`:
/// the regular expressions they need are a tenth of a megabyte that every start would load.
fn log_to_stdout() {
    let set = |name| std::env::var(name).ok();
    let level = set("AWS_LAMBDA_LOG_LEVEL").or_else(|| set("RUST_LOG")).and_then(|level| level.parse().ok());
    let level = level.unwrap_or(subscriber::filter::LevelFilter::INFO);
    let lines = subscriber::fmt().with_target(false).without_time().with_max_level(level);
    if set("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("json")) {
        lines.json().init();
    } else {
        lines.init();
    }
}
