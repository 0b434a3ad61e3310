//! Whoever works on what an ambassador lists, by the plainest client there is, and what all of them know to be settled.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::ambassador::{Ambassador, names};
use crate::http::ask;
use crate::supervised::until;

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

/// Has three ambassadors of one queue, each started by such a command, drain it, each with hands that work on what it lists. The first of them is killed whenever `life`
/// more are settled, and another comes. Each value is settled, and all that is settled is known to somebody, but for what was asked for
/// when one was killed.
///
/// # Panics
/// If it is not so.
#[expect(clippy::print_stdout, reason = "how much was done twice is to be seen")]
pub async fn drained_by_three(command: impl Fn() -> Command + Send + Sync, all: usize, life: usize) {
    const HANDS: usize = 4;
    let ledger = Arc::<Ledger>::default();
    let pair = async || {
        let ambassador = Ambassador::start(command()).await;
        let hands = Hands::start(ambassador.url(), HANDS, &ledger);
        (ambassador, hands)
    };
    let ended = async |hands: Hands| tokio::task::spawn_blocking(|| hands.end()).await.expect("they saw nothing wrong");
    let mut pairs = vec![pair().await, pair().await, pair().await];
    let mut kills = 0;
    while (kills + 1) * life < all {
        until("more that is settled", async || {
            assert!(!pairs.iter().any(|(_, hands)| hands.have_failed()), "all goes well");
            (ledger.settled() >= (kills + 1) * life).then_some(())
        })
        .await;
        let (ambassador, hands) = pairs.remove(0);
        drop(ambassador);
        ended(hands).await;
        kills += 1;
        pairs.push(pair().await);
    }
    until("all that is asked for to be settled", async || {
        assert!(!pairs.iter().any(|(_, hands)| hands.have_failed()), "all goes well");
        (ledger.begun() >= all).then_some(())
    })
    .await;
    for (ambassador, hands) in pairs {
        ambassador.is_empty().await;
        ended(hands).await;
    }
    assert_eq!(ledger.begun(), all, "and nothing else");
    // Of what was asked for when somebody was killed, nobody knows what became, but that it is not there any more.
    let unknown = all - ledger.settled();
    assert!(unknown <= kills * HANDS, "{unknown} are gone, and nobody has settled them");
    println!("{kills} kills among {all}: {} settled again, {unknown} perhaps", ledger.repeats());
}

/// Settles what is listed, but for a quarter of it.
fn round(address: &str, over: &AtomicBool, ledger: &Ledger) {
    let (status, list) = ask(address, "GET", "/v1/items");
    let mut names = if status == 200 { names(&serde_json::from_str(&list).unwrap_or_default()) } else { Vec::new() };
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

fn value(item: &str) -> String {
    let item: Value = serde_json::from_str(item).expect("an item is JSON");
    item.pointer("/data/value").and_then(Value::as_str).expect("it has a value").to_owned()
}
