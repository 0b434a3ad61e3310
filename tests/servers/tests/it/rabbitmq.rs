//! A RabbitMQ keeps what it confirmed, and lets in whom it should.

use std::process::{Command, Output};
use std::time::Duration;

use test_servers::{RabbitMq, queue_client};

use crate::victim;

/// Publishes to a queue with confirms, or takes everything out of it, by pika; over TLS with a certificate where one is given.
const PIKA: &str = r#"
import signal, ssl, sys, time, pika
signal.alarm(60)
what, url, queue, *identity = sys.argv[1:]
parameters = pika.URLParameters(url)
if identity:
    authority, certificate, key = identity
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, key)
    parameters.ssl_options = pika.SSLOptions(context, "localhost")
    parameters.credentials = pika.credentials.ExternalCredentials()
channel = pika.BlockingConnection(parameters).channel()
channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
if what == "take":
    while True:
        method, _, body = channel.basic_get(queue)
        if method is None:
            break
        print(body.decode())
        channel.basic_ack(method.delivery_tag)
else:
    channel.confirm_delivery()
    # A queue refuses what comes before it is served again.
    for refused in range(100):
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
fn it_waits_while_it_is_paused_and_keeps_what_it_confirmed_while_it_is_stopped() {
    let mut rabbit = RabbitMq::start(&[("consumer_timeout", "5000")]);
    let url = rabbit.url();
    done(pika(&["a", &url, "q"]).output().expect("Python runs"));
    rabbit.pause();
    let asked = std::thread::spawn(move || pika(&["b", &url, "q"]).output().expect("Python runs"));
    std::thread::sleep(Duration::from_millis(500));
    assert!(!asked.is_finished(), "a paused server answered");
    rabbit.resume();
    done(asked.join().expect("no panic"));
    rabbit.stop();
    assert!(std::net::TcpStream::connect(rabbit.address()).is_err(), "a stopped server answers");
    rabbit.restart();
    assert_eq!(done(pika(&["take", &rabbit.url(), "q"]).output().expect("Python runs")), "a\nb\n");
    let timeout = rabbit.ctl().args(["eval", "application:get_env(rabbit, consumer_timeout)."]).output();
    assert_eq!(done(timeout.expect("rabbitmqctl runs")).trim(), "{ok,5000}");
}

#[test]
fn users_come_in_over_tls_by_their_certificates() {
    let rabbit = RabbitMq::shared();
    let url = format!("amqps://{}/%2f", rabbit.tls_address());
    let path = |path: std::path::PathBuf| path.display().to_string();
    let authority = path(rabbit.certificates().authority());
    let come = |name: &str| {
        let identity = rabbit.certificates().client(name);
        let words = [&*url, "tls", &authority, &path(identity.certificate), &path(identity.key)].map(str::to_owned);
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
