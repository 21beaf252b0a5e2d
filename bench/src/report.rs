//! Figures, their spread, and the row of the table each becomes.

use std::time::Duration;

use serde_json::{Value, json};

/// The Go original, measured on 2026-11-22 on two Xeon cores, pinned to one of them, by a harness of the same make.
pub(crate) struct Original {
    /// Start and empty invocation of `bare` in that run: everything else compares as a multiple of them.
    pub(crate) floor_start: f64,
    pub(crate) floor_cpu: f64,
    pub(crate) cold_start: f64,
    pub(crate) connect_cpu: f64,
    pub(crate) chat_cpu: f64,
}

/// Milliseconds.
pub(crate) const ORIGINAL: Original =
    Original { floor_start: 1.3, floor_cpu: 0.054, cold_start: 4.79, connect_cpu: 0.332, chat_cpu: 0.211 };
/// When.
pub(crate) const ORIGINAL_DATE: &str = "2026-11-22";

/// Several measurements of the same thing.
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn new(figures: impl IntoIterator<Item = f64>) -> Figures {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        Figures(figures)
    }

    pub(crate) fn millis(durations: impl IntoIterator<Item = Duration>) -> Figures {
        Figures::new(durations.into_iter().map(millis))
    }

    pub(crate) fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// From the first tenth to the last: one disturbance says nothing.
    pub(crate) fn spread(&self) -> String {
        let at = |share: f64| self.0.get(((self.0.len().max(1) - 1) as f64 * share).round() as usize);
        let digits = if self.median() < 1.0 {
            3
        } else if self.median() < 10.0 {
            2
        } else {
            1
        };
        match (at(0.1), at(0.9)) {
            (Some(low), Some(high)) => format!("{low:.digits$}–{high:.digits$}"),
            _ => String::new(),
        }
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Rows for scripts/bench.py, printed as they come.
#[derive(Default)]
pub(crate) struct Report(Vec<Value>);

/// One row: what was found, and what it must be.
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) before: Option<String>,
    pub(crate) value: f64,
    pub(crate) unit: &'a str,
    pub(crate) spread: String,
    /// At most this.
    pub(crate) limit: Option<f64>,
    /// How the limit comes about, if it is not simply this number.
    pub(crate) limit_text: Option<String>,
    /// Whatever else must hold.
    pub(crate) sound: bool,
    pub(crate) note: Option<String>,
}

impl Default for Row<'_> {
    fn default() -> Self {
        Row {
            name: "",
            before: None,
            value: f64::NAN,
            unit: "ms",
            spread: String::new(),
            limit: None,
            limit_text: None,
            sound: true,
            note: None,
        }
    }
}

impl Report {
    pub(crate) fn add(&mut self, row: Row<'_>) {
        let meets = row.limit.map(|limit| row.value <= limit && row.sound);
        let target = row.limit.map(|limit| row.limit_text.unwrap_or_else(|| format!("≤ {limit} {}", row.unit)));
        let verdict = meets.map_or("", |meets| if meets { "meets" } else { "MISSES" });
        let (name, value, unit, spread) = (row.name, row.value, row.unit, row.spread);
        println!(
            "{name:<58} {value:>9.3} {unit:<7} {spread:<16} {:<26} {verdict}",
            target.as_deref().unwrap_or_default()
        );
        if let Some(note) = &row.note {
            println!("    {note}");
        }
        self.0.push(json!({
            "name": name, "before": row.before, "value": (value * 1000.0).round() / 1000.0, "unit": unit,
            "spread": (!spread.is_empty()).then_some(spread), "target": target, "meets": meets, "note": row.note,
        }));
    }

    pub(crate) fn into_json(self, machine: &str) -> Value {
        json!({"machine": machine, "rows": self.0})
    }
}
