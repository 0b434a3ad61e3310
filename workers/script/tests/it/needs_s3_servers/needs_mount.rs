//! Disks that are too small for what is to be fetched.

use super::remote::{COPY, Remote};
use crate::needs_mount::Small;

#[test]
fn a_disk_that_fills_while_an_input_is_fetched_is_74() {
    let remote = Remote::on_minio();
    let small = Small::mount(&remote.world.path("tmp"));
    let large = remote.item("large", vec![b'x'; 1_000_000]);
    let ended = remote.worker(large.clone(), COPY).run();
    ended.expect(74, "DiskFull");
    assert!(!ended.report().permanent);
    assert_eq!(remote.output_keys(), ["large/_attempts/1/report.json"]);
    remote.assert_clean();
    remote.worker(remote.item("small", "fits"), COPY).run().expect(0, "Published");
    assert_eq!(remote.read("small", "copy"), "fits");
    // With room, the same item is whole: nothing of the first try is taken for it.
    drop(small);
    remote.worker(large, COPY).env("ATTEMPT", "2").run().expect(0, "Published");
    assert_eq!(remote.read("large", "copy").len(), 1_000_000);
    remote.assert_clean();
}

#[test]
fn a_disk_that_is_too_small_for_what_a_url_leads_to_is_74() {
    let remote = Remote::on_minio();
    remote.let_outputs_be_read();
    let small = Small::mount(&remote.world.path("tmp"));
    let item = remote.signed_item("a", vec![b'x'; 1_000_000], &["copy", "second"]);
    let ended = remote.keyless(&item, COPY).run();
    ended.expect(74, "DiskFull");
    assert!(!ended.report().permanent);
    assert_eq!(remote.output_keys(), Vec::<String>::new());
    remote.assert_clean();
    drop(small);
    remote.keyless(&item, COPY).env("ATTEMPT", "2").run().expect(0, "Published");
    assert_eq!(remote.read("a", "copy").len(), 1_000_000);
    remote.assert_clean();
}
