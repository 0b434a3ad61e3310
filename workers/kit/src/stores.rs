//! The stores a worker reaches: files always, `s3:` and `https:` where the build has the feature `s3`.

use storage::{Allowed, Error, Outputs, Uri};

use crate::{JobError, WorkerArgs, verdict};

#[cfg(feature = "s3")]
pub(crate) use self::remote::RemoteArgs;

/// What may be read and where output goes, as the flags say. Does no I/O.
///
/// # Errors
/// 64 for flags that do not go together, 78 for a URI that this build cannot reach.
pub(crate) fn open(args: &WorkerArgs) -> Result<(Allowed, Box<dyn Outputs>), JobError> {
    #[cfg(feature = "s3")]
    let stores = args.remote.stores(&args.output.root)?;
    #[cfg(not(feature = "s3"))]
    let stores = storage::Stores::default();
    let root = &args.output.root;
    let allowed = stores.allow(&args.allow_input).map_err(|error| unreachable(error, &args.allow_input))?;
    let outputs = stores.outputs(root).map_err(|error| unreachable(error, std::slice::from_ref(root)))?;
    Ok((allowed, outputs))
}

/// As whom `s3:` roots are reached, for people; `None` where there are none.
///
/// # Errors
/// Those of the credentials.
#[cfg_attr(not(feature = "s3"), expect(clippy::unused_async, reason = "in builds with s3, it asks"))]
pub(crate) async fn identity(args: &WorkerArgs) -> Result<Option<String>, Error> {
    #[cfg(feature = "s3")]
    if args.allow_input.iter().chain([&args.output.root]).any(|root| root.scheme() == "s3") {
        return args.remote.identity().await.map(Some);
    }
    let _ = args;
    Ok(None)
}

/// A scheme that has no store here may have one in another build.
fn unreachable(error: Error, roots: &[Uri]) -> JobError {
    let is_remote = |root: &Uri| matches!(root.scheme(), "s3" | "https" | "http");
    let lacks_store =
        cfg!(not(feature = "s3")) && matches!(error, Error::Unsupported(_)) && roots.iter().any(is_remote);
    let error = verdict::storage(error);
    if lacks_store {
        error.with_hint("builds with the feature s3, which cargo build makes by default, reach s3: and https: too")
    } else {
        error
    }
}

#[cfg(feature = "s3")]
mod remote {
    //! What only builds with the feature `s3` have.

    use std::time::Duration;

    use clap::Args;
    use contract::exit;
    use sidecar::cli::value;
    use storage::{Error, Stores, Uri};
    use storage_https::{HttpsArgs, HttpsStore};
    use storage_s3::{Patience, PublishMode, S3, S3Args, S3Store, TransferArgs};

    use crate::JobError;

    /// How stores beyond this machine are reached.
    #[derive(Clone, Debug, Args)]
    pub(crate) struct RemoteArgs {
        /// Under which keys output goes to an object store. A file system takes an output whole, by rename, and has no such
        /// choice: there, `attempts` is refused.
        #[arg(long, value_enum, value_name = "MODE", default_value_t = PublishMode::InPlace, help_heading = "Worker")]
        publish: PublishMode,
        #[command(flatten)]
        s3: S3Args,
        /// How long the S3 store may be away before a request to it is given up (exit 69), and with it the attempt.
        #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = value::positive_duration, help_heading = "S3")]
        s3_patience: Duration,
        #[command(flatten)]
        transfer: TransferArgs,
        #[command(flatten)]
        https: HttpsArgs,
    }

    impl RemoteArgs {
        /// All the stores there are, for output below `output`.
        ///
        /// # Errors
        /// 64 where `--publish` asks for what that store has not.
        pub(super) fn stores(&self, output: &Uri) -> Result<Stores, JobError> {
            if self.publish == PublishMode::Attempts && output.scheme() != "s3" {
                let why =
                    format!("--publish attempts is for s3: outputs; {output} is none, and needs it not: leave it out");
                return Err(JobError::new(exit::USAGE, "Usage", why));
            }
            let https = HttpsStore::new(self.https.clone());
            let s3 = S3Store::new(self.s3(), self.publish);
            Ok(Stores::default().with(s3).with(https.plain()).with(https))
        }

        /// As whom objects are read and written.
        pub(super) async fn identity(&self) -> Result<String, Error> {
            Ok(self.s3().identity().await?.to_string())
        }

        fn s3(&self) -> S3 {
            let patience = Patience { total: self.s3_patience, ..Patience::WORKER };
            S3::new(self.s3.clone(), self.transfer.clone()).with_patience(patience)
        }
    }
}

/// Of a build that has files alone, as `make demo` makes it. `cargo test -p worker-kit` is one; that of the workspace is none.
#[cfg(all(test, not(feature = "s3")))]
mod tests {
    use clap::Parser;
    use contract::exit;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        worker: WorkerArgs,
    }

    fn opened(allow_input: &str, output: &str) -> Result<(), JobError> {
        let flags = Flags::try_parse_from(["worker", "--allow-input", allow_input, "--output", output]);
        open(&flags.expect("flags that every build has").worker).map(drop)
    }

    #[test]
    fn what_a_build_without_s3_cannot_reach_is_78_and_it_says_which_can() {
        opened("/in/", "/out/{key}/").expect("files are always reached");
        for (allow_input, output, names) in [
            ("s3://videos/", "/out/{key}/", "s3://videos/"),
            ("https://h.test/videos/", "/out/{key}/", "https://h.test/videos/"),
            ("/in/", "s3://results/faces/{key}/", "s3://results/faces/"),
            ("/in/", "https://h.test/results/{key}/", "https://h.test/results/"),
        ] {
            let error = opened(allow_input, output).expect_err(names);
            assert_eq!((error.code, error.reason), (exit::CONFIG, "Unsupported"), "{names}");
            for says in [names, "file: only", "the feature s3", "cargo build"] {
                assert!(error.message.contains(says), "{says:?} is not in {:?}", error.message);
            }
        }
        // What no build reaches is promised of none.
        let error = opened("gs://videos/", "/out/{key}/").expect_err("no store of ours");
        assert_eq!(error.code, exit::CONFIG);
        assert!(!error.message.contains("feature s3"), "{}", error.message);
    }

    #[test]
    fn flags_of_stores_beyond_this_machine_are_none() {
        for flag in
            ["--s3-endpoint-url=http://h.test", "--publish=in-place", "--https-timeout=1h", "--transfer-memory=1MiB"]
        {
            let flags = ["worker", "--output", "/out/{key}/", flag];
            let error = Flags::try_parse_from(flags).map(|_| ()).expect_err(flag);
            assert_eq!(error.kind(), clap::error::ErrorKind::UnknownArgument, "{flag}");
        }
    }
}
