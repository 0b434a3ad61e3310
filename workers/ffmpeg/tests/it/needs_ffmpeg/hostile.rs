//! Names that look like options, patterns, protocols or nothing at all; and files that name other files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use contract::exit;

use crate::support::{Bench, H264, numbered};

#[test]
fn whatever_a_video_is_called() {
    let bench = Bench::new();
    let plain = bench.video("plain");
    numbered(&plain, 101, &[&H264[..], &["-f", "mp4"]].concat());
    let long = [&[b'x'; 251][..], b".mp4"].concat();
    let names: [&[u8]; 9] = [
        b"-i.mp4",
        b"100%06d%%.mp4",
        b"two\nlines.mp4",
        b"concat:a|b.mp4",
        b"caf\xe9 \xff.mp4",
        b"$(rm -rf ~);`id`'\".mp4",
        b" .mp4",
        b"[0:0]split,select='x'.mp4",
        &long,
    ];
    for name in names {
        let key = OsStr::from_bytes(name);
        std::fs::copy(&plain, bench.video(key)).expect("copy the video");
        bench.run(key, &[]).expect(exit::OK);
        assert_eq!(bench.numbers(key), [0, 100], "{key:?}");
    }
}

#[test]
fn whatever_the_folders_are_called() {
    let parent = tempfile::tempdir().expect("make a directory");
    let odd = parent.path().join("%03d 100%\n-y");
    std::fs::create_dir(&odd).expect("make a directory");
    let bench = Bench::below(&odd);
    numbered(&bench.video("a.mp4"), 101, &H264);
    bench.run("a.mp4", &[]).expect(exit::OK);
    assert_eq!(bench.numbers("a.mp4"), [0, 100]);
}

#[test]
fn a_playlist_cannot_name_other_files() {
    let bench = Bench::new();
    let secret = bench.video("secret.ts");
    numbered(&secret, 10, &H264);
    let secret = secret.display();
    let playlists = [
        ("hls.mp4", format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n")),
        ("hls.ts", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n".to_owned()),
        ("concat.mp4", "ffconcat version 1.0\nfile secret.ts\n".to_owned()),
        (
            "sdp.mp4",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5000 RTP/AVP 96\n".to_owned(),
        ),
    ];
    for (key, text) in playlists {
        std::fs::write(bench.video(key), text).expect("write the playlist");
        let report = bench.run(key, &[]).expect(exit::BAD_ITEM).report;
        assert!(report.message.contains(key), "{}", report.message);
        assert!(report.message.contains("can name other files"), "{}", report.message);
        bench.assert_nothing_published(key);
    }
}
