//! `HTTP_PROXY`, `NO_PROXY`, and what never goes by a proxy.

use crate::program::Identity;
use crate::teller::Teller;

const EMPTY: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "SK")];

#[test]
fn a_store_is_reached_by_the_proxy_unless_it_is_excepted() {
    let proxy = Teller::new(|_| (200, "", EMPTY.to_owned()));
    let args = ["--s3-endpoint-url", "http://store.invalid:9000", "s3://bucket/"];
    let ran = Identity::new(&KEYS, &args).env("HTTP_PROXY", &proxy.url()).run();
    assert!(ran.good, "{ran:?}");
    assert!(proxy.asked()[0].target.starts_with("http://store.invalid:9000/bucket"), "{:?}", proxy.asked());

    let store = Teller::new(|_| (200, "", EMPTY.to_owned()));
    let args = ["--s3-endpoint-url", &*store.url(), "s3://bucket/"];
    let ran = Identity::new(&KEYS, &args).env("HTTP_PROXY", &proxy.url()).env("NO_PROXY", "127.0.0.1").run();
    assert!(ran.good && store.asked().len() == 1 && proxy.asked().len() == 1, "{ran:?}");
}

#[test]
fn what_is_beside_us_is_never_asked_by_the_proxy() {
    let proxy = Teller::new(|_| (200, "", "{}".to_owned()));
    let agent = Teller::new(|_| (403, "", String::new()));
    let url = format!("{}/credentials", agent.url());
    let ran = Identity::new(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)], &[]).env("HTTP_PROXY", &proxy.url()).run();
    assert!(ran.err.starts_with("forbidden: the container's endpoint"), "{ran:?}");
    assert!(proxy.asked().is_empty() && !agent.asked().is_empty());
}
