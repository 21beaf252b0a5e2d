//! What commands print: a table for people, JSON lines or CSV for programs, to stdout or to a file that is there whole or
//! not at all.
//!
//! Text of messages is somebody else's: for a terminal, control characters and the like are shown and not obeyed.

use std::{
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tempfile::NamedTempFile;

/// How and where to print.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// Table for people, JSON lines or CSV for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// File to write instead of stdout; it is there whole or not at all
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Jsonl,
    Csv,
}

/// A column: its name, and its width in a table. The last one may be longer.
pub(crate) type Column = (&'static str, usize);

/// An open output. Rows are written as they come.
pub(crate) struct Sheet {
    format: Format,
    columns: &'static [Column],
    to: To,
    /// The header is not written yet.
    is_headless: bool,
    /// Rows go to a terminal, which obeys what a program would read as text.
    is_terminal: bool,
}

enum To {
    Stdout(BufWriter<io::Stdout>),
    File { file: BufWriter<NamedTempFile>, path: PathBuf },
}

impl Output {
    /// A count on stderr while rows are written; none if they go to the same terminal.
    pub(crate) fn progress(&self, what: &'static str) -> ProgressBar {
        match self.output.is_none() && io::stdout().is_terminal() {
            true => ProgressBar::hidden(),
            false => progress(what),
        }
    }

    pub(crate) fn open(&self, columns: &'static [Column]) -> Result<Sheet> {
        let to = match &self.output {
            None => To::Stdout(BufWriter::new(io::stdout())),
            Some(path) => {
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| ".".as_ref());
                let file = NamedTempFile::new_in(folder).with_context(|| format!("--output {}", path.display()))?;
                To::File { file: BufWriter::new(file), path: path.clone() }
            }
        };
        let is_terminal = self.output.is_none() && io::stdout().is_terminal();
        Ok(Sheet { format: self.format, columns, to, is_headless: true, is_terminal })
    }
}

impl Sheet {
    /// One row: its cells for a table or CSV, and the whole of it for JSON.
    pub(crate) fn row(&mut self, cells: &[String], whole: &impl Serialize) -> Result<()> {
        let line = match self.format {
            Format::Table => self.table_line(cells),
            Format::Jsonl => escaped(&serde_json::to_string(whole)?) + "\n",
            Format::Csv => self.csv_line(cells)?,
        };
        self.header()?;
        self.write(&line)
    }

    fn header(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.is_headless) {
            return Ok(());
        }
        let names: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        match self.format {
            Format::Table => self.write(&self.table_line(&names)),
            Format::Csv => self.write(&self.csv_line(&names)?),
            Format::Jsonl => Ok(()),
        }
    }

    /// Shows what has been written so far.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match &mut self.to {
            To::Stdout(out) => out.flush(),
            To::File { file, .. } => file.flush(),
        }
        .context("writing")
    }

    /// Ends it; a file appears under its name now. CSV without rows has its header still: programs look for it.
    pub(crate) fn finish(mut self) -> Result<()> {
        if self.format == Format::Csv {
            self.header()?;
        }
        self.flush()?;
        if let To::File { file, path } = self.to {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error).context("writing")?;
            file.persist(&path).with_context(|| format!("--output {}", path.display()))?;
        }
        Ok(())
    }

    fn table_line(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (index, (cell, (_, width))) in cells.iter().zip(self.columns).enumerate() {
            let cell = printable(cell);
            line.push_str(&cell);
            if index + 1 < self.columns.len() {
                let missing = width.saturating_sub(cell.chars().count());
                line.extend(std::iter::repeat_n(' ', missing + 2));
            }
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }

    /// A file or a pipe gets the very text; on a terminal there is no way to show it that could be read back.
    fn csv_line(&self, cells: &[String]) -> Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        match self.is_terminal {
            true => writer.write_record(cells.iter().map(|cell| printable(cell)))?,
            false => writer.write_record(cells)?,
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }

    fn write(&mut self, text: &str) -> Result<()> {
        match &mut self.to {
            To::Stdout(out) => out.write_all(text.as_bytes()),
            To::File { file, .. } => file.write_all(text.as_bytes()),
        }
        .context("writing")
    }
}

/// Text as it may go to a terminal: on one line, no escape sequences, no change of writing direction.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) { shown.push(c) } else { shown.extend(c.escape_default()) }
    }
    shown
}

/// An error for people: without what the SDK adds for who debugs it, in parentheses.
pub(crate) fn brief(error: &anyhow::Error) -> String {
    let whole = format!("{error:#}");
    let kinds = ["ConstructionFailure", "TimeoutError", "DispatchFailure", "ResponseError", "ServiceError"];
    let added = kinds.iter().filter_map(|kind| whole.find(&format!(" ({kind}(")));
    printable(&whole[..added.min().unwrap_or(whole.len())])
}

/// JSON that means the same and may go to a terminal. `serde_json` escapes only what JSON requires, and such characters
/// stand within strings alone.
fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_plain(c) { shown.push(c) } else { shown.push_str(&format!("\\u{:04x}", u32::from(c))) }
    }
    shown
}

/// Whether a character only shows itself: no control, no line of its own, no change of writing direction.
fn is_plain(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !directs && !matches!(c, '\u{2028}' | '\u{2029}')
}

/// A count that moves on stderr, if somebody is looking.
pub(crate) fn progress(what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} {msg} ({per_sec}, {elapsed})") {
        bar.set_style(style);
    }
    bar.with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_says_cannot_move_the_cursor_or_fake_a_line() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{202e}d\u{0}🙂é"), "a\\u{1b}[2Jb\\r\\nc\\u{202e}d\\u{0}🙂é");
    }

    #[test]
    fn json_for_a_terminal_means_what_it_meant() -> serde_json::Result<()> {
        let text = "a\u{1b}b\u{9b}2Jc\u{202e}d\u{7f}\u{2028}🙂é\n";
        let json = escaped(&serde_json::to_string(text)?);
        assert_eq!(json, "\"a\\u001bb\\u009b2Jc\\u202ed\\u007f\\u2028🙂é\\n\"");
        assert_eq!(serde_json::from_str::<String>(&json)?, text);
        Ok(())
    }
}
