//! One item's way through a worker: read, look, fetch, run, commit.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use contract::marker::MarkedItem;
use contract::{Key, attempt, exit};
use rustix::fs::{Mode, OFlags};
use sidecar::{Shutdown, fault};
use storage::{Allowed, Claim, Committed, Draft, Error, Input, Inputs, Object, Outputs, Publication, Standing, Uri};
use tracing::{info, warn};

use crate::account::{Account, End};
use crate::context::{LastCommand, Runner, cancelled, passing};
use crate::environment::Environment;
use crate::item::WorkItem;
use crate::scratch::{self, Scratch};
use crate::{Context, Job, JobError, Progress, WorkerArgs, verdict};

/// The most that is taken from `RESULT_FILE`, in bytes.
const RESULT_MAX: u64 = 64 * 1024;

/// What a worker was set up with: everything but the item.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) args: &'a WorkerArgs,
    pub(crate) allowed: Allowed,
    pub(crate) outputs: Box<dyn Outputs>,
    pub(crate) environment: Environment,
    pub(crate) shutdown: Shutdown,
}

/// An input that is allowed, and where it is.
struct Admitted<'a> {
    root: &'a dyn Inputs,
    key: Key,
    object: Object,
}

/// Does one item, and notes on the way what the report will say.
pub(crate) async fn run<J: Job>(setup: &Setup<'_>, job: J, account: &mut Account) -> Result<End, JobError> {
    let args = setup.args;
    fault::point("worker.item.before").map_err(passing)?;
    let path = args.work_item_file.clone();
    let read = tokio::task::spawn_blocking(move || WorkItem::read(path.as_deref()));
    let item = read.await.map_err(|e| JobError::new(exit::BUG, "Bug", format!("reading the item file: {e}")))??;
    fault::point("worker.item.after").map_err(passing)?;

    account.item = args.work_item_name.as_ref().or(item.name.as_ref()).cloned();
    let admitted = admit(&setup.allowed, &item)?;
    let (name, key) = item.identify(args.work_item_name.as_ref(), admitted.first().map(|first| first.key.clone()))?;
    account.item = Some(name.clone());
    let place = args.output.place(&key, &name).map_err(|error| verdict::place(&error, &args.output.root))?;
    account.output = Some(setup.outputs.uri(&place));
    info!(item = %name, output = account.output, attempt = args.attempt, "item read");

    let marked = MarkedItem { name: name.clone(), key, version: item.version().to_owned() };
    let attempt = account.attempt.clone();
    let claim = Claim { place, item: marked, revision: args.revision, attempt, number: args.attempt };
    let tmp = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    scratch::sweep(&tmp).await;
    setup.outputs.sweep().await.map_err(verdict::storage)?;
    match setup.outputs.look(&claim).await.map_err(verdict::storage)? {
        Standing::Free | Standing::Replaceable => {}
        Standing::Published(marker) => return Ok(End::Already(marker)),
        Standing::Superseded { revision } => return Ok(outranked(revision)),
    }

    let scratch = Scratch::create(&tmp)?;
    let inputs = match fetch(&admitted, &scratch).await {
        Ok(inputs) => inputs,
        Err(Error::Changed { uri, wanted, found }) => return Ok(replaced(&uri, &wanted, &found)),
        Err(error) => return Err(verdict::storage(error)),
    };
    let publication = setup.outputs.begin(claim, &scratch.output()).await.map_err(verdict::storage)?;
    let mut context = Context {
        item: item.into_item(name),
        inputs: inputs.iter().map(|input| input.path().to_owned()).collect(),
        output_dir: publication.dir().to_owned(),
        scratch_dir: scratch.temporary(),
        result_file: scratch.result(),
        progress: Progress::default(),
        runner: runner(setup, account, &scratch, &inputs, publication.as_ref())?,
    };
    let ran = job.run(&mut context).await;
    account.command = std::mem::take(&mut context.runner.last);
    if let Err(error) = ran {
        // What a command makes of a file that is replaced under it says nothing of the item: it may look corrupt.
        if !setup.shutdown.is_draining()
            && let Err(Error::Changed { uri, wanted, found }) = verify(&inputs).await
        {
            return Ok(replaced(&uri, &wanted, &found));
        }
        return Err(verdict::job(error, &args.permanent_exit, &[&context.scratch_dir, &context.output_dir]));
    }
    account.result = result(&context.result_file);
    let draft = Draft { result: account.result.clone(), allow_empty: args.allow_empty };
    commit(publication, draft, &inputs).await
}

