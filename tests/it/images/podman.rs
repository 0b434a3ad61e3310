//! The tests' podman, and containers of it that end with their tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use longshore_tests::images::{image, reference};
use longshore_tests::programs::root;
use longshore_tests::wait_until;

/// What every container here has to live with; Kubernetes calls it the restricted standard, and more. `/tmp` is a volume.
const RESTRICTED: [&str; 4] = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--pull=never"];

/// `podman` with these words.
///
/// # Panics
/// If it does not run.
pub(super) fn podman<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>) -> Output {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let setup = Command::new(root().join("tests/servers/podman/setup")).output().expect("bash runs");
        assert!(setup.status.success(), "{}", String::from_utf8_lossy(&setup.stderr));
        Path::new(String::from_utf8_lossy(&setup.stdout).trim()).join("bin/podman")
    });
    Command::new(&*PROGRAM).args(words).output().expect("podman runs")
}

/// What it printed, if all went well.
///
/// # Panics
/// If it did not, with what it said.
pub(super) fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A container that is to be run: of an image, without a network unless it is given one.
pub(super) struct Run {
    words: Vec<String>,
    image: String,
    network: String,
}

impl Run {
    /// Of the image of ours with this name, made of the programs as they are now.
    pub(super) fn ours(name: &str) -> Self {
        image(name);
        Self::of(&reference(name))
    }

    /// Of any image.
    pub(super) fn of(image: &str) -> Self {
        let words = RESTRICTED.map(str::to_owned).to_vec();
        Self { words, image: image.to_owned(), network: "--network=none".to_owned() }
    }

    /// With a variable.
    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.words.extend(["--env".to_owned(), format!("{name}={value}")]);
        self
    }

    /// With a folder of this machine at a place in the container.
    pub(super) fn volume(mut self, folder: &Path, at: &str) -> Self {
        self.words.push(format!("--volume={}:{at}", folder.display()));
        self
    }

    /// As whoever, and with whatever program, podman's own words say.
    pub(super) fn with(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// In the network of this machine.
    pub(super) fn on_the_host(mut self) -> Self {
        self.network = "--network=host".to_owned();
        self
    }

    /// In the network of another, whose loopback is its own then.
    pub(super) fn in_network_of(mut self, other: &Container) -> Self {
        self.network = format!("--network=container:{}", other.id);
        self
    }

    /// To its end, with these arguments.
    pub(super) fn end(self, args: &[&str]) -> Output {
        podman(["run", "--rm", &self.network].into_iter().chain(self.tail(args)))
    }

    /// To its end, which is to be a good one. Gives what it printed.
    ///
    /// # Panics
    /// If it is not.
    pub(super) fn well(self, args: &[&str]) -> String {
        said(&self.end(args))
    }

    /// As long as the value lives, with no arguments.
    pub(super) fn start(self) -> Container {
        let started = podman(["run", "--detach", &self.network].into_iter().chain(self.tail(&[])));
        Container { id: said(&started).trim().to_owned() }
    }

    fn tail<'a>(&'a self, args: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.words.iter().map(String::as_str).chain([self.image.as_str()]).chain(args.iter().copied())
    }
}

/// A container that runs.
pub(super) struct Container {
    id: String,
}

impl Container {
    /// Waits until its network has a listener on this port, on this address.
    pub(super) fn listens(&self, address: std::net::Ipv4Addr, port: u16) {
        let row = format!("{:08X}:{port:04X} 00000000:0000 0A", u32::from_ne_bytes(address.octets()));
        wait_until(&format!("a listener on {address}:{port}; it says {}", self.log()), || {
            let pid = said(&podman(["inspect", "--format={{.State.Pid}}", &self.id]));
            std::fs::read_to_string(format!("/proc/{}/net/tcp", pid.trim())).ok()?.contains(&row).then_some(())
        });
    }

    fn log(&self) -> String {
        let output = podman(["logs", &self.id]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        podman(["rm", "--force", "--time=0", &self.id]);
    }
}
