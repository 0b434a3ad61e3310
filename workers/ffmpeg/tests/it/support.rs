//! Videos whose every frame holds its own number, and a bench to run the worker on them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use contract::{FileVersion, Key, MARKER_FILE, Marker, Report, attempt, item};

/// Runs the real ffmpeg, quietly; it must succeed.
pub(crate) fn ffmpeg<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg is installed (apt-get install ffmpeg)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A filter that draws frame N as 16 stripes, the bits of N from the left, 20 pixels each; 320x64, 25 a second.
pub(crate) fn numbers_from(first: u32) -> String {
    format!("color=c=black:s=320x64:r=25,format=gray,geq=lum='if(mod(floor((N+{first})/pow(2,floor(X/20))),2),235,16)'")
}

/// A video of `frames` frames that hold their numbers.
pub(crate) fn numbered(path: &Path, frames: u32, codec: &[&str]) {
    let source = numbers_from(0);
    let count = frames.to_string();
    let head = ["-f", "lavfi", "-i", &source, "-frames:v", &count].map(OsString::from);
    let codec = codec.iter().map(OsString::from);
    ffmpeg(head.into_iter().chain(codec).chain([url(path)]));
}

/// H.264 with B-frames in an MP4: what most videos are.
pub(crate) const H264: [&str; 6] = ["-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p"];

/// The number that an image of a numbered video shows.
pub(crate) fn number_in(image: &Path) -> u32 {
    let raw = read_image("ffmpeg", &["-i", "-", "-vf", "scale=320:64,format=gray", "-f", "rawvideo", "-"], image);
    assert_eq!(raw.len(), 320 * 64, "{}", image.display());
    (0..16).map(|bit| u32::from(raw[32 * 320 + 20 * bit + 10] > 128) << bit).sum()
}

/// Width and height of an image.
pub(crate) fn size_of(image: &Path) -> (u32, u32) {
    let raw = read_image("ffprobe", &["-show_entries", "stream=width,height", "-of", "csv=p=0", "-i", "-"], image);
    let text = String::from_utf8(raw).expect("ffprobe writes numbers");
    let (width, height) = text.trim().split_once(',').expect("two numbers");
    (width.parse().expect("a number"), height.parse().expect("a number"))
}

/// Codec and size of each stream of a file: `h264,320,180;aac`.
pub(crate) fn stream_facts(path: &Path) -> String {
    let entries = ["-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0", "-i"];
    let output = Command::new("ffprobe").args(entries).arg(url(path)).output().expect("it is installed");
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(";")
}

