//! Every list that an ambassador gives while something befalls what it serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::ambassador::{Ambassador, http, is_all, names};

/// Asks an ambassador for its list, all the time.
#[derive(Debug)]
pub struct Watched {
    over: Arc<AtomicBool>,
    watching: JoinHandle<Vec<Listed>>,
}

/// A list that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Of so many names.
    pub names: usize,
    /// Whether it says that there is nothing behind them either.
    pub is_all: bool,
}

impl Watched {
    /// From now on.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(ambassador: &Ambassador) -> Self {
        let over = Arc::<AtomicBool>::default();
        let (ended, url) = (Arc::clone(&over), format!("{}/v1/items", ambassador.url()));
        let watching = tokio::spawn(async move {
            let (http, mut lists) = (http(), Vec::new());
            while !ended.load(Ordering::Relaxed) {
                let answer = http.get(&url).send().await.expect("the ambassador itself never goes");
                let status = answer.status();
                let body = answer.text().await.expect("a body");
                let list: Value = serde_json::from_str(&body).expect("JSON");
                if status == 200 {
                    lists.push(Listed { names: names(&list).len(), is_all: is_all(&list) });
                } else {
                    assert!(status == 503 && names(&list).is_empty(), "a list is {status}: {body}");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            lists
        });
        Self { over, watching }
    }

    /// Every list that was given until now: each was that, or a 503 without a name.
    ///
    /// # Panics
    /// If there was another answer, or none.
    pub async fn end(self) -> Vec<Listed> {
        self.over.store(true, Ordering::Relaxed);
        self.watching.await.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))
    }
}
