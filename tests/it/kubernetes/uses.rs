//! The ways of use that k8s/README.md tells of, as pods that run to their end: the manifests of k8s/ as they stand there.

mod needs_kubernetes {
    use std::fs;
    use std::process::Command;

    use serde_json::Value;
    use sha2::{Digest, Sha256};
    use test_servers::JobEnd;

    use crate::kubernetes::ours::{Team, foreign_images};

    #[test]
    fn a_manager_that_only_gets_has_our_ambassador_beside_it() {
        let team = Team::new("beside", &["files-ambassador"]);
        for name in ["in/one.txt", "in/two.txt", "in/three.jpg"] {
            team.add(name, name.as_bytes());
        }
        team.apply("beside");
        // By the manager's own account, in its own words: nothing of ours is in its image.
        let worked_on = team.space.until("pods", |_| {
            let log = team.space.logs("deploy/manager", "manager");
            let mut names: Vec<_> =
                log.lines().filter_map(|line| line.strip_prefix("worked on ")).map(str::to_owned).collect();
            names.sort();
            (names.len() == 2).then_some(names)
        });
        for (name, item) in
            ["one.txt", "two.txt"].into_iter().zip(["one-txt-", "two-txt-"].map(|slug| find(&worked_on, slug)))
        {
            let record = team.space.kubectl(&[
                "exec",
                "deploy/manager",
                "--container=manager",
                "--",
                "cat",
                &format!("/state/done/{item}"),
            ]);
            let record = String::from_utf8_lossy(&record.stdout).into_owned();
            assert!(
                record.contains(&format!("\"uri\":\"file:///data/in/{name}\"")),
                "{item}: {record}\n{}",
                team.space.story()
            );
        }
        a_source_that_is_away_is_no_matter_of_the_pod(&team);
    }

    fn find<'a>(names: &'a [String], slug: &str) -> &'a str {
        names.iter().find(|name| name.starts_with(slug)).unwrap_or_else(|| panic!("{slug} is not in {names:?}"))
    }

    /// The folder goes: the ambassador says so, and the pod is as Ready as it was. It comes back: the manager goes on.
    fn a_source_that_is_away_is_no_matter_of_the_pod(team: &Team) {
        let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let ready_since = |pod: &Value| {
            let conditions = pod.pointer("/status/conditions")?.as_array()?;
            let ready = conditions.iter().find(|condition| text(condition, "/type").as_deref() == Some("Ready"))?;
            (text(ready, "/status")? == "True").then(|| text(ready, "/lastTransitionTime"))?
        };
        let (name, address, since) = team.space.until("pods", |pods| {
            let pod = pods.pointer("/items/0")?;
            Some((text(pod, "/metadata/name")?, text(pod, "/status/podIP")?, ready_since(pod)?))
        });
        let said = |words: &str| {
            team.space.until("pods", |_| team.space.logs(&name, "manager").contains(words).then_some(()));
        };
        let is_ready = |wanted: &str| {
            let url = format!("http://{address}:9090/readyz");
            let words = ["-s", "-o", "/dev/null", "-w", "%{http_code}", &url];
            let asked = || team.space.cluster().command("curl").args(words).output().expect("curl runs").stdout;
            team.space.until("pods", |_| (asked() == wanted.as_bytes()).then_some(()));
        };
        is_ready("200");
        fs::rename(team.data.join("in"), team.data.join("away")).expect("renamed");
        is_ready("503");
        said("the source does not answer; asking again");
        fs::rename(team.data.join("away"), team.data.join("in")).expect("renamed");
        team.add("in/four.txt", b"four");
        is_ready("200");
        said("worked on four-txt-");
        let pod = team.space.get(&format!("pod/{name}")).expect("the same pod");
        assert_eq!(ready_since(&pod), Some(since), "it was Ready all the time\n{pod}");
        let lists = ["/status/containerStatuses", "/status/initContainerStatuses"].map(|list| pod.pointer(list));
        let restarts = lists.into_iter().flatten().filter_map(Value::as_array).flatten();
        let restarts: Vec<_> = restarts.filter_map(|status| status.get("restartCount")?.as_u64()).collect();
        assert_eq!(restarts, [0, 0], "{pod}");
    }

    #[test]
    fn the_generic_worker_runs_a_script_from_a_configmap() {
        let team = Team::new("worker", &["script-worker"]);
        team.add("in/greeting.txt", b"hello to all\n");
        team.apply("worker");
        assert_eq!(team.space.job_end("worker"), JobEnd::Complete, "{}", team.space.story());
        assert_eq!(team.published("out/words/greeting.txt"), ["sha256", "words"]);
        assert_eq!(team.read("out/words/greeting.txt/words").trim(), "3");
        assert!(team.read("out/words/greeting.txt/sha256").starts_with(&sum(b"hello to all\n")));
        assert!(
            team.space.logs("job/worker", "worker").contains("counted 3 words of greeting-txt-"),
            "{}",
            team.space.story()
        );
    }

    #[test]
    fn a_queue_is_drained_by_one_job_that_ends() {
        let team = Team::new("drain", &["files-ambassador", "queue-manager", "script-worker"]);
        for n in 0..5 {
            team.add(&format!("in/{n}.txt"), "word ".repeat(n).as_bytes());
        }
        team.apply("drain");
        assert_eq!(team.space.job_end("drain"), JobEnd::Complete, "{}", team.space.story());
        for n in 0..5 {
            assert_eq!(team.read(&format!("out/words/{n}.txt/words")).trim(), n.to_string());
        }
    }

    #[test]
    fn videos_become_thumbnails_and_filmstrips() {
        let team = Team::new("videos", &["ffmpeg-worker", "multi-worker"]);
        foreign_images("media");
        video(&team.data.join("in/talk.mp4"));
        // At once, each in pods of its own: what is waited for is mostly the kubelet.
        for folder in ["ffmpeg-thumbnails", "pipeline-a", "pipeline-b"] {
            team.apply(folder);
        }
        for job in ["thumbnails", "filmstrip-a", "filmstrip-b"] {
            assert_eq!(team.space.job_end(job), JobEnd::Complete, "{job}\n{}", team.space.story());
        }
        // Frames 0 and 100 of 125.
        let thumbnails = team.published("out/thumbnails/talk.mp4");
        assert_eq!(thumbnails.len(), 2, "{thumbnails:?}");
        for strip in ["filmstrip-a", "filmstrip-b"] {
            let place = format!("out/{strip}/talk.mp4");
            assert_eq!(team.published(&place), ["checksum/strip.png.sha256", "strip/strip.png"]);
            let picture = fs::read(team.data.join(&place).join("strip/strip.png")).expect("published");
            // ffmpeg took a frame of each second, ImageMagick put them side by side, busybox had what it made to read.
            assert_eq!(size(&picture), (5 * 160, 120), "{strip}");
            let sum = format!("{}  strip.png\n", sum(&picture));
            assert_eq!(team.read(&format!("{place}/checksum/strip.png.sha256")), sum, "{strip}");
        }
    }

    fn sum(content: &[u8]) -> String {
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Width and height of a PNG, as its header says.
    fn size(png: &[u8]) -> (u32, u32) {
        let number =
            |at: usize| u32::from_be_bytes(png.get(at..at + 4).and_then(|b| b.try_into().ok()).expect("a header"));
        (number(16), number(20))
    }

    /// Five seconds of a test picture.
    fn video(path: &std::path::Path) {
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=duration=5:rate=25:size=320x240"])
            .args(["-pix_fmt", "yuv420p"])
            .arg(path)
            .status();
        assert!(made.expect("ffmpeg is here").success());
    }
}
