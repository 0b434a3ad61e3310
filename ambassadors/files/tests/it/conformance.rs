//! The contract's own suite, over a folder.

use std::sync::Arc;
use std::time::Duration;

use ambassador_kit::conformance::{self, Outcome, Plan};
use ambassador_kit::router::{Options, router};
use ambassador_kit::source::{Health, Source};
use clap::Parser;
use files_ambassador::{FilesArgs, FilesSource};
use sidecar::metrics::registry::Registry;

use crate::ambassador::until;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    files: FilesArgs,
}

async fn verdicts(settle: &str) -> Vec<conformance::Verdict> {
    let root = tempfile::tempdir().expect("a directory");
    for n in 0..40 {
        std::fs::write(root.path().join(format!("clip {n}.mp4")), n.to_string()).expect("written");
    }
    std::fs::write(root.path().join("clip.part"), "x").expect("written");
    let path = root.path().to_str().expect("text");
    let flags = ["p", "--root", path, "--stable-for", "0s", "--on-settle", settle];
    let settings = Line::try_parse_from(flags).expect("parses").files.settings().expect("makes sense");
    let source = FilesSource::open(settings, &mut Registry::default()).expect("opens");
    let health = source.health();
    until("the first scan", async || (*health.borrow() == Health::Live).then_some(())).await;
    // A silent watch says something after half of it.
    let options = Options { deadline: Duration::from_secs(8), ..Options::default() };
    let plan = Plan { settle: settle != "none", ..Plan::default() };
    conformance::run(router(Arc::new(source), options), plan).await
}

#[tokio::test]
async fn a_folder_keeps_every_promise_of_the_contract() {
    for settle in ["none", "delete"] {
        let verdicts = verdicts(settle).await;
        conformance::assert_kept(&verdicts);
        let kept = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Kept).count();
        assert!(kept >= 38, "most were put to the test: {verdicts:#?}");
    }
}
