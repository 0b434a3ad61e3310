//! A topic is drained by several copies of ambassador and manager, which end by themselves.

use std::collections::BTreeMap;
use std::fs;

use longshore_tests::{Ended, wait_until};

use crate::kafka::site::{Copy, Site};

/// Notes which value was worked on, and fails for good at those that are hopeless.
const WORK: &str = r#"value=$(sed 's/.*"value":"\([^"]*\)".*/\1/' "$WORK_ITEM_FILE")
    echo "$value" >>"$SITE/done"; case $value in hopeless*) exit 65 ;; esac"#;

fn work(site: &Site) -> String {
    WORK.replace("$SITE", &site.path().display().to_string())
}

/// How often each value was worked on.
fn counts(site: &Site) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(site.path().join("done")).unwrap_or_default().lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

fn all_is_committed(site: &Site) {
    let (committed, ends) = (site.kafka.committed(&site.group, &site.topic), site.kafka.end_offsets(&site.topic));
    assert_eq!(committed, ends.into_iter().map(Some).collect::<Vec<_>>());
}

#[test]
fn copies_that_began_before_the_loader_share_a_topic_and_end_when_it_is_empty() {
    // One copy more than there are partitions: it has nothing to do, and is to end all the same.
    let site = Site::new(3);
    let manager = ["--until-empty", "--wait-for-first", "--parallelism", "2"];
    let mut copies: Vec<Copy> = (0..4).map(|n| site.member(&format!("copy-{n}"), &manager, &work(&site))).collect();
    for copy in &mut copies {
        wait_until("a copy that is empty, and knows what is its", || {
            let list = copy.list()?;
            assert_ne!(list["metadata"]["hadItems"], true);
            let empty = list["items"].as_array()?.is_empty() && list["metadata"]["complete"] == true;
            (empty && list["metadata"]["backlog"] == 0).then_some(())
        });
        let waits = copy.says("manager", "waiting for a first item");
        assert_eq!(copy.manager.as_mut().expect("it was started").ended(), None, "{waits}");
    }
    for partition in 0..3 {
        site.kcat(partition, &[], (0..40).map(|n| format!("{partition}-{n}")));
    }
    let ended: Vec<Ended> = copies.into_iter().map(Copy::ends).collect();
    assert_eq!(ended, vec![Ended::Code(0); 4]);
    assert_eq!(counts(&site).len(), 120);
    all_is_committed(&site);
}

#[test]
fn whoever_has_dead_items_says_so() {
    let site = Site::new(2);
    for partition in 0..2 {
        site.kcat(partition, &[], (0..10).map(|n| format!("{partition}-{n}")));
    }
    site.kcat(0, &[], ["hopeless".to_owned()]);
    let copies: Vec<Copy> =
        (0..2).map(|n| site.member(&format!("copy-{n}"), &["--until-empty"], &work(&site))).collect();
    let mut ended: Vec<Ended> = copies.into_iter().map(Copy::ends).collect();
    ended.sort_by_key(|ended| format!("{ended:?}"));
    // Where the partition went from one to the other, both may have met it.
    assert!(
        [[Ended::Code(0), Ended::Code(3)], [Ended::Code(3), Ended::Code(3)]].contains(&[ended[0], ended[1]]),
        "{ended:?}"
    );
    assert_eq!(counts(&site).len(), 21);
    all_is_committed(&site);
}
