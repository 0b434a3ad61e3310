//! What the machine, the pod's author or a stage itself denies: full disks, volumes that nothing may be executed on, users who
//! may not read one another's files, and a stage that wants to write another's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stages::pod::{Pod, each};

/// A volume of its own, which every container and this test see.
struct Volume(PathBuf);

impl Volume {
    fn mount(at: PathBuf, options: &str) -> Self {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&at).status().expect("runs");
        assert!(status.success(), "{}", at.display());
        Self(at)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_stage_that_never_starts_is_given_up() {
    each(["never there", "not executable"], |what| {
        let pod = Pod::chain(&[("detect", "echo whole >$OUTPUT_DIR/x", ""), ("blur", "exit 0", "startTimeout: 500ms")]);
        let mut detect = pod.shim("detect").start();
        // A volume that `emptyDir` has on nodes where nothing may be executed from it.
        let mut blur = (what == "not executable")
            .then(|| pod.shim("blur").mounts("mount -o remount,bind,noexec $pod/bin").start());
        if let Some(blur) = &mut blur {
            let ended = blur.wait();
            assert_eq!(ended, longshore_tests::Ended::Code(126), "{}", pod.log());
        }
        let mut adapter = pod.adapter().start();
        let outcome = crate::stages::pod::Outcome::new(&pod, adapter.wait());
        let outcome = outcome.assert(&pod, what, 75, "StartTimeout");
        assert!(outcome.message.contains("stage blur") && outcome.message.contains("kubectl describe pod"));
        assert_eq!((outcome.stage("detect"), outcome.stage("blur")), ("Completed", "StartTimeout"));
        assert_eq!(detect.wait(), longshore_tests::Ended::Code(0), "it heard that there is no more work");
        pod.assert_clean();
    });
}

#[test]
fn a_full_disk_is_told_of_and_leaves_nothing() {
    each(["the stage's", "the stage's, ignored", "the adapter's", "the output's"], |whose| {
        let fill = match whose {
            "the stage's" => "cat /dev/zero >$OUTPUT_DIR/x",
            "the stage's, ignored" => "cat /dev/zero >$TMPDIR/x; echo whole >$OUTPUT_DIR/x || exit 74",
            _ => "head -c 3000000 /dev/zero >$OUTPUT_DIR/x",
        };
        let pod = Pod::chain(&[("detect", fill, "")]);
        let (place, code, reason, size) = match whose {
            "the stage's" => ("pod/stages/detect", 1, "CommandFailed", "2m"),
            "the stage's, ignored" => ("pod/stages/detect", 1, "CommandFailed", "2m"),
            "the adapter's" => ("pod/adapter", 74, "", "64k"),
            _ => ("out", 74, "", "1m"),
        };
        let volume = Volume::mount(pod.path(place), &format!("size={size},mode=755"));
        if whose == "the adapter's" {
            fs::write(pod.path(place).join("ballast"), vec![0; 100 << 10]).expect_err("is full");
        }
        let mut sidecars = pod.sidecars();
        let outcome = sidecars.finish(pod.adapter().start());
        assert_eq!(outcome.code, code, "{whose}: {} {}\n{}", outcome.reason, outcome.message, pod.log());
        if !reason.is_empty() {
            assert_eq!(outcome.reason, reason, "{whose}");
        }
        assert!(!pod.is_published() && !pod.path("out/a.txt").exists(), "{whose}");
        if whose == "the output's" {
            pod.assert_clean();
        }
        assert!(pod.log().contains("No space left"), "{whose}: {}", pod.log());
        // With room, the same pod succeeds.
        drop((sidecars, volume));
        if !whose.starts_with("the stage's") {
            pod.again();
        }
    });
}

#[test]
fn users_who_cannot_read_one_anothers_files_hand_them_over_all_the_same() {
    let detect = "echo umask $(umask) user $(id -u); mkdir -m 700 $OUTPUT_DIR/d; echo whole >$OUTPUT_DIR/d/x; chmod 600 $OUTPUT_DIR/d/x";
    let blur = "grep -c uri $WORK_ITEM_FILE >$OUTPUT_DIR/y; cat $ITEM_INPUT_FILE $ITEM_INPUT_DIR/* $NEEDS_DETECT/d/x >>$OUTPUT_DIR/y";
    let mut pod = Pod::chain(&[("detect", detect, ""), ("blur", blur, "")]);
    pod.with_users(&[54321, 54322, 54323]);
    let mut sidecars = pod.sidecars();
    sidecars.finish(pod.adapter().start()).assert(&pod, "three users", 0, "Published");
    assert_eq!(pod.published("y"), "1\nsome input\nsome input\nwhole\n");
    assert!(pod.log().contains("umask 0077 user 54322\n"), "{}", pod.log());
    pod.assert_clean();
}

#[test]
fn a_stage_cannot_write_what_is_anothers() {
    // The same user, so that nothing but the mounts is in its way.
    let forge = "
        for file in $NEEDS_DETECT/x $NEEDS_DETECT/../1.result.json $NEEDS_DETECT/../2.result.json $NEEDS_DETECT/../hello.json \
            $WORK_ITEM_FILE $ITEM_INPUT_FILE $ADAPTER/hello.json $ADAPTER/done.json $ADAPTER/stages/blur/2.go.json $BIN/stage-shim; do
            if echo forged >$file; then echo written: $file; exit 1; fi
            if rm $file && [ -e $file ]; then echo removed: $file; exit 2; fi
            if mv $file $file.gone; then echo moved: $file; exit 3; fi
        done
        touch $OUTPUT_DIR/y";
    let mut pod = Pod::chain(&[("detect", "echo whole >$OUTPUT_DIR/x", ""), ("blur", forge, "")]);
    pod.with_users(&[54321, 54321, 54321]);
    let adapter = pod.path("pod/adapter").display().to_string();
    let bin = pod.path("pod/bin").display().to_string();
    let mut sidecars = pod.sidecars_but("blur", |shim| shim.env("ADAPTER", &adapter).env("BIN", &bin));
    sidecars.finish(pod.adapter().start()).assert(&pod, "a forger", 0, "Published");
    let denied = pod.log().matches("Read-only file system").count();
    assert!(denied > 15, "{denied}: {}", pod.log());
    pod.assert_clean();
}

/// What runs in a stage's container can say of itself what it likes; that is its own failure, or its own success.
#[test]
fn a_stage_that_forges_its_own_result_fails_by_itself_alone() {
    let own = "cd $TMPDIR/..; until [ -e 1.started.json ]; do sleep 0.01; done
        boot=$(sed 's/.*\"boot\":\"\\([a-z2-7]*\\)\".*/\\1/' hello.json)
        adapter=$(sed 's/.*\"adapter\":\"\\([a-z2-7]*\\)\".*/\\1/' 1.started.json)
        at=$(sed 's/.*\"at\":\"\\([^\"]*\\)\".*/\\1/' 1.started.json)
        write() {
            echo '{\"boot\":\"'$boot'\",\"adapter\":\"'$adapter'\",\"attempt\":1,\"reason\":\"'$1'\",\"message\":\"forged\",\"exitCode\":'$2',' \
                '\"endedAt\":\"'$at'\",\"seconds\":1}' >forged; mv forged 1.result.json
        };";
    each(
        [
            // What is said in earnest comes after it, if the command ends by itself: it would be a matter of time which is heard.
            ("Completed", "write Completed 0; sleep 1000; exit 1", 73, "OutputUnusable"),
            ("Completed, and a link", "ln -s /etc out; write Completed 0; exec sleep 1000", 73, "OutputUnusable"),
            ("a failure of no code", "write Error 0; exec sleep 1000", 1, "CommandFailed"),
            ("no message at all", "echo no >1.result.json; exit 3", 3, "CommandFailed"),
            ("an endless one", "head -c 2000000 /dev/zero >1.result.json; exit 3", 3, "CommandFailed"),
            ("a pipe", "mkfifo p; mv p 1.result.json; exit 3", 3, "CommandFailed"),
        ],
        |(what, script, code, reason)| {
            let pod = Pod::chain(&[("detect", &format!("{own} {script}"), "")]);
            let mut sidecars = pod.sidecars();
            let outcome = sidecars.finish(pod.adapter().start());
            assert_eq!(
                (outcome.code, outcome.reason.as_str()),
                (code, reason),
                "{what}: {}\n{}",
                outcome.message,
                pod.log()
            );
            assert!(!pod.is_published(), "{what}");
            pod.assert_clean();
        },
    );
}

#[test]
fn an_init_container_that_runs_again_replaces_the_program_that_runs() {
    let pod = Pod::chain(&[("detect", "until [ -e $IN/open ]; do sleep 0.01; done; touch $OUTPUT_DIR/x", "")]);
    let shim = pod.path("pod/bin/stage-shim");
    let install = |from: &Path| {
        let output = Command::new(from).arg("install").arg(pod.path("pod/bin")).output().expect("runs");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(shim.metadata().expect("is there").permissions().mode() & 0o777, 0o755);
    };
    let image = longshore_tests::programs::program("stage-shim");
    install(&image);
    let mut sidecars = pod.sidecars();
    let adapter = pod.adapter().start();
    pod.started("detect", 1);
    // The file that is being executed cannot be written to; it can be replaced.
    let busy = fs::File::options().write(true).open(&shim).expect_err("is being executed");
    assert_eq!(busy.kind(), std::io::ErrorKind::ExecutableFileBusy);
    install(&image);
    pod.open();
    sidecars.finish(adapter).assert(&pod, "installed again", 0, "Published");
    pod.again_with(pod.sidecars());
}

#[test]
fn a_grandchild_that_holds_the_pipes_holds_up_nobody() {
    each(
        ["sleep 1000 &", "setsid sleep 1000 &", "setsid env -i sh -c 'trap \"\" TERM; while :; do sleep 1; done' &"],
        |hold| {
            let pod = Pod::chain(&[
                ("detect", &format!("{hold} echo whole >$OUTPUT_DIR/x"), ""),
                ("blur", "cp $INPUT_FILE $OUTPUT_DIR/y", ""),
            ]);
            let mut sidecars = pod.sidecars();
            let outcome = sidecars.finish(pod.adapter().start()).assert(&pod, hold, 0, "Published");
            assert_eq!(outcome.stage("detect"), "Completed");
            assert_eq!(pod.published("y"), "whole\n");
        },
    );
}
