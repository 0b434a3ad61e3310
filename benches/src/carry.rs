//! Lists, fetches and puts as our programs do, by the store's own code: what `bench s3` measures beside other clients.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use futures_util::TryStreamExt;
use storage::Meter;
use storage::Uri;
use storage_s3::{Bucket, Listed, Location, S3, S3Args, ToFetch, ToUpload, TransferArgs, Upload, Walk, Wanted};

/// Lists, fetches and puts as our programs do.
#[derive(Debug, Parser)]
#[command(name = "s3-carry", max_term_width = 120, after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    act: Act,
    #[command(flatten)]
    s3: S3Args,
    #[command(flatten)]
    transfer: TransferArgs,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Prints every key below a URI, as an ambassador reads them, in no order.
    List {
        /// The beginning of the keys.
        #[arg(value_parser = Uri::parse)]
        uri: Uri,
        /// The most listing requests at once, as s3-ambassador has it.
        #[arg(long, default_value_t = 8)]
        list_concurrency: usize,
    },
    /// Fetches everything below a URI into a directory, each exactly the version that the listing showed, as a worker does.
    Get {
        /// The beginning of the keys.
        #[arg(value_parser = Uri::parse)]
        uri: Uri,
        /// To where; what stands in a key after its last slash names the file.
        dir: PathBuf,
    },
    /// Puts all files of a directory below a URI, as a worker publishes them.
    Put {
        /// From where.
        dir: PathBuf,
        /// The beginning of the keys.
        #[arg(value_parser = Uri::parse)]
        uri: Uri,
    },
}

const EXAMPLES: &str = "\
Examples:
  s3-carry list s3://videos/
  s3-carry get s3://videos/2026/ /dev/shm/videos --transfer-memory 64MiB
  s3-carry put /dev/shm/videos s3://results/";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let run = async {
        let args = Args::parse();
        let s3 = S3::new(args.s3, args.transfer);
        match args.act {
            Act::List { uri, list_concurrency } => list(&s3, &uri, list_concurrency).await,
            Act::Get { uri, dir } => get(&s3, &uri, &dir).await,
            Act::Put { dir, uri } => put(&s3, &dir, &uri).await,
        }
    };
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn below(s3: &S3, uri: &Uri) -> Result<(Bucket, String)> {
    let location = Location::parse(uri)?;
    Ok((s3.bucket(&location.bucket), location.key))
}

async fn list(s3: &S3, uri: &Uri, parallelism: usize) -> Result<()> {
    let (bucket, prefix) = below(s3, uri)?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut pages = bucket.walk(Walk { prefix, parallelism, ..Walk::default() });
    while let Some(page) = pages.try_next().await? {
        for Listed { key, size, etag, .. } in page.objects {
            writeln!(out, "{size} {etag} {key}").context("print a key")?;
        }
    }
    out.flush().context("print the keys")
}

async fn get(s3: &S3, uri: &Uri, dir: &Path) -> Result<()> {
    let (bucket, prefix) = below(s3, uri)?;
    let mut pages = bucket.walk(Walk { prefix, ..Walk::default() });
    let (mut objects, mut bytes) = (Vec::new(), 0);
    while let Some(page) = pages.try_next().await? {
        objects.extend(page.objects.into_iter().map(|Listed { key, size, etag, .. }| {
            bytes += size;
            let name = key.rsplit('/').next().unwrap_or_default();
            let to = dir.join(name);
            ToFetch { to, key, wanted: Wanted { etag: Some(etag), size: Some(size), version_id: None } }
        }));
    }
    ensure!(!objects.is_empty(), "there is nothing below {uri}");
    let meter = Meter::fetching(objects.len() as u64, Some(bytes));
    bucket.fetch_all(objects, &meter).await?;
    Ok(())
}

async fn put(s3: &S3, dir: &Path, uri: &Uri) -> Result<()> {
    let (bucket, prefix) = below(s3, uri)?;
    let files = dir.read_dir().with_context(|| format!("read {}", dir.display()))?;
    let files = files.map(|file| {
        let from = file?.path();
        let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(ToUpload { from, key: format!("{prefix}{name}"), how: Upload::default() })
    });
    let files = files.collect::<std::io::Result<Vec<_>>>().context("read the directory")?;
    let meter = Meter::publishing(files.len() as u64, 0);
    bucket.upload_all(files, &meter).await?;
    Ok(())
}
