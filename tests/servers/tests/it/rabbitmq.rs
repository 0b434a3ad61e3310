//! A RabbitMQ keeps what it confirmed, and lets in whom it should.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use test_servers::{RabbitMq, Server, queue_client};

use crate::victim;

/// What is done to a queue of a type (`quorum`, `classic`) by pika, over TLS with a certificate where one is given: a text is published
/// and confirmed; `take` prints and settles all that there is; `hold` takes one and never settles it, and prints what ends that.
const PIKA: &str = r#"
import signal, ssl, sys, time, pika
signal.alarm(600)
what, url, queue, kind, *identity = sys.argv[1:]
parameters = pika.URLParameters(url)
if identity:
    authority, certificate, key = identity
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, key)
    parameters.ssl_options = pika.SSLOptions(context, "localhost")
    parameters.credentials = pika.credentials.ExternalCredentials()
channel = pika.BlockingConnection(parameters).channel()
channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
if what == "take":
    while True:
        method, _, body = channel.basic_get(queue)
        if method is None:
            break
        print(body.decode())
        channel.basic_ack(method.delivery_tag)
elif what == "hold":
    channel.basic_consume(queue, lambda channel, method, properties, body: print(body.decode()))
    try:
        channel.start_consuming()
    except pika.exceptions.ChannelClosedByBroker as closed:
        print(closed.reply_code)
else:
    channel.confirm_delivery()
    # A queue refuses what comes before it is served again.
    for refused in range(600):
        try:
            channel.basic_publish("", queue, what.encode(), pika.BasicProperties(delivery_mode=2), mandatory=True)
            break
        except pika.exceptions.NackError:
            time.sleep(0.1)
    else:
        sys.exit("refused again and again")
"#;

fn pika(words: &[&str]) -> Command {
    let mut python = Command::new(queue_client("python"));
    python.args(["-c", PIKA]).args(words);
    python
}

fn done(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_it_confirmed_outlives_a_kill_and_a_stop_and_it_waits_while_it_is_paused_or_its_disk_is_full() {
    let mut rabbit = RabbitMq::start(&[]);
    let each = |rabbit: &RabbitMq, what: &'static str| {
        ["classic", "quorum"].map(|kind| pika(&[what, &rabbit.url(), kind, kind]))
    };
    let all = |commands: [Command; 2]| commands.map(|mut command| done(command.output().expect("Python runs")));
    // A moment after the queues were made, at which RabbitMQ by itself would forget the quorum queue.
    all(each(&rabbit, "a"));
    rabbit.kill();
    assert!(std::net::TcpStream::connect(rabbit.address()).is_err(), "a killed server answers");
    rabbit.restart();
    rabbit.pause();
    let commands = each(&rabbit, "b");
    let asked = std::thread::spawn(move || all(commands));
    std::thread::sleep(Duration::from_millis(500));
    assert!(!asked.is_finished(), "a paused server answered");
    rabbit.resume();
    asked.join().expect("no panic");
    rabbit.stop();
    assert!(std::net::TcpStream::connect(rabbit.address()).is_err(), "a stopped server answers");
    rabbit.restart();
    assert_eq!(all(each(&rabbit, "take")), ["a\nb\n", "a\nb\n"]);

    rabbit.disk_alarm(true);
    let mut publisher = pika(&["a", &rabbit.url(), "q", "quorum"]).spawn().expect("Python runs");
    let begun = Instant::now();
    while !rabbit.ask(&["--format", "tsv", "list", "connections", "state"]).lines().any(|state| state == "blocked") {
        assert!(begun.elapsed() < Duration::from_secs(240), "nobody is blocked");
        assert_eq!(publisher.try_wait().expect("a child"), None, "it is confirmed while the disk is full");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(publisher.try_wait().expect("a child"), None, "it is confirmed while the disk is full");
    rabbit.disk_alarm(false);
    assert!(publisher.wait().expect("a child").success());
    assert_eq!(done(pika(&["take", &rabbit.url(), "q", "quorum"]).output().expect("Python runs")), "a\n");
}

#[test]
fn who_settles_too_late_loses_its_channel() {
    let rabbit = RabbitMq::start(&[("consumer_timeout", "2000")]);
    for kind in ["quorum", "classic"] {
        let told = |what| done(pika(&[what, &rabbit.url(), kind, kind]).output().expect("Python runs"));
        told("a");
        assert_eq!(told("hold"), "a\n406\n", "{kind}");
        assert_eq!(told("take"), "a\n", "{kind}: it is there for another");
    }
}

#[test]
fn users_come_in_over_tls_by_their_certificates() {
    let rabbit = RabbitMq::shared();
    let url = format!("amqps://{}/%2f", rabbit.tls_address());
    let path = |path: std::path::PathBuf| path.display().to_string();
    let authority = path(rabbit.certificates().authority());
    let come = |name: &str| {
        let identity = rabbit.certificates().client(name);
        let words =
            [&*url, "tls", "quorum", &authority, &path(identity.certificate), &path(identity.key)].map(str::to_owned);
        let words: Vec<_> = std::iter::once("a").chain(words.iter().map(String::as_str)).collect();
        pika(&words).output().expect("Python runs")
    };
    done(come(RabbitMq::USER));
    assert!(!come("stranger").status.success(), "a user that is not known comes in");
    let queues = rabbit.ask(&["--format", "tsv", "list", "queues", "name", "type"]);
    assert!(queues.lines().any(|line| line == "tls\tquorum"), "{queues}");
}

#[test]
fn no_rabbitmq_survives_its_process() {
    victim::leaves_nothing("needs_rabbitmq::rabbitmq::is_killed_with_a_rabbitmq");
}

#[test]
#[ignore = "run by no_rabbitmq_survives_its_process, which kills it"]
fn is_killed_with_a_rabbitmq() {
    let _rabbit = RabbitMq::shared();
    victim::wait_for_death();
}
