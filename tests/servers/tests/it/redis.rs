//! A Redis keeps what it answered over a kill, and lets in whom it should.

use std::time::Duration;

use test_servers::{Redis, Server};

use crate::victim;

#[test]
fn it_keeps_what_it_took_when_it_is_killed_and_stopped_and_answers_nobody_while_it_is_paused() {
    let mut redis = Redis::start(&[]);
    redis.ask(&["RPUSH", "list", "a", "b"]);
    let address = redis.address();
    redis.kill();
    assert!(std::net::TcpStream::connect(&address).is_err(), "a killed server answers");
    redis.restart();
    assert_eq!(redis.address(), address);
    assert_eq!(redis.ask(&["LRANGE", "list", "0", "-1"]), "a\nb");
    redis.ask(&["RPUSH", "list", "c"]);
    redis.stop();
    redis.restart();
    assert_eq!(redis.ask(&["LRANGE", "list", "0", "-1"]), "a\nb\nc");

    redis.pause();
    let mut ping = redis.cli();
    let asked = std::thread::spawn(move || ping.arg("PING").output().expect("redis-cli runs"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!asked.is_finished(), "a paused server answered");
    redis.resume();
    assert_eq!(asked.join().expect("no panic").stdout, b"PONG\n");
}

#[test]
fn users_stay_and_come_in_over_tls() {
    let mut redis = Redis::start(&["--maxmemory", "8mb"]);
    assert_eq!(redis.ask(&["CONFIG", "GET", "maxmemory"]), "maxmemory\n8388608");
    redis.ask(&["ACL", "SETUSER", "alice", "on", ">pw", "~mine:*", "+get", "+set"]);
    redis.ask(&["ACL", "SAVE"]);
    redis.kill();
    redis.restart();
    let over_tls = |words: &[&str]| {
        let (host, port) =
            redis.tls_address().split_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).expect("both");
        let mut cli = std::process::Command::new(test_servers::queue_client("redis-cli"));
        cli.args(["-e", "-h", &host, "-p", &port, "--tls", "--cacert"]).arg(redis.certificates().authority());
        cli.args(["--user", "alice", "--pass", "pw", "--no-auth-warning"]).args(words).output().expect("it runs")
    };
    assert_eq!(over_tls(&["SET", "mine:a", "1"]).stdout, b"OK\n");
    let refused = over_tls(&["GET", "others"]);
    assert!(!refused.status.success(), "{refused:?}");
}

#[test]
fn no_redis_survives_its_process() {
    victim::leaves_nothing("needs_redis::redis::is_killed_with_a_redis");
}

#[test]
#[ignore = "run by no_redis_survives_its_process, which kills it"]
fn is_killed_with_a_redis() {
    let _redis = Redis::shared();
    victim::wait_for_death();
}