/// What a tool makes of an image on its standard input: to ffmpeg, the name of an image may be a pattern.
fn read_image(tool: &str, args: &[&str], image: &Path) -> Vec<u8> {
    let file = std::fs::File::open(image).unwrap_or_else(|error| panic!("{}: {error}", image.display()));
    let output = Command::new(tool).args(["-v", "error"]).args(args).stdin(file).output().expect("it is installed");
    assert!(output.status.success(), "{}: {}", image.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// A folder of videos, a folder for results, and the worker.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

/// How a run of the worker ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stderr: String,
    pub(crate) report: Report,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    pub(crate) fn below(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).expect("make a directory");
        std::fs::create_dir(dir.path().join("videos")).expect("make a directory");
        Self { dir }
    }

    /// Where the video of this key lies.
    pub(crate) fn video(&self, key: impl AsRef<OsStr>) -> PathBuf {
        self.dir.path().join("videos").join(key.as_ref())
    }

    /// Makes thumbnails of the video of this key.
    pub(crate) fn run(&self, key: impl AsRef<OsStr>, flags: &[&str]) -> Ran {
        self.verb("thumbnails", key, flags)
    }

    /// Runs a subcommand of the worker on the video of this key.
    pub(crate) fn verb(&self, verb: &str, key: impl AsRef<OsStr>, flags: &[&str]) -> Ran {
        self.traced(&[], verb, key, flags)
    }

    /// As [`Bench::verb`], by a program that runs the worker.
    pub(crate) fn traced(&self, by: &[&str], verb: &str, key: impl AsRef<OsStr>, flags: &[&str]) -> Ran {
        let key = key.as_ref();
        let (item, report) = (self.dir.path().join("item.json"), self.dir.path().join("report.json"));
        std::fs::write(&item, self.item(key)).expect("write the item");
        let worker = env!("CARGO_BIN_EXE_ffmpeg-worker");
        let mut words = by.iter().copied().chain([worker, verb]);
        let mut command = Command::new(words.next().expect("at least the worker"));
        command.args(words).args(["--allow-input", &self.uri("videos")]).args(["--output", &self.uri("out/{key}")]);
        command.arg("--report").arg(&report).args(flags).env(attempt::WORK_ITEM_FILE, &item);
        command.env(attempt::WORK_ITEM_NAME, "numbered-0000000000000").stdin(Stdio::null());
        let output = command.output().expect("the worker starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().unwrap_or_else(|| panic!("the worker was killed: {stderr}"));
        let report = std::fs::read(&report).unwrap_or_else(|error| panic!("no report: {error}: {stderr}"));
        Ran { code, stderr, report: serde_json::from_slice(&report).expect("the report is one") }
    }

    fn item(&self, key: &OsStr) -> String {
        let path = self.video(key);
        let version = std::fs::metadata(&path).map(|meta| FileVersion {
            size: meta.len(),
            mtime_nanos: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        });
        let mut data = serde_json::to_value(Key::new(key.as_bytes())).expect("serialises");
        data["uri"] = format!("file://{}", item::encode_path(path.as_os_str().as_bytes())).into();
        if let Ok(version) = version {
            data["etag"] = version.to_string().into();
            data["size"] = version.size.into();
        }
        data.to_string()
    }

    fn uri(&self, below: &str) -> String {
        format!("file://{}/{}/", item::encode_path(self.dir.path().as_os_str().as_bytes()), below)
    }

    /// The directory of a key's results.
    pub(crate) fn results(&self, key: impl AsRef<OsStr>) -> PathBuf {
        self.dir.path().join("out").join(key.as_ref())
    }

    /// What the marker of this key says.
    pub(crate) fn marker(&self, key: impl AsRef<OsStr>) -> Marker {
        let json = std::fs::read(self.results(key).join(MARKER_FILE)).expect("there is a marker");
        serde_json::from_slice(&json).expect("the marker is one")
    }

    /// The images the marker names, in order.
    pub(crate) fn images(&self, key: impl AsRef<OsStr>) -> Vec<PathBuf> {
        let dir = self.results(key.as_ref());
        self.marker(key).outputs.iter().map(|output| dir.join(&output.path)).collect()
    }

    /// What the marker says of the output.
    pub(crate) fn result(&self, key: impl AsRef<OsStr>) -> serde_json::Value {
        self.marker(key).result.expect("there is a result")
    }

    /// The numbers its images show.
    pub(crate) fn numbers(&self, key: impl AsRef<OsStr>) -> Vec<u32> {
        self.images(key).iter().map(|image| number_in(image)).collect()
    }

    /// That nothing of this key was published, and nothing is left of the attempt.
    pub(crate) fn assert_nothing_published(&self, key: impl AsRef<OsStr>) {
        let dir = self.results(key.as_ref());
        assert!(!dir.exists(), "{} was published", dir.display());
        let staging = self.dir.path().join("out").join(contract::STAGING_DIR);
        let left: Vec<_> =
            std::fs::read_dir(&staging).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        assert!(left.iter().all(|path| path.is_file()), "left behind: {left:?}");
    }
}

impl Ran {
    /// That it ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: u8) -> Self {
        assert_eq!(self.code, i32::from(code), "{}\n{}", self.report.message, self.stderr);
        assert_eq!(self.report.exit_code, code);
        self
    }
}
