#![doc = include_str!("../README.md")]

mod bucket;
mod certificates;
mod cluster;
mod kafka;
mod kept;
mod proxy;
mod rabbitmq;
mod redis;
mod relay;
mod role;
mod s3;
mod server;

/// The client that [`S3Server::client`] gives.
pub use aws_sdk_s3;
pub use bucket::Bucket;
pub use certificates::{Certificates, Identity};
pub use cluster::{Cluster, JobEnd, Namespace, base_image};
pub use kafka::{Kafka, KafkaListener, KafkaOptions, KafkaResource};
pub use kept::free_port;
pub use proxy::{Proxy, Seen, Spoil};
pub use rabbitmq::RabbitMq;
pub use redis::{Redis, Sentinel};
pub use relay::Relay;
pub use s3::S3Server;
pub use server::Server;

use std::path::PathBuf;

/// A program of others' that talks to queues, by its name: `kcat`, `redis-cli`, or `python`, which has `confluent_kafka` and `pika`.
pub fn queue_client(name: &str) -> PathBuf {
    kept::made_by("queue-clients/setup").join(name)
}
