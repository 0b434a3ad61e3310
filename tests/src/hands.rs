//! Whoever works on what an ambassador lists, by the plainest client there is, and what all of them know to be settled.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::http::ask;

/// How often each value was settled, as far as that is known: 0 for one that somebody asked for to be, and heard nothing of.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<String, usize>>);

impl Ledger {
    /// How many values somebody has asked for to be settled.
    pub fn begun(&self) -> usize {
        self.values().len()
    }

    /// How many of them are known to be settled.
    pub fn settled(&self) -> usize {
        self.values().values().filter(|times| **times > 0).count()
    }

    /// How many settles there were beyond the first of each.
    pub fn repeats(&self) -> usize {
        self.values().values().map(|times| times.saturating_sub(1)).sum()
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Several who work on what one ambassador lists, in no order, and leave some of it for later.
#[derive(Debug)]
pub struct Hands {
    over: Arc<AtomicBool>,
    hands: Vec<JoinHandle<()>>,
}

impl Hands {
    /// So many, on what is listed at `http://HOST:PORT`, until they are told to end.
    pub fn start(url: &str, hands: usize, ledger: &Arc<Ledger>) -> Self {
        let over = Arc::<AtomicBool>::default();
        let hands = (0..hands).map(|_| {
            let address = url.trim_start_matches("http://").to_owned();
            let (over, ledger) = (Arc::clone(&over), Arc::clone(ledger));
            std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    round(&address, &over, &ledger);
                }
            })
        });
        Self { hands: hands.collect(), over }
    }

    /// Whether one of them saw what must not be.
    pub fn have_failed(&self) -> bool {
        !self.over.load(Ordering::SeqCst) && self.hands.iter().any(JoinHandle::is_finished)
    }

    /// They end, after what they are at.
    ///
    /// # Panics
    /// If one of them saw what must not be.
    pub fn end(self) {
        self.over.store(true, Ordering::SeqCst);
        for hand in self.hands {
            hand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }
}

/// Settles what is listed, but for a quarter of it.
fn round(address: &str, over: &AtomicBool, ledger: &Ledger) {
    let (status, list) = ask(address, "GET", "/v1/items");
    let mut names = if status == 200 { names(&list) } else { Vec::new() };
    if names.is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    fastrand::shuffle(&mut names);
    names.truncate(names.len() - names.len() / 4);
    for name in names {
        if over.load(Ordering::SeqCst) {
            return;
        }
        work(address, &name, ledger);
    }
}

fn work(address: &str, name: &str, ledger: &Ledger) {
    let path = format!("/v1/items/{name}");
    let value = match ask(address, "GET", &path) {
        (200, item) => value(&item),
        // Nobody is there; another hand was quicker; or it was taken back, and nothing is known of it.
        (0 | 404 | 410 | 503, _) => return,
        (status, text) => panic!("{name} was listed, and is {status}: {text}"),
    };
    ledger.values().entry(value.clone()).or_default();
    match ask(address, "DELETE", &path) {
        (204, _) => *ledger.values().entry(value).or_default() += 1,
        (0 | 503, _) => {}
        (status, text) => panic!("a settle of {name} is {status}: {text}"),
    }
}

fn names(list: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(list).unwrap_or_default();
    let names = list.get("items").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

fn value(item: &str) -> String {
    let item: Value = serde_json::from_str(item).expect("an item is JSON");
    item.pointer("/data/value").and_then(Value::as_str).expect("it has a value").to_owned()
}
