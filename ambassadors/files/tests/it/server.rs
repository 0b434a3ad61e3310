//! A file server that can be told to fail: a file system in this process (FUSE), mounted in a namespace of the ambassador's
//! own. What a test does to its files happens behind the mount, as on a server: no event tells of it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    RenameFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, Request, Session, SessionACL,
};

use crate::ambassador::{Ambassador, DEADLINE, PROGRAM};

/// What may be asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// What something is: lookup and getattr.
    Look,
    /// The entries of a directory.
    List,
    /// The entries of a directory behind those that came with the first answer.
    ListOn,
    /// To open a file.
    Open,
    /// To read from one.
    Read,
    /// To rename, remove or make something.
    Change,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Fails(Errno),
    Hangs,
}

/// An answer that is still to be given.
type Held = Box<dyn FnOnce(&mut State) + Send>;

/// The server; a clone is the same one. Dropping nothing ends it: its mounts do.
#[derive(Clone, Default)]
pub(crate) struct Server(Arc<Mutex<State>>);

struct State {
    /// By path from the root; the root's is empty.
    nodes: BTreeMap<String, Node>,
    /// Paths by inode number.
    paths: HashMap<u64, String>,
    faults: Vec<(Op, String, Fault)>,
    held: Vec<Held>,
    /// How far the server's clock is ahead of ours, in seconds.
    skew: i64,
    /// How long a client may believe what it was told of something.
    cached: Duration,
    /// How long an answer takes.
    slow: Duration,
    /// When it last answered, and the longest that it has not since it was made slow.
    answered: Instant,
    longest: Duration,
    /// A file that gets longer, at every so manieth look, and how many there were.
    growing: Option<(String, u32, u32)>,
    /// A directory whose parent does not tell that it is one.
    untold: Option<String>,
    /// Whether it knows `RENAME_NOREPLACE`, and hard links.
    noreplace: bool,
    links: bool,
}

#[derive(Clone)]
struct Node {
    inode: u64,
    /// `None`: a directory.
    content: Option<Vec<u8>>,
    modified: SystemTime,
}

/// A server, mounted, and the ambassador that serves the mount. The server lets go of what it holds before the ambassador is
/// killed: nothing can kill what waits for it.
pub(crate) struct Mounted {
    server: Server,
    pub(crate) ambassador: Ambassador,
    pub(crate) dir: tempfile::TempDir,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.server.heal();
    }
}

impl Default for State {
    fn default() -> Self {
        let mut state = Self {
            nodes: BTreeMap::new(),
            paths: HashMap::new(),
            faults: Vec::new(),
            held: Vec::new(),
            skew: 0,
            cached: Duration::ZERO,
            slow: Duration::ZERO,
            answered: Instant::now(),
            longest: Duration::ZERO,
            growing: None,
            untold: None,
            noreplace: true,
            links: true,
        };
        state.put("", None);
        state
    }
}

impl Server {
    /// Mounts it on a directory of its own, and starts an ambassador of it.
    pub(crate) async fn mount(&self, flags: &[&str]) -> Mounted {
        self.mount_below(tempfile::tempdir().expect("a directory"), "", flags).await
    }

    /// Mounts it at this path in a local directory, and starts an ambassador of that.
    pub(crate) async fn mount_below(&self, dir: tempfile::TempDir, path: &str, flags: &[&str]) -> Mounted {
        let device = File::options().read(true).write(true).open("/dev/fuse").expect("the device opens");
        let serving = OwnedFd::from(device.try_clone().expect("a descriptor"));
        let server = self.clone();
        std::thread::spawn(move || server.serve(&serving));
        let script = r#"mount -i -t fuse -o fd=0,rootmode=40000,user_id=0,group_id=0,allow_other hostile "$1" && shift &&
            exec "$@" </dev/null"#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(dir.path().join(path)).arg(PROGRAM);
        let ambassador = Ambassador::spawn_reading(command, Stdio::from(device), dir.path(), flags).await;
        Mounted { server: self.clone(), ambassador, dir }
    }