/// Finds for each input the first place it may be had from.
fn admit<'a>(allowed: &'a Allowed, item: &WorkItem) -> Result<Vec<Admitted<'a>>, JobError> {
    // Version and size are of the one input; an item with several cannot say them of each.
    let single = item.inputs.len() == 1;
    let one = |uris: &Vec<Uri>| {
        let mut refused = None;
        for uri in uris {
            match allowed.find(uri) {
                Ok((root, key)) => {
                    let version = item.etag.clone().filter(|_| single);
                    let version_id = item.version_id.clone().filter(|_| single);
                    let size = item.size.filter(|_| single);
                    return Ok(Admitted { root, key, object: Object { uri: uri.clone(), version, version_id, size } });
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(verdict::storage(refused.expect("an input has at least one URI")))
    };
    item.inputs.iter().map(one).collect()
}

async fn fetch(admitted: &[Admitted<'_>], scratch: &Scratch) -> Result<Vec<Box<dyn Input>>, Error> {
    let mut inputs = Vec::with_capacity(admitted.len());
    for one in admitted {
        inputs.push(one.root.fetch(&one.object, &scratch.inputs()).await?);
    }
    Ok(inputs)
}

fn runner(
    setup: &Setup<'_>,
    account: &Account,
    scratch: &Scratch,
    inputs: &[Box<dyn Input>],
    publication: &dyn Publication,
) -> Result<Runner, JobError> {
    let args = setup.args;
    let mut environment = setup.environment.clone();
    environment.set_attempt(&account.attempt, args.attempt);
    match inputs.first() {
        Some(input) => environment.set("INPUT_FILE", input.path()),
        None => environment.unset("INPUT_FILE"),
    }
    let linked = link(inputs, &scratch.inputs());
    linked.map_err(|e| JobError::io("link the inputs into the scratch directory", &e, ""))?;
    environment.set("INPUT_DIR", scratch.inputs());
    environment.set("OUTPUT_DIR", publication.dir());
    environment.set("RESULT_FILE", scratch.result());
    environment.set("TMPDIR", scratch.temporary());
    if let Some(file) = args.work_item_file.as_deref().and_then(|file| std::path::absolute(file).ok()) {
        environment.set(attempt::WORK_ITEM_FILE, file);
    }
    if let Some(name) = &account.item {
        environment.set(attempt::WORK_ITEM_NAME, name.as_str());
    }
    Ok(Runner {
        environment,
        nonce: scratch.nonce().to_owned(),
        shutdown: setup.shutdown.clone(),
        timeout: args.timeout,
        deadline: None,
        tail: usize::try_from(args.tail_bytes.as_u64()).unwrap_or(usize::MAX),
        last: LastCommand::default(),
    })
}

/// `INPUT_DIR` holds a link by its own name to each input that lies elsewhere.
fn link(inputs: &[Box<dyn Input>], dir: &Path) -> std::io::Result<()> {
    for (n, input) in inputs.iter().enumerate() {
        let path = input.path();
        if path.starts_with(dir) {
            continue;
        }
        let name = path.file_name().unwrap_or_default();
        let mut link = dir.join(name);
        if link.symlink_metadata().is_ok() {
            let mut numbered = std::ffi::OsString::from(format!("{n}-"));
            numbered.push(name);
            link = dir.join(numbered);
        }
        std::os::unix::fs::symlink(path, link)?;
    }
    Ok(())
}

/// What the command wrote to `RESULT_FILE`, if that is JSON of a size that a marker can carry.
fn result(path: &PathBuf) -> Option<serde_json::Value> {
    // The command may have put anything there: a pipe would be waited at for ever.
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let file = File::from(file);
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        warn!("RESULT_FILE is no regular file and is left out");
        return None;
    }
    let mut json = Vec::new();
    if let Err(error) = file.take(RESULT_MAX + 1).read_to_end(&mut json) {
        warn!(%error, "RESULT_FILE cannot be read and is left out");
        return None;
    }
    if json.len() as u64 > RESULT_MAX {
        warn!(max = RESULT_MAX, "RESULT_FILE is too large and is left out");
        return None;
    }
    serde_json::from_slice(&json).inspect_err(|error| warn!(%error, "RESULT_FILE is not JSON and is left out")).ok()
}

async fn commit(publication: Box<dyn Publication>, draft: Draft, inputs: &[Box<dyn Input>]) -> Result<End, JobError> {
    match publication.commit(draft, Box::pin(verify(inputs))).await {
        Ok(Committed::Published(marker)) => Ok(End::Published(marker)),
        Ok(Committed::Already(marker)) => Ok(End::Already(marker)),
        Ok(Committed::Superseded { revision }) => Ok(outranked(revision)),
        Err(Error::Changed { uri, wanted, found }) => Ok(replaced(&uri, &wanted, &found)),
        Err(error) => Err(verdict::storage(error)),
    }
}

/// Whether every input still is what it was when it was fetched.
async fn verify(inputs: &[Box<dyn Input>]) -> Result<(), Error> {
    for input in inputs {
        input.verify().await?;
    }
    Ok(())
}

fn outranked(revision: u64) -> End {
    End::Superseded { why: format!("revision {revision} of this item has been published; nothing was changed") }
}

fn replaced(uri: &str, wanted: &str, found: &str) -> End {
    let why = format!(
        "{uri} was replaced: it is version {found} now, not {wanted}, and an item of its own; nothing was published"
    );
    End::Superseded { why }
}

/// Ends what will not end by itself: once everything must stop, storage that hangs gets this long.
pub(crate) async fn abandoned(shutdown: &Shutdown) -> JobError {
    const LAST: std::time::Duration = std::time::Duration::from_secs(4);
    shutdown.aborting().await;
    tokio::time::sleep(LAST).await;
    cancelled()
}
