//! What is measured, a file for each.

mod closed;
mod dispatch;
mod first_list;
mod footprint;
mod idle;
mod kafka;
mod overhead;
mod pipelines;
mod queue;
mod queue_variations;
mod rabbitmq;
mod redis;
mod s3;
mod s3_catalog;
mod started;
mod warm_list;

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use crate::harness::{Bench, Row};

/// One measurement, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// All of these.
    All,
    /// From the start of the ambassador to its whole list of 100,000 and of 1,000,000 files, beside `find` and Node.
    FirstList,
    /// A whole list of a million names that is there already, and one that has not changed.
    WarmList,
    /// From close(2) to the name in the list, beside bare inotify.
    Closed,
    /// Memory with nothing and with a million files listed; from the start to readiness.
    Footprint,
    /// System calls and wake-ups while nothing happens, and what a rescan costs.
    Idle,
    /// From close(2) to the worker that runs, beside spawning it at once.
    Started,
    /// A worker around a small script, beside the script alone.
    Overhead,
    /// Chains of stages as one worker, beside the same one after another; from the death of a stage to the adapter's exit.
    Pipelines,
    /// `true` for thousands of items, beside xargs and GNU parallel.
    Dispatch,
    /// Listing, fetching and putting objects, beside s5cmd, aws-cli and rclone.
    S3,
    /// Memory of s3-ambassador with nothing and with a million objects listed.
    S3Catalog,
    /// Indexing a topic, beside kcat reading it; items of it, beside a source that holds them in memory; ten million records in 64 MiB.
    Kafka,
    /// Getting and settling the messages of a RabbitMQ queue, beside a bare loop of lapin and a Python processor.
    Rabbitmq,
    /// Getting and settling what a Redis list and a stream hold, beside bare loops of the redis crate.
    Redis,
    /// The same of a quorum queue, by other windows and of larger messages; what memory remembered names take.
    QueueVariations,
    /// Size and start of the programs that link the AWS SDK, beside the same without it where `without-s3` has them.
    S3Programs,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// The measurements that were asked for, each once.
pub(crate) fn chosen(names: &[Name]) -> Vec<Name> {
    let all = Name::value_variants().iter().filter(|name| **name != Name::All);
    all.filter(|name| names.contains(name) || names.contains(&Name::All)).copied().collect()
}

/// Measures it.
///
/// # Errors
/// What keeps it from being measured.
pub(crate) fn measure(name: Name, bench: &Bench) -> Result<Vec<Row>> {
    match name {
        Name::All => Ok(Vec::new()),
        Name::FirstList => first_list::measure(bench),
        Name::WarmList => warm_list::measure(bench),
        Name::Closed => closed::measure(bench),
        Name::Footprint => footprint::measure(bench),
        Name::Idle => idle::measure(bench),
        Name::Started => started::measure(bench),
        Name::Overhead => overhead::measure(bench),
        Name::Pipelines => pipelines::measure(bench),
        Name::Dispatch => dispatch::measure(bench),
        Name::S3 => s3::measure(bench),
        Name::S3Catalog => s3_catalog::measure(bench),
        Name::Kafka => kafka::measure(bench),
        Name::Rabbitmq => rabbitmq::measure(bench),
        Name::Redis => redis::measure(bench),
        Name::QueueVariations => queue_variations::measure(bench),
        Name::S3Programs => s3::programs(bench),
    }
}
