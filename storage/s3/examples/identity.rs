//! Says who we are to a store, and lists the beginning of a bucket: `identity [S3 FLAGS] [s3://BUCKET/PREFIX]`.

use std::process::ExitCode;

use clap::Parser;
use storage::{Error, Uri};
use storage_s3::{ListQuery, Location, Patience, S3, S3Args, TransferArgs};

#[derive(Debug, Parser)]
struct Args {
    /// What to list.
    #[arg(value_parser = Uri::parse)]
    uri: Option<Uri>,
    /// Do it all once more for each line of the standard input.
    #[arg(long)]
    each_line: bool,
    /// Log all that there is to log.
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    s3: S3Args,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is there to be looked at")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let s3 = S3::new(args.s3.clone(), TransferArgs::default()).with_patience(Patience::AMBASSADOR);
    if args.trace {
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::stderr).init();
    }
    let mut lines = std::io::stdin().lines();
    loop {
        match run(&s3, args.uri.as_ref()).await {
            Ok(lines) => lines.iter().for_each(|line| println!("{line}")),
            Err(error) => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
                eprintln!("{}: {error}{source}", class(&error));
                return ExitCode::FAILURE;
            }
        }
        if !args.each_line || lines.next().is_none() {
            return ExitCode::SUCCESS;
        }
    }
}

async fn run(s3: &S3, uri: Option<&Uri>) -> Result<Vec<String>, Error> {
    let mut lines = vec![s3.identity().await?.to_string()];
    if let Some(uri) = uri {
        let Location { bucket, key } = Location::parse(uri)?;
        let page = s3.bucket(&bucket).list(&ListQuery { prefix: key, ..ListQuery::default() }).await?;
        lines.extend(page.objects.into_iter().map(|object| format!("{} {}", object.size, object.key)));
    }
    Ok(lines)
}

fn class(error: &Error) -> &'static str {
    match error {
        Error::Forbidden(_) => "forbidden",
        Error::NotFound(_) => "not found",
        Error::Unavailable { .. } => "unavailable",
        Error::Unsupported(_) => "unsupported",
        _ => "other",
    }
}
