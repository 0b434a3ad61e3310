//! One item's way through a worker: read, look, fetch, run, commit.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::marker::MarkedItem;
use contract::{TraceContext, attempt, exit};
use rustix::fs::{Mode, OFlags};
use sidecar::{Shutdown, fault};
use storage::{Allowed, BoxFuture, Claim, Committed, Draft, Error, Outputs, Publication, Standing};
use tracing::{Instrument, info, warn};

use crate::account::{Account, End};
use crate::context::{LastCommand, Runner, cancelled, passing};
use crate::environment::Environment;
use crate::inputs::{Admitted, Ready};
use crate::item::WorkItem;
use crate::leavings::{Commit, Leavings};
use crate::scratch::{self, Scratch};
use crate::{Context, Job, JobError, Progress, Relay, WorkerArgs, verdict};

/// The most that is taken from `RESULT_FILE`, in bytes; what is longer is left out.
pub const RESULT_MAX: u64 = 64 * 1024;

/// How long it may take to see whether a command failed over an input that was replaced.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a worker was set up with: everything but the item.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) args: &'a WorkerArgs,
    pub(crate) allowed: Allowed,
    pub(crate) outputs: Box<dyn Outputs>,
    pub(crate) environment: Environment,
    pub(crate) shutdown: Shutdown,
}

/// Does one item, and notes on the way what the report will say. What is to be removed afterwards is left in `leavings`, however this
/// ends: the report comes first.
pub(crate) async fn run<J: Job>(
    setup: &Setup<'_>,
    job: J,
    account: &mut Account,
    leavings: &mut Leavings,
) -> Result<End, JobError> {
    let known = known(setup, account).await?;
    let span = account.span();
    run_known(setup, job, known, account, leavings).instrument(span).await
}

async fn run_known<J: Job>(
    setup: &Setup<'_>,
    job: J,
    (item, claim): (WorkItem, Claim),
    account: &mut Account,
    leavings: &mut Leavings,
) -> Result<End, JobError> {
    let args = setup.args;
    let admitted = Admitted::of(&item, &setup.allowed)?;
    let ready = make_ready(setup, &claim, &admitted, job.relay(), leavings);
    let inputs = match unless_told(&setup.shutdown, ready).await.ok_or_else(cancelled)?? {
        Begun::Over(end) => return Ok(end),
        Begun::Ready(inputs) => Arc::new(inputs),
    };
    let name = claim.item.name.clone();
    let (scratch, publication) = leavings.begin(setup.outputs.as_ref(), claim).await?;
    let mut context = Context {
        item: item.into_item(name),
        inputs: inputs.paths(),
        output_dir: publication.dir().to_owned(),
        scratch_dir: scratch.temporary(),
        result_file: scratch.result(),
        progress: Progress::default(),
        runner: runner(setup, account, scratch, &inputs, publication)?,
    };
    let ran = job.run(&mut context).await;
    account.command = std::mem::take(&mut context.runner.last);
    // Also of a failure: what a command found out before it failed is for those who read the report.
    account.result = result(&context.result_file);
    if let Err(error) = ran {
        // What a command makes of a file that is replaced under it says nothing of the item: it may look corrupt.
        let look = async { tokio::time::timeout(PATIENCE, inputs.verify()).await.unwrap_or(Ok(())) };
        if let Some(Err(Error::Changed { uri, wanted, found })) = unless_told(&setup.shutdown, look).await {
            return Ok(replaced(&uri, &wanted, &found));
        }
        return Err(verdict::job(error, &args.permanent_exit, &[&context.scratch_dir, &context.output_dir]));
    }
    let draft = Draft { result: account.result.clone(), allow_empty: args.allow_empty };
    commit(leavings, draft, inputs, &setup.shutdown).await
}

/// Reads the item, and settles what it is called, where its output goes, and who wants that.
async fn known(setup: &Setup<'_>, account: &mut Account) -> Result<(WorkItem, Claim), JobError> {
    let args = setup.args;
    fault::point("worker.item.before").map_err(passing)?;
    let path = args.work_item_file.clone();
    let read = tokio::task::spawn_blocking(move || WorkItem::read(path.as_deref()));
    let item = read.await.map_err(|e| JobError::new(exit::BUG, "Bug", format!("reading the item file: {e}")))??;
    fault::point("worker.item.after").map_err(passing)?;

    account.item = args.work_item_name.as_ref().or(item.name.as_ref()).cloned();
    account.trace = item.trace();
    let admitted = Admitted::of(&item, &setup.allowed)?;
    let (name, key) = item.identify(args.work_item_name.as_ref(), admitted.key())?;
    account.item = Some(name.clone());
    let place = args.output.place(&key, &name).map_err(|error| verdict::place(&error, &args.output))?;
    account.output = Some(setup.outputs.uri(&place));
    account.span().in_scope(|| info!(item = %name, output = account.output, attempt = args.attempt, "item read"));

    let marked = MarkedItem { name: name.clone(), key, source: item.source(), version: item.version().to_owned() };
    let attempt = account.attempt.clone();
    let (number, uploads) = (args.attempt, item.uploads.clone());
    let claim = Claim { place, item: marked, revision: args.revision, attempt, number, uploads };
    account.claim = Some(claim.clone());
    Ok((item, claim))
}

