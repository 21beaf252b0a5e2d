//! What is logged to stderr, where a terminal obeys what a program would read as text.
//!
//! The texts in a log line may be somebody else's: a name that a client chose, an answer from the network. `tracing` quotes
//! strings, but prints what comes by `Display` as it is. Here every value goes through [`printable`]: one event, one line.

use std::{fmt, io};

use tracing::{Level, Subscriber, field::Field};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::{MakeWriter, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
};

use crate::output::printable;

/// Logs what the filter lets through.
pub(crate) fn start(filter: EnvFilter) {
    // Another subscriber in the same process is possible in tests alone.
    let _ = tracing::subscriber::set_global_default(subscriber(filter, io::stderr));
}

/// A filter for commands that log only what went wrong.
pub(crate) fn errors() -> EnvFilter {
    EnvFilter::default().add_directive(Level::ERROR.into())
}

fn subscriber(
    filter: EnvFilter,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> impl Subscriber + for<'a> LookupSpan<'a> {
    let fields = tracing_subscriber::fmt::format::debug_fn(write_field).delimited(" ");
    tracing_subscriber::registry()
        .with(filter)
        .with(tracing_subscriber::fmt::layer().fmt_fields(fields).with_writer(writer))
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = printable(&format!("{value:?}"));
    match field.name() {
        "message" => write!(writer, "{value}"),
        name => write!(writer, "{name}={value}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex, PoisonError},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_others_wrote_cannot_fake_a_line_of_the_log_or_move_the_cursor() {
        let hostile = "a\n2026-11-22 ERROR all is lost\r\u{1b}[2J\u{9b}1m\u{202e}b";
        let written = Written::default();
        let to = written.clone();
        let subscriber = subscriber(EnvFilter::new("info"), move || to.clone());
        tracing::subscriber::with_default(subscriber, || {
            let error = io::Error::other(hostile);
            let as_error: &(dyn std::error::Error + 'static) = &error;
            tracing::info!(text = hostile, shown = %hostile, debugged = ?hostile, as_error, "{hostile}");
        });
        let log = String::from_utf8_lossy(&written.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
        assert_eq!(log.lines().count(), 1, "{log:?}");
        for name in ["text=", "shown=", "debugged=", "as_error="] {
            assert!(log.contains(name), "{name} in {log}");
        }
        let ours = |log: &str| log.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "").replace("\u{1b}[32m", "");
        let unsafe_left = ours(log.trim_end_matches('\n')).chars().find(|c| c.is_control() || *c == '\u{202e}');
        assert_eq!(unsafe_left, None, "{log:?}");
    }
}
