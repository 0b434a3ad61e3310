//! What the tests share: a store among servers of their own.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::marker::MarkedItem;
use contract::{ItemName, Key};
use storage::{BoxFuture, Claim, Error, Input, Inputs, Object, Outputs, Place, Store, Uri};
use storage_https::{HttpsArgs, HttpsStore, Resolve, Surroundings};

use crate::server::Tls;

/// Longer than any machine stands still, where something is to succeed in the end.
pub(crate) const PATIENT: Duration = Duration::from_secs(300);
/// Where something is to fail in the end.
pub(crate) const IMPATIENT: Duration = Duration::from_millis(400);

/// A resolver that gives each of a name's answers once, and the last for ever.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl Names {
    pub(crate) fn new(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().expect("an address")).collect();
        let names = names.iter().map(|(name, answers)| ((*name).to_owned(), answers.iter().rev().map(parse).collect()));
        Arc::new(Self(Mutex::new(names.collect())))
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let mut names = self.0.lock().expect("not poisoned");
        let answer = match names.get_mut(host) {
            None => Err(io::Error::other(format!("no such host: {host}"))),
            Some(answers) if answers.len() > 1 => Ok(answers.pop().expect("there are several")),
            Some(answers) => Ok(answers.first().cloned().unwrap_or_default()),
        };
        Box::pin(async move { answer })
    }
}

/// `good.test` and `other.test` are this machine.
pub(crate) fn local_names() -> Arc<Names> {
    Names::new(&[("good.test", &[&["127.0.0.1"]]), ("other.test", &[&["127.0.0.1"]])])
}

/// A store that trusts `tls` and may reach 127.0.0.1.
pub(crate) fn args(tls: &Tls) -> HttpsArgs {
    HttpsArgs {
        https_ca_bundle: Some(tls.ca_bundle.clone()),
        https_allow_private: vec!["127.0.0.1".parse().expect("an address")],
        ..HttpsArgs::default()
    }
}

/// One that asks again for so long, and waits for every answer: a slow machine is not a silent server.
pub(crate) fn store(args: HttpsArgs, names: Arc<Names>, patience: Duration) -> HttpsStore {
    HttpsStore::within(args, Surroundings { resolver: names, patience, silence: PATIENT })
}

pub(crate) fn uri(text: &str) -> Uri {
    Uri::parse(text).expect(text)
}

pub(crate) fn object(text: &str) -> Object {
    Object { uri: uri(text), version: None, version_id: None, size: None }
}

pub(crate) fn inputs(store: &HttpsStore, root: &str) -> Box<dyn Inputs> {
    store.inputs(&uri(root)).expect(root)
}

pub(crate) fn outputs(store: &HttpsStore, root: &str) -> Box<dyn Outputs> {
    store.outputs(&uri(root)).expect(root)
}

/// Fetches `text` below the root of its origin into `dir`.
pub(crate) async fn fetch(store: &HttpsStore, object: &Object, dir: &Path) -> Result<Box<dyn Input>, Error> {
    let Uri::Other { text, .. } = &object.uri else { panic!("a URL") };
    let origin = text.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    inputs(store, &origin).fetch(object, dir).await
}

pub(crate) fn claim(key: &str, version: &str, attempt: &str) -> Claim {
    let item = MarkedItem {
        name: ItemName::derive(b"", key.as_bytes(), version.as_bytes()),
        key: Key::new(key.as_bytes()),
        source: None,
        version: version.to_owned(),
    };
    Claim {
        place: Place::new(key.as_bytes()).expect("a place"),
        item,
        revision: 0,
        attempt: attempt.to_owned(),
        number: 1,
        uploads: std::collections::BTreeMap::new(),
    }
}

/// Bytes of which no two stretches are alike.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| u8::try_from((n ^ (n >> 8) ^ (n >> 16)) & 0xff).expect("a byte")).collect()
}

/// The names of all that lies in `dir`.
pub(crate) fn listed(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