/// Gets the inputs of an item and leaves them for other processes; nothing is published. What is published already is fetched all
/// the same: nobody could tell those who are waiting for it.
pub(crate) async fn fetch(setup: &Setup<'_>, relay: &Relay, account: &mut Account) -> Result<(), JobError> {
    let (item, claim) = known(setup, account).await?;
    let admitted = Admitted::of(&item, &setup.allowed)?;
    let fetch = async {
        setup.outputs.sweep().await.map_err(verdict::storage)?;
        match setup.outputs.look(&claim).await.map_err(verdict::storage)? {
            Standing::Free | Standing::Replaceable => {}
            Standing::Published(_) => info!("this item is published already: nothing more will be"),
            Standing::Superseded { revision } => {
                info!(revision, "a higher revision is published: nothing more will be")
            }
        }
        admitted.fetch(&relay.begin()?).await.map_err(verdict::storage)
    };
    let inputs = unless_told(&setup.shutdown, fetch).await.ok_or_else(cancelled)??;
    let name = claim.item.name;
    relay.leave(name.clone(), &item.into_item(name), &inputs)
}

/// Whether there is anything to do.
enum Begun {
    Over(End),
    Ready(Ready),
}

/// Clears up after the dead, looks at what stands at the place, and if there is work to do, gets the inputs.
async fn make_ready(
    setup: &Setup<'_>,
    claim: &Claim,
    admitted: &Admitted<'_>,
    relay: Option<&Relay>,
    leavings: &mut Leavings,
) -> Result<Begun, JobError> {
    let tmp = setup.args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    scratch::sweep(&tmp).await;
    setup.outputs.sweep().await.map_err(verdict::storage)?;
    match setup.outputs.look(claim).await.map_err(verdict::storage)? {
        Standing::Free | Standing::Replaceable => {}
        Standing::Published(marker) => return Ok(Begun::Over(End::Already(marker))),
        Standing::Superseded { revision } => return Ok(Begun::Over(outranked(revision))),
    }
    let scratch = leavings.keep_scratch(Scratch::create(&tmp)?);
    if let Some(relay) = relay {
        return relay.take_up(&claim.item.name, admitted).map(Begun::Ready);
    }
    match admitted.fetch(&scratch.fetched()).await {
        Ok(inputs) => Ok(Begun::Ready(inputs)),
        Err(Error::Changed { uri, wanted, found }) => Ok(Begun::Over(replaced(&uri, &wanted, &found))),
        Err(error) => Err(verdict::storage(error)),
    }
}

/// What `work` gives, unless the worker is told to stop first.
async fn unless_told<T>(shutdown: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = shutdown.draining() => None,
        done = work => Some(done),
    }
}

fn runner(
    setup: &Setup<'_>,
    account: &Account,
    scratch: &Scratch,
    inputs: &Ready,
    publication: &dyn Publication,
) -> Result<Runner, JobError> {
    let args = setup.args;
    let mut environment = setup.environment.clone();
    environment.set_attempt(&account.attempt, args.attempt);
    match inputs.paths().first() {
        Some(input) => environment.set("INPUT_FILE", input),
        None => environment.unset("INPUT_FILE"),
    }
    let linked = inputs.link(&scratch.inputs());
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
    for (name, value) in account.trace.iter().flat_map(TraceContext::variables) {
        match value {
            Some(value) => environment.set(name, value),
            None => environment.unset(name),
        }
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

/// Publishes, also when told to stop, for as long as the grace period lasts. Uploads in parts that are under way then are aborted;
/// whole objects that were uploaded by then stay, named by no marker, and the next run of the item clears them away.
async fn commit(
    leavings: &mut Leavings,
    draft: Draft,
    inputs: Arc<Ready>,
    shutdown: &Shutdown,
) -> Result<End, JobError> {
    let publish = |publication: Box<dyn Publication>| -> Commit {
        Box::pin(async move {
            let verify = || -> BoxFuture<'_, Result<(), Error>> { Box::pin(inputs.verify()) };
            publication.commit(draft, &verify).await
        })
    };
    let committed = tokio::select! {
        biased;
        committed = leavings.commit(publish) => committed,
        () = shutdown.aborting() => return Err(cancelled()),
    };
    match committed {
        Ok(Committed::Published(marker)) => Ok(End::Published(marker)),
        Ok(Committed::Already(marker)) => Ok(End::Already(marker)),
        Ok(Committed::Superseded { revision }) => Ok(outranked(revision)),
        Err(Error::Changed { uri, wanted, found }) => Ok(replaced(&uri, &wanted, &found)),
        Err(error) => Err(verdict::storage(error)),
    }
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

/// Once everything must stop, what does not end by itself gets this long.
pub(crate) const LAST: Duration = Duration::from_secs(4);

/// Ends what will not end by itself: storage that hangs.
pub(crate) async fn abandoned(shutdown: &Shutdown) -> JobError {
    shutdown.aborting().await;
    tokio::time::sleep(LAST).await;
    cancelled()
}
