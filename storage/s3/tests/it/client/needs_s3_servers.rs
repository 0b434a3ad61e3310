//! The client against stores that check what it sends.

mod absence;
mod listing;
mod operations;
mod refusals;
mod tls;

use test_servers::S3Server;

/// The stores that everything must hold on.
fn stores() -> [&'static S3Server; 2] {
    [S3Server::shared_minio(), S3Server::shared_versity()]
}
