//! What lies in examples/ to be applied to a cluster, as it stands there.

mod needs_kubernetes {
    mod needs_rabbitmq {
        use std::collections::BTreeMap;
        use std::fs;
        use std::path::PathBuf;
        use std::process::Command;

        use longshore_tests::images::image;
        use longshore_tests::programs::root;
        use serde_json::Value;
        use test_servers::{Cluster, JobEnd, Namespace, base_image};

        use crate::kubernetes::ours::{foreign_images, known};

        /// No image can be pulled here, so Debian's RabbitMQ stands for the one that the example names. All else is as it would be anywhere.
        #[test]
        fn five_processors_drain_what_a_loader_put_into_a_queue() {
            let cluster = Cluster::shared();
            for name in ["rabbitmq-ambassador", "queue-manager", "script-worker"] {
                cluster.import(&image(name));
            }
            cluster.import(&base_image("busybox"));
            foreign_images("rabbitmq");
            let space = cluster.namespace("drain");
            // As `kubectl apply --filename` of the folder: all at once, and none waits for another to be there.
            for name in ["loader.yaml", "processors.yaml", "rabbitmq.yaml"] {
                let text = fs::read_to_string(root().join("examples/rabbitmq-drain").join(name)).expect("a manifest");
                space.apply(&known(&text));
            }
            for job in ["loader", "processors"] {
                assert_eq!(space.job_end(job), JobEnd::Complete, "{job}\n{}", space.story());
            }

            let job = space.get("job/processors").expect("it is there");
            assert_eq!((&job["status"]["succeeded"], job["status"]["failed"].as_u64()), (&5.into(), None), "{job}");
            let times = processed(&space);
            let numbers: Vec<_> = (0..100).collect();
            assert_eq!(times.keys().copied().collect::<Vec<_>>(), numbers, "{}", space.story());
            // Nothing is left: RabbitMQ's own client gets none, and nobody is there who could hold one.
            assert_eq!(admin(&space, &["get", "queue=numbers", "ackmode=reject_requeue_true"]), "No items");
            let queue = admin(&space, &["--format=raw_json", "list", "queues", "name", "type"]);
            let queues: Value = serde_json::from_str(&queue).expect("JSON");
            assert_eq!(queues[0]["name"], "numbers", "{queues}");
            assert_eq!((&queues[0]["type"], queues.as_array().map(Vec::len)), (&"quorum".into(), Some(1)), "{queues}");
            once_but_for_what_came_twice(&space, &times);
        }

        /// How often each number was processed, by the logs of the five.
        fn processed(space: &Namespace<'_>) -> BTreeMap<u32, usize> {
            let words = ["logs", "--selector=job-name=processors", "--container=queue-manager", "--tail=-1"];
            let logs = space.kubectl(&[&words[..], &["--max-log-requests=5"]].concat());
            let mut times = BTreeMap::new();
            for line in String::from_utf8_lossy(&logs.stdout).lines() {
                if let Some(number) = line.strip_prefix("processed ") {
                    *times.entry(number.parse().expect("a number")).or_default() += 1;
                }
            }
            times
        }

        /// A machine that stands still for long may cost a connection, and RabbitMQ then delivers again what was under way.
        fn once_but_for_what_came_twice(space: &Namespace<'_>, times: &BTreeMap<u32, usize>) {
            let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
            if repeated.is_empty() {
                return;
            }
            space.until("service/rabbitmq", |_| {
                let queue = admin(space, &["--format=raw_json", "list", "queues", "message_stats"]);
                let queue: Value = serde_json::from_str(&queue).expect("JSON");
                let count = |what: &str| queue.pointer(&format!("/0/message_stats/{what}")).and_then(Value::as_u64);
                assert!(
                    count("ack") < Some(100) || count("redeliver") > Some(0) || count("publish") > Some(100),
                    "twice, and RabbitMQ gave each once: {repeated:?}\n{queue}\n{}",
                    space.story()
                );
                // Its figures are a few seconds old.
                (count("ack") >= Some(100)).then_some(())
            });
        }

        /// What `rabbitmqadmin` says of the example's RabbitMQ, by the address of its Service.
        fn admin(space: &Namespace<'_>, words: &[&str]) -> String {
            let made = Command::new(root().join("tests/servers/rabbitmq/setup")).output().expect("bash runs");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let program = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim()).join("rabbitmqadmin");
            let service = space.get("service/rabbitmq").expect("it is there");
            let address = service.pointer("/spec/clusterIP").and_then(Value::as_str).expect("it has one");
            let mut admin = space.cluster().command(program);
            admin.args(["--host", address, "--username", "longshore", "--password", "change-me"]).args(words);
            let said = admin.output().expect("nsenter runs");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
            assert!(said.status.success(), "{words:?}: {}{}", text(&said.stdout), text(&said.stderr));
            text(&said.stdout)
        }
    }
}
