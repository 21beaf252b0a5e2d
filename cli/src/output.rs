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
    /// Not yet written.
    has_header: bool,
}

enum To {
    Stdout(BufWriter<io::Stdout>),
    File { file: BufWriter<NamedTempFile>, path: PathBuf },
}

impl Output {
    pub(crate) fn open(&self, columns: &'static [Column]) -> Result<Sheet> {
        let to = match &self.output {
            None => To::Stdout(BufWriter::new(io::stdout())),
            Some(path) => {
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| ".".as_ref());
                let file = NamedTempFile::new_in(folder).with_context(|| format!("--output {}", path.display()))?;
                To::File { file: BufWriter::new(file), path: path.clone() }
            }
        };
        Ok(Sheet { format: self.format, columns, to, has_header: true })
    }
}

impl Sheet {
    /// One row: its cells for a table or CSV, and the whole of it for JSON.
    pub(crate) fn row(&mut self, cells: &[String], whole: &impl Serialize) -> Result<()> {
        let line = match self.format {
            Format::Table => self.table_line(cells),
            Format::Jsonl => serde_json::to_string(whole)? + "\n",
            Format::Csv => csv_line(cells)?,
        };
        if std::mem::take(&mut self.has_header) {
            let names: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            match self.format {
                Format::Table => {
                    let header = self.table_line(&names);
                    self.write(&header)?;
                }
                Format::Csv => self.write(&csv_line(&names)?)?,
                Format::Jsonl => {}
            }
        }
        self.write(&line)
    }

    /// Shows what has been written so far.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match &mut self.to {
            To::Stdout(out) => out.flush(),
            To::File { file, .. } => file.flush(),
        }
        .context("writing")
    }

    /// Ends it; a file appears under its name now.
    pub(crate) fn finish(mut self) -> Result<()> {
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

    fn write(&mut self, text: &str) -> Result<()> {
        match &mut self.to {
            To::Stdout(out) => out.write_all(text.as_bytes()),
            To::File { file, .. } => file.write_all(text.as_bytes()),
        }
        .context("writing")
    }
}

fn csv_line(cells: &[String]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Text as it may go to a terminal: on one line, no escape sequences, no change of writing direction.
pub(crate) fn printable(text: &str) -> String {
    let plain = |c: char| {
        !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if plain(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
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
}
