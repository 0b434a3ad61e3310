//! Measures what our programs cost, beside what people would use instead, on this machine and in the same run.

mod clock;
mod group;
mod harness;
mod http;
mod machine;
mod program;
mod rows;
mod sample;
mod tree;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::harness::{Bench, BenchArgs, Row};

/// Measures what our programs cost, beside what people would use instead, on this machine and in the same run.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 120, after_help = EXAMPLES)]
struct Args {
    /// What to measure.
    #[arg(value_enum, required = true)]
    rows: Vec<rows::Name>,
    #[command(flatten)]
    bench: BenchArgs,
    /// Print a Markdown table, as docs/performance.md has it; the default where stdout is no terminal.
    #[arg(long)]
    markdown: bool,
}

const EXAMPLES: &str = "\
Examples:
  make bench
  bench all --markdown
  bench first-list --runs 9 --scale 0.1
  bench idle footprint";

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures row after row, and prints them all at the end; one that cannot be measured ends in an error, after the others
/// were printed.
fn run(args: Args) -> anyhow::Result<()> {
    let bench = Bench::new(args.bench)?;
    let mut rows: Vec<Row> = Vec::new();
    let mut failed = Vec::new();
    for name in rows::chosen(&args.rows) {
        bench.say(format_args!("{name}"));
        match rows::measure(name, &bench) {
            Ok(measured) => rows.extend(measured),
            Err(error) => failed.push(error.context(format!("measure {name}"))),
        }
    }
    let mut out = std::io::stdout().lock();
    let markdown = args.markdown || !out.is_terminal();
    writeln!(out, "{}", machine::line(bench.scratch()))?;
    writeln!(out)?;
    write!(out, "{}", harness::table(&rows, markdown))?;
    match failed.pop() {
        None => Ok(()),
        Some(error) => {
            for other in &failed {
                bench.say(format_args!("error: {other:#}"));
            }
            Err(error)
        }
    }
}
