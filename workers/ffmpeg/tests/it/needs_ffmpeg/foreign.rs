//! Files that name other files, and servers: nothing but the item is read, and nobody is called.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use contract::exit;

use crate::support::{Bench, H264, ffmpeg, numbered};

const VERBS: [&str; 5] = ["thumbnails", "scene", "contact-sheet", "transcode", "args"];

/// That no subcommand makes anything of this file.
fn refused_by_all(bench: &Bench, key: &str) {
    for verb in VERBS {
        let own: &[&str] = if verb == "args" { &["--", "-i", "{input}", "out.mkv"] } else { &[] };
        let ran = bench.verb(verb, key, own).expect(exit::BAD_ITEM);
        assert!(!ran.stderr.contains("root:"), "{verb} {key}: {}", ran.stderr);
        bench.assert_nothing_published(key);
    }
}

#[test]
fn playlists_of_any_kind() {
    let bench = Bench::new();
    let server = TcpListener::bind("127.0.0.1:0").expect("bind");
    server.set_nonblocking(true).expect("set");
    let port = server.local_addr().expect("is bound").port();
    let url = format!("http://127.0.0.1:{port}/a.ts");
    let secret = bench.video("secret.ts");
    numbered(&secret, 10, &H264);
    let secret = format!("file://{}", secret.display());
    let hls = |uri: &str| format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{uri}\n#EXT-X-ENDLIST\n");
    let dash = |uri: &str| {
        format!(
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" mediaPresentationDuration=\"PT1S\">\
             <Period><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"0\" bandwidth=\"1\"><BaseURL>{uri}</BaseURL>\
             <SegmentBase/></Representation></AdaptationSet></Period></MPD>"
        )
    };
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"9\" height=\"9\">\
               <image xlink:href=\"file:///etc/passwd\" width=\"9\" height=\"9\"/></svg>";
    for (n, text) in [
        hls(&url),
        hls(&secret),
        hls("file:///etc/passwd"),
        hls("concat:/etc/passwd|/etc/passwd"),
        hls("crypto:secret.ts"),
        dash(&url),
        dash(&secret),
        format!("ffconcat version 1.0\nfile '{url}'\n"),
        "ffconcat version 1.0\nfile secret.ts\n".to_owned(),
        format!("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{url}\n"),
        format!("<asx version=\"3.0\"><entry><ref href=\"{url}\"/></entry></asx>"),
        format!("[playlist]\nFile1={url}\nNumberOfEntries=1\n"),
        format!("RTSPtext{url}"),
        format!("WEBVTT\n\n00:00.000 --> 00:01.000\n{url}\n"),
        svg.to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let key = format!("{n}.mp4");
        std::fs::write(bench.video(&key), text).expect("write the playlist");
        let ran = bench.run(&key, &[]).expect(exit::BAD_ITEM);
        assert!(ran.report.message.contains(&key), "{text}: {}", ran.report.message);
        bench.assert_nothing_published(&key);
    }
    for (key, text) in [("x.m3u8", hls(&url)), ("x.mpd", dash(&url)), ("x.ffconcat", hls(&secret))] {
        std::fs::write(bench.video(key), text).expect("write the playlist");
        refused_by_all(&bench, key);
    }
    // Also where the operator lets playlists in, they reach no server.
    for key in ["0.mp4", "5.mp4", "7.mp4"] {
        let ran = bench.run(key, &["--allow-format", "hls,dash,concat"]).expect(exit::BAD_ITEM);
        assert!(!ran.report.message.contains("can name other files"), "{}", ran.report.message);
    }
    let called = server.accept().map(|(_, from)| from);
    assert_eq!(called.expect_err("nobody may call").kind(), ErrorKind::WouldBlock);
}

#[test]
fn the_operator_may_let_a_playlist_in() {
    let bench = Bench::new();
    numbered(&bench.video("part.ts"), 10, &H264);
    std::fs::write(bench.video("list.ffconcat"), "ffconcat version 1.0\nfile part.ts\n").expect("write");
    bench.run("list.ffconcat", &[]).expect(exit::BAD_ITEM);
    bench.run("list.ffconcat", &["--allow-format", "concat"]).expect(exit::OK);
    assert_eq!(bench.numbers("list.ffconcat"), [0]);
}

/// The first media's data reference says "in this file"; now it says "in that one".
fn refer(path: &Path, to: &str) {
    let mut bytes = std::fs::read(path).expect("is there");
    let place = bytes.windows(4).position(|four| four == b"dref").expect("has references") - 4;
    assert_eq!(&bytes[place + 20..place + 28], b"url \0\0\0\x01", "it is in itself");
    bytes[place + 20..place + 28].copy_from_slice(b"alis\0\0\0\0");
    // A Macintosh alias record: one level up from here, one down to there, and the path as record 2.
    let mut alias = vec![0; 150];
    alias[130..134].copy_from_slice(&[0, 1, 0, 1]);
    alias.extend([0, 2]);
    alias.extend(u16::try_from(to.len()).expect("is short").to_be_bytes());
    alias.extend(to.as_bytes());
    alias.extend(vec![0; to.len() % 2]);
    alias.extend(b"\xff\xff\0\0");
    let at = place + 28;
    bytes.splice(at..at, alias.iter().copied());
    let grown = u32::try_from(alias.len()).expect("is small");
    // The entry, and every atom around it.
    let mut atoms = vec![place + 16, place];
    for name in [b"dinf", b"minf", b"mdia", b"trak", b"moov"] {
        atoms.push(bytes[..place].windows(4).rposition(|four| four == name).expect("is around it") - 4);
    }
    for atom in atoms {
        let size = u32::from_be_bytes(bytes[atom..atom + 4].try_into().expect("four bytes"));
        bytes[atom..atom + 4].copy_from_slice(&(size + grown).to_be_bytes());
    }
    std::fs::write(path, bytes).expect("write");
}

