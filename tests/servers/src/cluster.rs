//! A whole Kubernetes of one node, as processes.

mod namespace;

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::{LazyLock, Mutex};

pub use namespace::{JobEnd, Namespace};

use crate::kept::made_by;

/// One node with everything that makes it one: etcd, API server, controller manager, scheduler, kubelet, containerd, runc,
/// kube-proxy and a DNS for Services. It lives in process, mount and network namespaces of its own. Dropped, it is killed with
/// all its pods and its data removed; so too when this process ends, however it ends.
///
/// Not there: image pulls, load balancers, enforced network policies. Every image is [imported](Self::import) and its pods say
/// `imagePullPolicy: Never`.
#[derive(Debug)]
pub struct Cluster {
    /// Open as long as the node shall live.
    input: Option<ChildStdin>,
    /// Kept so that the keeper may write until its end.
    _output: BufReader<ChildStdout>,
    keeper: Child,
    folder: PathBuf,
    /// A process whose namespaces are the node's.
    process: String,
    imported: Mutex<HashSet<PathBuf>>,
}

impl Cluster {
    /// A node of its own, ready when it is returned: about 10 s on a quiet machine.
    ///
    /// # Panics
    /// If it does not come up, with the ends of its logs.
    pub fn start() -> Self {
        made_by("kubernetes/setup");
        made_by("podman/images");
        let mut up = Command::new("sh");
        up.args(["-c", r#"exec "$0" 2>&1"#]).arg(recipe("kubernetes/up"));
        // In a group of its own, so that what ends the tests from a terminal leaves it the time to clean up.
        let mut keeper = up.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh runs");
        let mut output = BufReader::new(keeper.stdout.take().expect("piped"));
        let mut said = String::new();
        let (folder, process) = loop {
            let begins = said.len();
            if output.read_line(&mut said).expect("its words are text") == 0 {
                let _ = keeper.wait();
                panic!("no Kubernetes node:\n{said}");
            }
            let words: Vec<&str> = said[begins..].split_whitespace().collect();
            if let ["ready", folder, process] = words[..] {
                break (PathBuf::from(folder), process.to_owned());
            }
        };
        let imported = Mutex::default();
        Self { input: keeper.stdin.take(), _output: output, keeper, folder, process, imported }
    }

    /// The node of this process, for tests that only need a [namespace](Self::namespace) of their own.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Cluster> = LazyLock::new(Cluster::start);
        &SHARED
    }

    /// `program`, to be run in the node's network: it reaches pods and Services by their addresses.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.process)).arg("--").arg(program.as_ref());
        command.env("KUBECONFIG", self.kubeconfig()).stdin(Stdio::null());
        command
    }

    /// What `kubectl` answers, as the cluster's administrator.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_fed("", args)
    }

    /// As [`kubectl`](Self::kubectl), with `input` to read: `apply -f -`.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn kubectl_fed(&self, input: &str, args: &[&str]) -> Output {
        use std::io::Write;
        let mut fed = tempfile::tempfile().expect("a file for its input");
        fed.write_all(input.as_bytes()).expect("its input is written");
        std::io::Seek::rewind(&mut fed).expect("a file can be rewound");
        self.command(programs().join("bin/kubectl")).args(args).stdin(fed).output().expect("nsenter runs")
    }

    /// Why the API server refuses these documents, if it does: all are checked as on a server-side apply with strict validation
    /// of their fields, and nothing is stored. What they mention by name need not be there, except their namespaces.
    pub fn validate(&self, yaml: &str) -> Result<(), String> {
        let args = ["apply", "--server-side", "--validate=strict", "--dry-run=server", "--filename=-"];
        let output = self.kubectl_fed(yaml, &args);
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// A new namespace with a name that begins with `prefix` and that no other has.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn namespace(&self, prefix: &str) -> Namespace<'_> {
        Namespace::new(self, prefix)
    }

    /// Gives the node the images of an archive, of Docker's or the OCI's format, as `podman save` writes it. Each file once.
    ///
    /// # Panics
    /// If containerd refuses it.
    pub fn import(&self, archive: &Path) {
        let archive = archive.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", archive.display()));
        // Held meanwhile: another test that wants it shall find it there.
        let mut imported = self.imported.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if imported.contains(&archive) {
            return;
        }
        let output =
            self.containerd(&["images", "import", "--digests=false"]).arg(&archive).output().expect("nsenter runs");
        assert!(output.status.success(), "{}: {}", archive.display(), String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for image in said.lines().filter_map(|line| line.strip_prefix("unpacking ")?.split_whitespace().next()) {
            // The kubelet is told of it by and by; one that looked too early would wait long before it looks again.
            namespace::until(&format!("the kubelet's side to know {image}"), || {
                let listed =
                    self.containerd(&["images", "list", &format!("name=={image}")]).output().expect("nsenter runs");
                String::from_utf8_lossy(&listed.stdout).contains("io.cri-containerd.image=managed").then_some(())
            });
        }
        imported.insert(archive);
    }

    /// A new folder that everybody may write, to be mounted by pods as a `hostPath` of this very path. Removed with the node.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn node_path(&self, name: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(self.folder.join("volumes")).expect("a folder of the node");
        let made = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(self.folder.join("volumes"));
        let path = made.expect("a folder of the node").keep();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o1777)).expect("its owner may");
        path
    }

    /// The configuration of its administrator, of use in its [network](Self::command).
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The pid of the node's first process, by which its namespaces are entered.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// `ctr` on the images and containers of the kubelet.
    fn containerd(&self, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.process, "--mount", "--net", "--"]);
        command
            .arg(programs().join("root/usr/bin/ctr"))
            .args(["--namespace", "k8s.io"])
            .args(args)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.keeper.wait();
    }
}

/// The archive of one of the images that `podman/images` makes: `tiny`, `debian`, `busybox`; it holds
/// `localhost/longshore-base/NAME:1`.
///
/// # Panics
/// If it cannot be made.
pub fn base_image(name: &str) -> PathBuf {
    static BASES: LazyLock<PathBuf> = LazyLock::new(|| made_by("podman/images"));
    BASES.join(name).with_extension("tar")
}

fn programs() -> &'static Path {
    static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| made_by("kubernetes/setup"));
    &PROGRAMS
}

fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
