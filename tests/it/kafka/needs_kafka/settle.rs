//! Managers that never settle, and a window that is full.

use std::collections::BTreeSet;

use longshore_tests::http::ask;
use longshore_tests::wait_until;
use serde_json::Value;

use crate::kafka::site::{Copy, Site};

/// Gets an item, and gives its value.
fn get(copy: &Copy, name: &str) -> Option<String> {
    let (status, body) = ask(&copy.address, "GET", &format!("/v1/items/{name}"));
    let item: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
    Some(item.pointer("/data/value")?.as_str().expect("a value").to_owned())
}

fn is_committed(site: &Site, offset: u64) {
    wait_until("what is done to be committed", || {
        (site.kafka.committed(&site.group, &site.topic) == [Some(offset)]).then_some(())
    });
}

fn filled(lines: u32) -> Site {
    let site = Site::new(1);
    site.kcat(0, &[], (0..lines).map(|n| format!("item {n}")));
    site
}

#[test]
fn what_is_got_counts_as_done_and_is_given_once() {
    let site = filled(30);
    let copy = site.alone(&["--settle", "on-get", "--window", "5"]);
    let first = wait_until("a full window", || copy.names().filter(|names| names.len() == 5)).remove(0);
    assert_eq!(ask(&copy.address, "HEAD", &format!("/v1/items/{first}")).0, 200);
    assert!(copy.names().expect("a list").contains(&first), "to ask whether it is there is not to get it");
    let mut values = Vec::new();
    wait_until("all of it", || {
        for name in copy.names()? {
            values.push(get(&copy, &name).expect("it is listed"));
            assert_eq!(get(&copy, &name), None, "{name} was given already");
        }
        (values.len() == 30).then_some(())
    });
    assert_eq!(values, (0..30).map(|n| format!("item {n}")).collect::<Vec<_>>());
    is_committed(&site, 30);
}

#[test]
fn what_was_got_a_while_ago_counts_as_done_and_nothing_else() {
    let site = filled(12);
    let copy = site.alone(&["--settle", "after:500ms"]);
    let names = wait_until("all of it", || copy.names().filter(|names| names.len() == 12));
    let (last, others) = names.split_last().expect("there are some");
    for name in others {
        get(&copy, name).expect("it is listed, or was a moment ago");
    }
    wait_until("what was got to be gone", || copy.names().filter(|names| names == std::slice::from_ref(last)));
    is_committed(&site, 11);
    // The manager may say so as well.
    assert_eq!(ask(&copy.address, "DELETE", &format!("/v1/items/{last}")).0, 204);
    is_committed(&site, 12);
}

#[test]
fn a_full_window_that_nobody_settles_is_loud() {
    let site = filled(20);
    let copy = site.alone(&["--window", "5", "--window-full-after", "200ms"]);
    let withheld = wait_until("a reason", || {
        let list: Value = serde_json::from_str(&ask(&copy.address, "GET", "/v1/withheld").1).ok()?;
        list["items"].as_array()?.iter().find(|one| one["reason"] == "window-full").cloned()
    });
    assert!(withheld["message"].as_str().expect("a message").contains("--settle"), "{withheld}");
    assert!(
        copy.says("ambassador", "the window is full")["message"].as_str().expect("text").contains("--settle on-get")
    );
    assert!(ask(&copy.probes, "GET", "/metrics").1.contains("\nlongshore_window_full 1\n"));
    assert_eq!(ask(&copy.probes, "GET", "/readyz").0, 200);
    let mut settled = BTreeSet::new();
    wait_until("all of it", || {
        for name in copy.names()? {
            assert_eq!(ask(&copy.address, "DELETE", &format!("/v1/items/{name}")).0, 204);
            settled.insert(name);
        }
        (settled.len() == 20).then_some(())
    });
    wait_until("the window to have room", || {
        let metrics = ask(&copy.probes, "GET", "/metrics").1;
        let withheld = ask(&copy.address, "GET", "/v1/withheld").1;
        (metrics.contains("\nlongshore_window_full 0\n") && withheld.contains("\"items\":[]")).then_some(())
    });
}
