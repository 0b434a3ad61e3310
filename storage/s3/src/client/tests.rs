use std::time::{Duration, SystemTime};

use super::*;

fn s3(life: Option<Duration>) -> S3 {
    let end = life.map(|life| SystemTime::now() + life);
    let keys = Credentials::new("AK", "SECRET", Some("TOKEN".to_owned()), end, "test");
    let args = S3Args { s3_endpoint_url: Some("http://127.0.0.1:1".to_owned()), ..S3Args::default() };
    S3::of(args, Some(keys), TransferArgs::default(), Patience::AMBASSADOR)
}

fn life(url: &str) -> u64 {
    let life = url.split(['?', '&']).find_map(|pair| pair.strip_prefix("X-Amz-Expires="));
    life.expect("it says for how long").parse().expect("it is a number")
}

#[tokio::test]
async fn a_signed_url_does_not_outlive_the_credential_that_signed_it() {
    let hour = Duration::from_secs(3600);
    let signed = s3(Some(hour / 2)).bucket("b").presign_get("k", None, hour).await.expect("signed");
    assert!((1700..=1800).contains(&life(&signed.url)), "{signed:?}");
    let expires = signed.expires.expect("the end is known");
    assert!(expires.0 <= SystemTime::now() + hour / 2, "{signed:?}");
    let signed =
        s3(Some(hour * 2)).bucket("b").presign_put("k", &crate::Condition::Absent, hour).await.expect("signed");
    assert_eq!(life(&signed.url), 3600);
    let signed = s3(None).bucket("b").presign_get("k", None, hour).await.expect("signed");
    assert_eq!(life(&signed.url), 3600);
    assert_eq!(signed.expires, None, "when a session ends that nobody tells the end of is not known");
}

#[tokio::test]
async fn an_identity_tells_all_but_the_secrets() {
    let s3 = s3(Some(Duration::from_secs(60)));
    let identity = s3.identity().await.expect("nobody is asked");
    let shown = format!("{identity} {identity:?} {s3:?}");
    assert!(shown.starts_with("AK at http://127.0.0.1:1, region us-east-1, by the caller, until 20"), "{shown}");
    assert!(!shown.contains("SECRET") && !shown.contains("TOKEN"), "{shown}");
}
