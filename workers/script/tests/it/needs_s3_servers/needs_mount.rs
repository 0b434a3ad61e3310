//! Disks that are too small for what is to be fetched.

use super::remote::{COPY, Remote};
use crate::needs_mount::Small;

#[test]
fn a_disk_that_fills_while_an_input_is_fetched_is_74() {
    let remote = Remote::on_minio();
    let _small = Small::mount(&remote.world.path("tmp"));
    let ended = remote.worker(remote.item("large", vec![7; 1_000_000]), COPY).run();
    ended.expect(74, "DiskFull");
    assert!(!ended.report().permanent);
    assert_eq!(remote.output_keys(), ["large/_attempts/1/report.json"]);
    remote.assert_clean();
    remote.worker(remote.item("small", "fits"), COPY).run().expect(0, "Published");
    assert_eq!(remote.read("small", "copy"), "fits");
}
