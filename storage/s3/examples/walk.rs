//! Lists everything below a prefix, and says what that took: `walk [S3 FLAGS] [--parallelism N] s3://BUCKET/PREFIX`.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use futures_util::TryStreamExt;
use storage::Uri;
use storage_s3::{Listing, Location, S3, S3Args, TransferArgs, Walk};

#[derive(Debug, Parser)]
struct Args {
    /// What to list.
    #[arg(value_parser = Uri::parse)]
    uri: Uri,
    /// The most requests at once.
    #[arg(long, default_value_t = 8)]
    parallelism: usize,
    /// With version ids.
    #[arg(long)]
    versions: bool,
    #[command(flatten)]
    s3: S3Args,
}

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is there to be looked at")]
async fn main() -> ExitCode {
    let Args { uri, parallelism, versions, s3 } = Args::parse();
    let began = Instant::now();
    let walked = async {
        let at = Location::parse(&uri)?;
        let of = if versions { Listing::Versions } else { Listing::Objects };
        let walk = Walk { prefix: at.key, parallelism, of, ..Walk::default() };
        let pages = S3::new(s3, TransferArgs::default()).bucket(&at.bucket).walk(walk);
        pages
            .try_fold((0, 0), async |(objects, requests), page| {
                Ok((objects + page.objects.len(), requests + page.requests))
            })
            .await
    };
    match walked.await {
        Ok((objects, requests)) => {
            println!("{objects} objects by {requests} requests in {:?}", began.elapsed());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