#[test]
fn a_movie_whose_data_is_in_another_file() {
    let bench = Bench::new();
    let secret = bench.video("secret.mov");
    numbered(&secret, 10, &[&H264[..], &["-f", "mov"]].concat());
    let thief = bench.video("thief.mov");
    std::fs::copy(&secret, &thief).expect("copy");
    refer(&thief, "/secret.mov");
    // What is left of its own data is no video.
    let mut bytes = std::fs::read(&thief).expect("is there");
    let data = bytes.windows(4).position(|four| four == b"mdat").expect("has data") + 4;
    let end = bytes.windows(4).position(|four| four == b"moov").expect("has an index") - 4;
    bytes[data..end].fill(0);
    std::fs::write(&thief, bytes).expect("write");
    let follows = |more: &[&str]| {
        let mut command = std::process::Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-xerror", "-err_detect", "explode"]).args(more);
        command.arg("-i").arg(&thief).args(["-f", "null", "-"]).status().expect("runs").success()
    };
    assert!(follows(&["-enable_drefs", "1"]), "there is something to follow");
    for verb in VERBS {
        let own: &[&str] = if verb == "args" { &["--", "-i", "{input}", "out.mkv"] } else { &[] };
        let ran = bench.verb(verb, "thief.mov", own);
        assert!([exit::BAD_ITEM, exit::CANT_CREATE].map(i32::from).contains(&ran.code), "{verb}: {}", ran.stderr);
        bench.assert_nothing_published("thief.mov");
    }
}

#[test]
fn names_that_are_patterns() {
    let bench = Bench::new();
    let directory = bench.video("");
    for n in 0..3 {
        let image = directory.join(format!("img-{n:03}.png"));
        ffmpeg(["-f", "lavfi", "-i", "color=s=8x8:d=0.04", "-frames:v", "1", image.to_str().expect("is UTF-8")]);
    }
    for name in ["img-%03d.png", "img-*.png", "img-[0-9].png", "img-?00.png"] {
        std::fs::write(bench.video(name), "no picture").expect("write");
        refused_by_all(&bench, name);
        bench.run(name, &["--allow-format", "png_pipe"]).expect(exit::BAD_ITEM);
    }
}

mod needs_strace {
    use super::*;

    /// The files that a traced run has opened, and how it looked for others; less what programs and libraries need.
    fn opened(trace: &str) -> Vec<&str> {
        let system = ["/usr/", "/lib", "/etc/", "/proc/", "/sys/", "/dev/", "/var/cache/fontconfig"];
        let paths = trace.lines().filter(|line| line.contains("open")).filter_map(|line| line.split('"').nth(1));
        paths.filter(|path| !system.iter().any(|system| path.starts_with(system))).collect()
    }

    #[test]
    fn the_item_is_the_only_file_that_is_read_and_nobody_is_called() {
        let bench = Bench::new();
        numbered(&bench.video("secret.ts"), 10, &H264);
        numbered(&bench.video("a.mp4"), 10, &H264);
        let server = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = server.local_addr().expect("is bound").port();
        let list = format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXTINF:1,\nfile:///etc/passwd\n#EXTINF:1,\nhttp://127.0.0.1:{port}/\n#EXT-X-ENDLIST\n"
        );
        std::fs::write(bench.video("list.m3u8"), list).expect("write");
        std::fs::write(bench.video("list.mp4"), "ffconcat version 1.0\nfile secret.ts\n").expect("write");
        let log = bench.video("strace.log");
        let log = log.to_str().expect("is UTF-8");
        for (verb, key, code) in [
            ("thumbnails", "a.mp4", exit::OK),
            ("transcode", "a.mp4", exit::OK),
            ("scene", "list.mp4", exit::BAD_ITEM),
            ("scene", "list.m3u8", exit::BAD_ITEM),
        ] {
            let by = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=open,openat,openat2,connect,sendto", "-o", log];
            bench.traced(&by, verb, key, &["--revision", &verb.len().to_string()]).expect(code);
            let trace = std::fs::read_to_string(log).expect("there is a trace");
            assert!(trace.contains(key), "the item was opened: {trace}");
            for other in ["secret.ts", "/etc/passwd\"", "AF_INET", "AF_INET6"] {
                // Looking up who we are reads the table of users, which is the system's doing and not the item's.
                let found: Vec<_> = trace.lines().filter(|line| line.contains(other)).collect();
                assert!(found.is_empty(), "{verb} {key}: {found:?}");
            }
            let videos = bench.video("");
            let beside = opened(&trace).into_iter().filter(|path| Path::new(path).parent() == Some(&videos));
            assert!(beside.clone().all(|path| path.ends_with(key)), "{:?}", beside.collect::<Vec<_>>());
        }
    }
}
