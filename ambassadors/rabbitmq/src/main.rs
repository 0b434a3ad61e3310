//! Serves a RabbitMQ queue through the source contract.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidecar::cli::main::<rabbitmq_ambassador::Args>(rabbitmq_ambassador::run)
}
