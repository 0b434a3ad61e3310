//! Disks that are full, which takes a small one to be mounted.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::World;

/// A file system of a few hundred kilobytes; unmounted when dropped.
pub(crate) struct Small(PathBuf);

impl Small {
    pub(crate) fn mount(at: &Path) -> Self {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(at).output();
        let mounted = mounted.expect("mount runs");
        assert!(mounted.status.success(), "mounting a small file system needs root: {mounted:?}");
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_script_that_fills_the_disk_is_74() {
    let world = World::new();
    let _small = Small::mount(&world.path("out"));
    let item = world.item("a", "x");
    let fill = r#"head -c 1000000 /dev/zero > "$OUTPUT_DIR/big""#;
    let ended = world.worker(&item, &format!("{fill} || exit 5")).run();
    let report = ended.expect(74, "DiskFull");
    assert_eq!(report.command_exit_code, Some(5), "the report keeps the command's own code");
    assert!(!report.permanent);
    assert!(world.try_published("a").is_none());
    world.assert_clean();

    // The script does not notice; the marker does not fit.
    world.worker(&item, &format!("{fill}; exit 0")).run().expect(74, "DiskFull");
    assert!(world.try_published("a").is_none());
    world.assert_clean();

    // The room is given back, and the item can be done.
    world.worker(&item, r#"echo small > "$OUTPUT_DIR/small""#).run().expect(0, "Published");
    world.published("a");
}

#[test]
fn a_full_scratch_is_74_too() {
    let world = World::new();
    let _small = Small::mount(&world.path("tmp"));
    let item = world.item("a", "x");
    let body = r#"head -c 1000000 /dev/zero > "$TMPDIR/big" || exit 5"#;
    world.worker(&item, body).run().expect(74, "DiskFull");
    // An ordinary failure on a disk with room stays an ordinary failure.
    world.worker(&item, "exit 5").run().expect(5, "CommandFailed");
    world.assert_clean();
}
