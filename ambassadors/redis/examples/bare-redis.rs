//! The least that takes and settles what a list or a stream holds by the redis crate, and loses nothing when it dies: LMOVE and LREM, or
//! XREADGROUP and XACK. `bench redis` holds the ambassador to it. Writes the seconds it took to stdout.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};

/// Of each its id and its fields.
type Entries = Vec<(String, Value)>;

/// Takes and settles all there is, on one connection.
#[derive(Debug, Parser)]
struct Args {
    #[arg(long, env = "LONGSHORE_URL", hide_env_values = true)]
    url: String,
    #[arg(long)]
    list: Option<String>,
    #[arg(long, conflicts_with = "list", required_unless_present = "list")]
    stream: Option<String>,
    /// Of a stream: the group, which is there.
    #[arg(long, default_value = "bare")]
    group: String,
    /// Of a stream: how many entries are taken before they are settled, by all together.
    #[arg(long)]
    window: usize,
    /// How many messages are worked on at once.
    #[arg(long)]
    in_flight: NonZeroUsize,
    #[arg(long)]
    count: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let client = redis::Client::open(args.url.as_str()).context("read the URL")?;
    let connection = client.get_multiplexed_async_connection().await.context("connect")?;
    let began = Instant::now();
    let workers = (0..args.in_flight.get()).map(|worker| work(&args, connection.clone(), worker));
    let settled: usize = try_join_all(workers).await?.into_iter().sum();
    let took = began.elapsed();
    ensure!(settled == args.count, "settled {settled} of {}", args.count);
    writeln!(std::io::stdout(), "{}", took.as_secs_f64()).context("say how long it took")
}

/// Until nothing is left. How many it settled.
async fn work(args: &Args, connection: MultiplexedConnection, worker: usize) -> Result<usize> {
    match (&args.list, &args.stream) {
        (Some(list), _) => elements(connection, list, worker).await,
        (None, Some(stream)) => {
            let count = args.window.div_ceil(args.in_flight.get());
            entries(connection, stream, &args.group, worker, count).await
        }
        (None, None) => Ok(0),
    }
}

async fn elements(mut connection: MultiplexedConnection, list: &str, worker: usize) -> Result<usize> {
    let processing = format!("{list}:processing:{worker}");
    let mut settled = 0;
    loop {
        let taking = cmd("LMOVE").arg(list).arg(&processing).arg("LEFT").arg("RIGHT").take();
        let taken: Option<Vec<u8>> = taking.query_async(&mut connection).await.context("take an element")?;
        let Some(element) = taken else { return Ok(settled) };
        let settling = cmd("LREM").arg(&processing).arg(1).arg(element).take();
        settled += settling.query_async::<usize>(&mut connection).await.context("settle an element")?;
    }
}

async fn entries(
    mut connection: MultiplexedConnection,
    stream: &str,
    group: &str,
    worker: usize,
    count: usize,
) -> Result<usize> {
    let mut settled = 0;
    loop {
        let mut taking = cmd("XREADGROUP").arg("GROUP").arg(group).arg(worker).arg("COUNT").arg(count).take();
        taking.arg("STREAMS").arg(stream).arg(">");
        let taken: Option<Vec<(String, Entries)>> =
            taking.query_async(&mut connection).await.context("take entries")?;
        let Some(taken) = taken else { return Ok(settled) };
        for (id, _) in taken.into_iter().flat_map(|(_, entries)| entries) {
            let settling = cmd("XACK").arg(stream).arg(group).arg(id).take();
            settled += settling.query_async::<usize>(&mut connection).await.context("settle an entry")?;
        }
    }
}
