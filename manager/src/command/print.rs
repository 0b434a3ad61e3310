//! Results on stdout: tables as kubectl draws them, and JSON.

use std::io::{self, Write};

use serde::Serialize;

/// Prints one line. A reader that has gone away (`| head`) is an error, which ends the command.
pub(super) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// A table that is printed as it grows: what comes first decides how wide its columns are.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<&'static str>,
    widths: Vec<usize>,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), widths: Vec::new() }
    }

    /// Prints rows, and the head before the first of them.
    pub(super) fn print(&mut self, rows: &[Vec<String>]) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.widths.is_empty() {
            self.widths = self.head.iter().map(|word| word.len()).collect();
            for row in rows {
                for (width, cell) in self.widths.iter_mut().zip(row) {
                    *width = (*width).max(cell.chars().count());
                }
            }
            let head: Vec<String> = self.head.iter().map(ToString::to_string).collect();
            self.row(&mut out, &head)?;
        }
        for row in rows {
            self.row(&mut out, row)?;
        }
        out.flush()
    }

    fn row(&self, out: &mut impl Write, cells: &[String]) -> io::Result<()> {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&self.widths) {
            line.push_str(&format!("{cell:<width$}   "));
        }
        writeln!(out, "{}", line.trim_end())
    }
}

/// A list as one JSON document that is printed as it grows.
#[derive(Debug)]
pub(super) struct JsonList {
    kind: &'static str,
    any: bool,
}

impl JsonList {
    pub(super) fn new(kind: &'static str) -> Self {
        Self { kind, any: false }
    }

    pub(super) fn print(&mut self, items: &[impl Serialize]) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        for item in items {
            self.separate(&mut out)?;
            serde_json::to_writer(&mut out, item)?;
        }
        out.flush()
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.any {
            self.separate(&mut out)?;
        }
        writeln!(out, "\n]}}")
    }

    fn separate(&mut self, out: &mut impl Write) -> io::Result<()> {
        let first = !std::mem::replace(&mut self.any, true);
        match first {
            true => writeln!(out, "{{\"kind\":{:?},\"apiVersion\":\"v1\",\"items\":[", self.kind),
            false => writeln!(out, ","),
        }
    }
}

/// The first line of a text, of at most so many characters and without control characters.
pub(super) fn short(text: &str, most: usize) -> String {
    let clean = text.lines().next().unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut cut: String = clean.clone().take(most).collect();
    if clean.count() > most {
        cut.pop();
        cut.push('…');
    }
    cut
}
