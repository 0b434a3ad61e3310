//! A server that keeps what is put to it, as a web server with PUT does, with the bad habits that some have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use contract::Marker;

use crate::server::{Asked, Reply, Server, Tls, answer};

/// What is there, by path.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    objects: BTreeMap<String, (Vec<u8>, u64)>,
    collections: BTreeSet<String>,
    written: u64,
}

/// What a server does other than it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Habits {
    /// Nothing can be read without a signature.
    pub(crate) write_only: bool,
    /// Collections are there only once they are made.
    pub(crate) collections: bool,
    /// Conditions are not heeded.
    pub(crate) unconditional: bool,
    /// The first PUT of a marker happens, and nobody is told.
    pub(crate) loses_reply: bool,
    /// The last byte of what is put is not kept.
    pub(crate) cuts: bool,
}

pub(crate) struct Shelf {
    pub(crate) server: Server,
    pub(crate) kept: Arc<Mutex<Kept>>,
}

impl Shelf {
    pub(crate) async fn start(tls: &Tls, habits: Habits) -> Self {
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let inside = Arc::clone(&kept);
        let server = Server::start(tls, move |asked| inside.lock().expect("not poisoned").reply(asked, habits)).await;
        Self { server, kept }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://good.test:{}{path}", self.server.port())
    }

    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.kept.lock().expect("not poisoned").objects.get(path).map(|(bytes, _)| bytes.clone())
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        self.kept.lock().expect("not poisoned").put(path, bytes);
    }

    pub(crate) fn marker(&self, path: &str) -> Marker {
        serde_json::from_slice(&self.read(path).expect("a marker stands there")).expect("it is one")
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.kept.lock().expect("not poisoned").objects.keys().cloned().collect()
    }

    /// The paths that were put to, in order.
    pub(crate) fn puts(&self) -> Vec<String> {
        self.server.asked().into_iter().filter(|asked| asked.method == "PUT").map(|asked| asked.path).collect()
    }
}

impl Kept {
    fn put(&mut self, path: &str, bytes: &[u8]) {
        self.written += 1;
        self.objects.insert(path.to_owned(), (bytes.to_vec(), self.written));
    }

    fn reply(&mut self, asked: &Asked, habits: Habits) -> Reply {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let found = self.objects.get(path).cloned();
        let etag = found.as_ref().map(|(_, n)| format!("\"{n}\""));
        Reply::Answer(match asked.method.as_str() {
            "GET" | "HEAD" if habits.write_only => answer(403, &[], b""),
            "GET" | "HEAD" => match (found, etag) {
                (Some((bytes, _)), Some(etag)) => {
                    let mut whole = answer(200, &[("etag", &etag)], &bytes);
                    if asked.method == "HEAD" {
                        whole.truncate(whole.len() - bytes.len());
                    }
                    whole
                }
                _ => answer(404, &[], b""),
            },
            "PUT" => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let none_match = asked.header("if-none-match") == Some("*") && etag.is_some();
                let match_ = asked.header("if-match").is_some_and(|wanted| Some(wanted) != etag.as_deref());
                if habits.write_only && !query.contains("sig=") {
                    answer(403, &[], b"")
                } else if habits.collections && parent != "/dav" && !self.collections.contains(parent) {
                    answer(409, &[], b"")
                } else if (none_match || match_) && !habits.unconditional {
                    answer(412, &[], b"")
                } else {
                    let kept = if habits.cuts { asked.body.split_last().map(|(_, kept)| kept) } else { None };
                    self.put(path, kept.unwrap_or(&asked.body));
                    if habits.loses_reply && path.ends_with("/_SUCCESS.json") && found.is_none() {
                        return Reply::Cut(Vec::new());
                    }
                    answer(201, &[], b"")
                }
            }
            "MKCOL" => {
                let is_new = self.collections.insert(path.to_owned());
                answer(if is_new { 201 } else { 405 }, &[], b"")
            }
            "DELETE" => {
                let removed = self.objects.remove(path).is_some();
                answer(if removed { 204 } else { 404 }, &[], b"")
            }
            _ => answer(501, &[], b""),
        })
    }
}
