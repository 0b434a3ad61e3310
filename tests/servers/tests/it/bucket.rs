//! A bucket tells what is in it, and what was begun and left.

use test_servers::{Bucket, S3Server};

fn tells_what_is_there(server: &S3Server) {
    // Of its own, since all that is left open in it is counted.
    let bucket = Bucket::new(server);
    let etag = bucket.put("a/b c", "content");
    assert_eq!(bucket.item("a/b c", "content").get("etag"), Some(&etag.into()));
    assert_eq!(bucket.get("a/b c").as_deref(), Some(&b"content"[..]));
    assert_eq!((bucket.get("none"), bucket.published("none")), (None, None));
    assert_eq!(bucket.keys(), ["a/b c"]);

    let begin = async |client: &test_servers::aws_sdk_s3::Client| {
        client.create_multipart_upload().bucket(bucket.name()).key("d/big").send().await.expect("begun")
    };
    assert_eq!(bucket.open_uploads(["d/big"]), Vec::<String>::new());
    let upload = bucket.with(begin);
    assert_eq!((bucket.open_uploads(["d/big"]), server.open_uploads()), (vec!["d/big".to_owned()], 1));
    let abort = async |client: &test_servers::aws_sdk_s3::Client| {
        let abort = client.abort_multipart_upload().bucket(bucket.name()).key("d/big");
        abort.set_upload_id(upload.upload_id().map(str::to_owned)).send().await.expect("aborted")
    };
    bucket.with(abort);
    assert_eq!((bucket.open_uploads(["d/big"]), server.open_uploads()), (Vec::new(), 0));
    bucket.delete("a/b c");
    assert_eq!(bucket.keys(), Vec::<String>::new());
}

#[test]
fn of_minio() {
    tells_what_is_there(&S3Server::minio());
}

#[test]
fn of_versity() {
    tells_what_is_there(&S3Server::versity());
}
