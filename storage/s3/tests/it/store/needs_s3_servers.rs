//! On MinIO and on the Versity gateway.

/// Runs a test on each.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn minio() {
                super::$test(test_servers::S3Server::shared_minio()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn versity() {
                super::$test(test_servers::S3Server::shared_versity()).await;
            }
        }
    )+};
}

mod commit;
mod inputs;
mod leftovers;
mod outputs;
mod twins;
