//! Managers that never settle.

use std::collections::HashSet;

use longshore_tests::until;
use serde_json::json;

use crate::program::serving;
use crate::queue::Queue;

mod needs_rabbitmq {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_window_that_nobody_settles_is_told_of_and_one_that_settles_by_itself_is_drained() {
        let queue = Queue::new();
        queue.fill(6);
        let mut stuck = serving(&queue, &["--window", "2", "--window-full-after", "300ms"]).await;
        let held = stuck.holds(2).await;
        let full = until("it to be told of", async || {
            let (_, list) = stuck.ask("/v1/withheld").await?;
            list["items"].as_array()?.iter().find(|one| one["reason"] == "window-full").cloned()
        })
        .await;
        assert!(full["message"].as_str().expect("a text").contains("--settle"), "{full}");
        assert!(stuck.figure("longshore_window_full", "").await > 0.5);
        stuck.ready(200).await;
        stuck.terminate().await;

        let program = serving(&queue, &["--window", "2", "--settle", "after:500ms"]).await;
        let (mut seen, mut got) = (HashSet::new(), Vec::new());
        until("all to have been read", async || {
            // Whoever asks again has it wait anew.
            for name in program.names().await?.into_iter().filter(|name| seen.insert(name.clone())) {
                got.push(program.data(&name).await["messageId"].clone());
            }
            (got.len() == 6).then_some(())
        })
        .await;
        assert_eq!(got, ["0", "1", "2", "3", "4", "5"].map(|id| json!(id)), "what was held first comes first");
        program.is_empty().await;
        assert_eq!(program.ask(&format!("/v1/items/{}", held[0])).await.expect("an answer").0, 410);
        until("an empty queue", async || (queue.depth() == 0).then_some(())).await;
    }
}
