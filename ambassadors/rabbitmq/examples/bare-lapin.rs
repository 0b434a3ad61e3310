//! The least that takes and acknowledges a queue's messages by lapin, which `bench rabbitmq` holds the ambassador to. Writes the seconds
//! it took to stdout.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

/// How long it stays when all is done, which does not count.
const LINGER: Duration = Duration::from_secs(1);

/// Takes and acknowledges so many messages, one after the other.
#[derive(Debug, Parser)]
struct Args {
    #[arg(long, env = "LONGSHORE_URL", hide_env_values = true)]
    url: String,
    #[arg(long)]
    queue: String,
    /// How many messages may be on the way.
    #[arg(long)]
    prefetch: u16,
    #[arg(long)]
    count: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { url, queue, prefetch, count } = Args::parse();
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.context("connect")?;
    let channel = connection.create_channel().await.context("open a channel")?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.context("say how many may be on the way")?;
    let began = Instant::now();
    let (name, options) = (queue.as_str().into(), BasicConsumeOptions::default());
    let mut consumer =
        channel.basic_consume(name, "".into(), options, FieldTable::default()).await.context("consume")?;
    for _ in 0..count {
        let delivery = consumer.next().await.context("there are so many")?.context("take a message")?;
        delivery.acker.ack(BasicAckOptions::default()).await.context("acknowledge a message")?;
    }
    let took = began.elapsed();
    // A quorum queue has not got the last acknowledgements yet, and forgets those that reach it with the end of their channel.
    tokio::time::sleep(LINGER).await;
    connection.close(200, "done".into()).await.context("take leave")?;
    writeln!(std::io::stdout(), "{}", took.as_secs_f64()).context("say how long it took")
}