    /// Answers until the mount is gone.
    fn serve(&self, device: &OwnedFd) {
        let began = Instant::now();
        while began.elapsed() < DEADLINE {
            let device = device.try_clone().expect("a descriptor");
            match Session::from_fd(self.clone(), device, SessionACL::All, Config::default()) {
                Ok(session) => {
                    // Ends with an error when the mount does.
                    let _ = session.run();
                    return;
                }
                // Not mounted yet.
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Makes or overwrites a file, and the directories it lies in.
    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        self.state().put(path, Some(content.to_vec()));
    }

    /// Makes a directory.
    pub(crate) fn mkdir(&self, path: &str) {
        self.state().put(path, None);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state().nodes.remove(path).expect("there is such a file");
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.state().nodes.contains_key(path)
    }

    /// Every file, by its path.
    pub(crate) fn files(&self) -> Vec<String> {
        self.state().nodes.iter().filter(|(_, node)| node.content.is_some()).map(|(path, _)| path.clone()).collect()
    }

    /// Sets a file's modification time to so many seconds after 1970.
    pub(crate) fn touch(&self, path: &str, seconds: i64) {
        self.state().nodes.get_mut(path).expect("there is such a file").modified =
            shifted(SystemTime::UNIX_EPOCH, seconds);
    }

    /// Sets the server's clock to so many seconds ahead of ours.
    pub(crate) fn skew(&self, seconds: i64) {
        self.state().skew = seconds;
    }

    /// From now on clients may believe for so long what they are told.
    pub(crate) fn cache(&self, long: Duration) {
        self.state().cached = long;
    }

    /// From now on this file gets longer at every so manieth look.
    pub(crate) fn grow(&self, path: &str, every: u32) {
        self.state().growing = Some((path.to_owned(), every, 0));
    }

    /// How often a growing file was looked at.
    pub(crate) fn looks(&self) -> u32 {
        self.state().growing.as_ref().map_or(0, |(.., looks)| *looks)
    }

    /// It grows no more; its size.
    pub(crate) fn stop_growing(&self) -> usize {
        let mut state = self.state();
        let (path, ..) = state.growing.take().expect("it was growing");
        state.nodes.get(&path).and_then(|node| node.content.as_ref()).expect("a file").len()
    }

    /// From now on the entry of this directory does not say that it is one.
    pub(crate) fn hide_kind(&self, path: &str) {
        self.state().untold = Some(path.to_owned());
    }

    /// From now on it does not know how to rename without replacing, as some file systems do not.
    pub(crate) fn forget_noreplace(&self) {
        self.state().noreplace = false;
    }

    /// From now on it knows no hard links, as others do not.
    pub(crate) fn forget_links(&self) {
        self.state().links = false;
    }

    /// From now on this fails for `path` and whatever lies below.
    pub(crate) fn fail(&self, op: Op, path: &str, error: Errno) {
        self.state().faults.push((op, path.to_owned(), Fault::Fails(error)));
    }

    /// From now on this is not answered for `path` and whatever lies below.
    pub(crate) fn hang(&self, op: Op, path: &str) {
        self.state().faults.push((op, path.to_owned(), Fault::Hangs));
    }

    /// From now on every answer takes so long, one after another.
    pub(crate) fn slow(&self, by: Duration) {
        let mut state = self.state();
        (state.slow, state.answered, state.longest) = (by, Instant::now(), Duration::ZERO);
    }

    /// The longest that it has answered nothing since it was made slow: of a machine that stands still, as long as that does.
    pub(crate) fn longest(&self) -> Duration {
        self.state().longest
    }

    /// How many wait for an answer.
    pub(crate) fn held(&self) -> usize {
        self.state().held.len()
    }

    /// Everything works again, and whoever waits is answered.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.untold = None;
        for answer in std::mem::take(&mut state.held) {
            answer(&mut state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers, unless that is to fail or to hang.
    fn answer<R: Refuse>(
        &self,
        op: Op,
        about: About<'_>,
        reply: R,
        act: impl FnOnce(&mut State, &str, R) + Send + 'static,
    ) {
        let mut state = self.state();
        std::thread::sleep(state.slow);
        let before = std::mem::replace(&mut state.answered, Instant::now());
        state.longest = state.longest.max(before.elapsed());
        let Some(path) = state.path(about) else { return reply.refuse(Errno::ESTALE) };
        match state.fault(op, &path) {
            Some(Fault::Fails(error)) => reply.refuse(error),
            Some(Fault::Hangs) => state.held.push(Box::new(move |state| act(state, &path, reply))),
            None => act(&mut state, &path, reply),
        }
    }
}

/// What a request is about.
#[derive(Clone, Copy)]
enum About<'a> {
    Inode(INodeNo),
    Entry(INodeNo, &'a OsStr),
}

impl State {
    fn put(&mut self, path: &str, content: Option<Vec<u8>>) {
        if let Some((parent, _)) = path.rsplit_once('/')
            && !self.nodes.contains_key(parent)
        {
            self.put(parent, None);
        }
        let modified = self.now();
        if let Some(node) = self.nodes.get_mut(path) {
            (node.content, node.modified) = (content, modified);
            return;
        }
        let inode = self.paths.len() as u64 + 1;
        self.paths.insert(inode, path.to_owned());
        self.nodes.insert(path.to_owned(), Node { inode, content, modified });
    }

    fn now(&self) -> SystemTime {
        shifted(SystemTime::now(), self.skew)
    }

    fn path(&self, about: About<'_>) -> Option<String> {
        match about {
            About::Inode(inode) => {
                let path = self.paths.get(&inode.0)?;
                self.nodes.get(path).is_some_and(|node| node.inode == inode.0).then(|| path.clone())
            }
            About::Entry(parent, name) => {
                let (parent, name) = (self.paths.get(&parent.0)?, name.to_str().expect("these tests' names are text"));
                Some(if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") })
            }
        }
    }

    fn fault(&self, op: Op, path: &str) -> Option<Fault> {
        let hit = |under: &str| {
            path.strip_prefix(under).is_some_and(|rest| under.is_empty() || rest.is_empty() || rest.starts_with('/'))
        };
        self.faults.iter().find(|(of, under, _)| *of == op && hit(under)).map(|(_, _, fault)| *fault)
    }

    /// What a look at this path tells, and for how long that may be believed.
    fn look(&mut self, path: &str) -> Option<(Duration, FileAttr)> {
        let now = self.now();
        let node = self.nodes.get_mut(path)?;
        if let Some((growing, every, looks)) = &mut self.growing
            && growing == path
        {
            *looks += 1;
            if looks.is_multiple_of(*every) {
                node.content.as_mut().expect("a file").push(b'.');
                node.modified = now;
            }
        }
        let size = node.content.as_ref().map_or(0, Vec::len) as u64;
        let time = node.modified;
        let attr = FileAttr {
            ino: INodeNo(node.inode),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: kind(node),
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        Some((self.cached, attr))
    }

    fn rename(&mut self, from: &str, to: &str, flags: RenameFlags) -> Result<(), Errno> {
        let replaces = self.nodes.contains_key(to);
        match flags {
            _ if flags.is_empty() => {}
            RenameFlags::RENAME_NOREPLACE if !self.noreplace => return Err(Errno::EINVAL),
            RenameFlags::RENAME_NOREPLACE if replaces => return Err(Errno::EEXIST),
            RenameFlags::RENAME_NOREPLACE => {}
            _ => return Err(Errno::EINVAL),
        }
        let node = self.nodes.remove(from).ok_or(Errno::ENOENT)?;
        self.paths.insert(node.inode, to.to_owned());
        self.nodes.insert(to.to_owned(), node);
        Ok(())
    }
}

fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { time - by } else { time + by }
}

fn kind(node: &Node) -> FileType {
    if node.content.is_some() { FileType::RegularFile } else { FileType::Directory }
}

/// An answer that can be an error.
trait Refuse: Send + 'static {
    fn refuse(self, error: Errno);
}

macro_rules! refuse {
    ($($reply:ty)*) => { $(impl Refuse for $reply {
        fn refuse(self, error: Errno) {
            self.error(error);
        }
    })* };
}
refuse!(ReplyAttr ReplyData ReplyDirectory ReplyEmpty ReplyEntry ReplyOpen);

fn enter(state: &mut State, path: &str, reply: ReplyEntry) {
    match state.look(path) {
        Some((cached, attr)) => reply.entry(&cached, &attr, Generation(0)),
        None => reply.error(Errno::ENOENT),
    }
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.answer(Op::Look, About::Entry(parent, name), reply, enter);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.answer(Op::Look, About::Inode(inode), reply, |state, path, reply| match state.look(path) {
            Some((cached, attr)) => reply.attr(&cached, &attr),
            None => reply.error(Errno::ESTALE),
        });
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.answer(Op::List, About::Inode(inode), reply, |_, _, reply| {
            reply.opened(FileHandle(0), FopenFlags::empty());
        });
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectory) {
        let op = if offset == 0 { Op::List } else { Op::ListOn };
        self.answer(op, About::Inode(inode), reply, move |state, path, mut reply| {
            let within = |entry: &str| match path {
                "" => !entry.is_empty() && !entry.contains('/'),
                _ => entry.strip_prefix(path).and_then(|e| e.strip_prefix('/')).is_some_and(|name| !name.contains('/')),
            };
            let at = usize::try_from(offset).expect("a small number");
            // A few at a time, as a server sends them.
            for (n, (entry, node)) in
                state.nodes.iter().filter(|(entry, _)| within(entry)).enumerate().skip(at).take(10)
            {
                let told = if state.untold.as_ref() == Some(entry) { FileType::RegularFile } else { kind(node) };
                let name = entry.rsplit('/').next().unwrap_or_default();
                if reply.add(INodeNo(node.inode), n as u64 + 1, told, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.answer(Op::Open, About::Inode(inode), reply, |_, _, reply| {
            reply.opened(FileHandle(0), FopenFlags::empty());
        });
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.answer(Op::Read, About::Inode(inode), reply, move |state, path, reply| {
            let content = state.nodes.get(path).and_then(|node| node.content.as_deref()).unwrap_or_default();
            let at = usize::try_from(offset).expect("a small number").min(content.len());
            let end = (at + size as usize).min(content.len());
            reply.data(&content[at..end]);
        });
    }

    fn mknod(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        self.answer(Op::Change, About::Entry(parent, name), reply, |state, path, reply| {
            state.put(path, Some(Vec::new()));
            enter(state, path, reply);
        });
    }

    fn link(&self, _: &Request, inode: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let to = self.state().path(About::Entry(newparent, newname)).expect("a parent that was looked up");
        self.answer(Op::Change, About::Inode(inode), reply, move |state, path, reply| {
            if !state.links {
                return reply.error(Errno::EPERM);
            }
            if state.nodes.contains_key(&to) {
                return reply.error(Errno::EEXIST);
            }
            let node = state.nodes.get(path).expect("its path is known").clone();
            state.paths.insert(node.inode, to.clone());
            state.nodes.insert(to.clone(), node);
            enter(state, &to, reply);
        });
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        self.answer(Op::Change, About::Entry(parent, name), reply, |state, path, reply| {
            state.put(path, None);
            enter(state, path, reply);
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer(Op::Change, About::Entry(parent, name), reply, |state, path, reply| {
            done(state.nodes.remove(path).map(drop).ok_or(Errno::ENOENT), reply);
        });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let to = self.state().path(About::Entry(newparent, newname)).expect("a parent that was looked up");
        self.answer(Op::Change, About::Entry(parent, name), reply, move |state, path, reply| {
            done(state.rename(path, &to, flags), reply);
        });
    }
}
