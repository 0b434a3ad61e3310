//! One identity, and never another in its place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use contract::Timestamp;

use crate::program::{Identity, Ran};
use crate::teller::{Asked, Teller, Told};

const SECRET: &str = "WhatNobodyMaySee";
const TOKEN: &str = "SessionOfNobody";

/// The machine's metadata and the container's agent, both ready to give what must not be taken.
struct Temptation(Teller);

impl Temptation {
    fn new() -> Self {
        Self(Teller::new(metadata))
    }

    fn env(&self) -> Vec<(String, String)> {
        let url = self.0.url();
        vec![
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), url.clone()),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), format!("{url}/agent")),
            ("AWS_REGION".to_owned(), "eu-central-1".to_owned()),
        ]
    }

    /// Runs in a world where others would give credentials, and sees that they were not asked.
    fn resist(&self, identity: Identity) -> Ran {
        let ran = self.env().iter().fold(identity, |identity, (name, value)| identity.env(name, value)).run();
        assert!(self.0.asked().is_empty(), "{:?} was asked after {ran:?}", self.0.asked());
        ran
    }
}

fn end(seconds: u64) -> String {
    let end = SystemTime::now() + Duration::from_secs(seconds);
    let unix = end.duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970").as_secs();
    Timestamp::from_unix_nanos(i128::from(unix) * 1_000_000_000).to_string().replace(".000000000", "")
}

fn json(key: &str, seconds: u64) -> String {
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-01-01T00:00:00Z","AccessKeyId":"{key}","SecretAccessKey":"{SECRET}","Token":"{TOKEN}","Expiration":"{}"}}"#,
        end(seconds)
    )
}

fn metadata(asked: &Asked) -> Told {
    match (asked.method.as_str(), asked.target.trim_end_matches('/')) {
        ("PUT", "/latest/api/token") => (200, "x-aws-ec2-metadata-token-ttl-seconds: 600\r\n", "t".to_owned()),
        ("GET", "/latest/meta-data/iam/security-credentials") => (200, "", "node".to_owned()),
        ("GET", "/latest/meta-data/iam/security-credentials/node") => (200, "", json("AKNODE", 3600)),
        ("GET", "/agent") => (200, "", json("AKAGENT", 3600)),
        _ => (404, "", String::new()),
    }
}

fn assumed(action: &str, key: &str, seconds: u64) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials><AccessKeyId>{key}\
         </AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{TOKEN}</SessionToken><Expiration>{}\
         </Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>a:s\
         </AssumedRoleId></AssumedRoleUser></{action}Result></{action}Response>",
        end(seconds)
    )
}

fn sts_error(code: &str) -> String {
    format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>")
}

fn web_identity(sts: &str) -> Identity {
    let identity = Identity::new(&[("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"), ("AWS_ENDPOINT_URL_STS", sts)], &[]);
    let token = identity.home.path().join("token").display().to_string();
    identity.file("token", "first").env("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
}

#[test]
fn keys_of_the_environment_are_taken_before_all_else_and_never_shown() {
    let others = Temptation::new();
    let keys = [("AWS_ACCESS_KEY_ID", "AKENV"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_SESSION_TOKEN", TOKEN)];
    let ran = others.resist(Identity::new(&keys, &["--s3-endpoint-url", "http://127.0.0.1:1"]));
    assert_eq!(ran.out, "AKENV at http://127.0.0.1:1, region eu-central-1, by AWS_ACCESS_KEY_ID\n", "{ran:?}");
}

#[test]
fn half_an_identity_is_an_error_and_nobody_else_is_asked() {
    let others = Temptation::new();
    for (set, missing) in [
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        ("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
        ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    ] {
        let ran = others.resist(Identity::new(&[(set, SECRET), (missing, " ")], &[]));
        let said = format!("unsupported: {set} is set and {missing}");
        assert!(!ran.good && ran.err.starts_with(&said) && !ran.err.contains(SECRET), "{ran:?}");
    }
    let token = [("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t"), ("AWS_EC2_METADATA_DISABLED", "true")];
    let ran = Identity::new(&token, &[]).run();
    assert!(ran.err.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI is not"), "{ran:?}");
}

#[test]
fn a_profile_that_is_named_is_there_and_holds_credentials_or_nobody_does() {
    let others = Temptation::new();
    let files = |identity: Identity| {
        identity
            .file(".aws/config", "[default]\nregion=eu-west-3\n[profile bare]\nregion=eu-west-2\n")
            .file(".aws/credentials", &format!("[full]\naws_access_key_id=AKFULL\naws_secret_access_key={SECRET}\n"))
    };
    let missing = others.resist(files(Identity::new(&[("AWS_PROFILE", "prod")], &[])));
    assert!(missing.err.contains("the profile prod that AWS_PROFILE names does not exist"), "{missing:?}");
    assert!(missing.err.contains("those that do: full"), "{missing:?}");
    let bare = others.resist(files(Identity::new(&[("AWS_PROFILE", "bare")], &[])));
    assert!(bare.err.contains("the profile bare that AWS_PROFILE names holds no credentials"), "{bare:?}");
    let keys = [("AWS_ACCESS_KEY_ID", "AKENV"), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let flag = others.resist(files(Identity::new(&keys, &["--s3-profile", "full"])));
    assert!(flag.out.starts_with("AKFULL at AWS, region eu-central-1, by the profile full (--s3-profile)"), "{flag:?}");
    let half = others.resist(Identity::new(&[], &[]).file(".aws/credentials", "[default]\naws_access_key_id=AKHALF\n"));
    assert!(half.err.starts_with("unsupported: the profile default (~/.aws) gives no credentials"), "{half:?}");
    let lost = others.resist(Identity::new(&[("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/at/all")], &[]));
    assert!(lost.err.contains("cannot read /nowhere/at/all that AWS_SHARED_CREDENTIALS_FILE names"), "{lost:?}");
    let folder = others.resist(Identity::new(&[], &[]).file(".aws/credentials/x", ""));
    assert!(folder.err.contains(".aws/credentials: Is a directory"), "{folder:?}");
}

#[test]
fn a_profile_may_be_a_program_or_a_role() {
    let others = Temptation::new();
    let program = format!(
        "[default]\ncredential_process=/bin/echo '{{\"Version\":1,\"AccessKeyId\":\"AKPROG\",\"SecretAccessKey\":\"{SECRET}\"}}'\n"
    );
    let ran = others.resist(Identity::new(&[], &[]).file(".aws/config", &program));
    assert!(ran.out.starts_with("AKPROG at AWS"), "{ran:?}");
    let broken =
        others.resist(Identity::new(&[], &[]).file(".aws/config", "[default]\ncredential_process=/bin/false\n"));
    assert!(!broken.good && broken.err.contains("the profile default"), "{broken:?}");

    let sts = Teller::new(|asked| match asked.body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr") {
        true => (200, "", assumed("AssumeRole", "AKROLE", 3600)),
        false => (403, "", sts_error("AccessDenied")),
    });
    let role = |arn: &str| {
        let files = format!("[profile work]\nrole_arn={arn}\nsource_profile=base\n");
        let keys = format!("[base]\naws_access_key_id=AKBASE\naws_secret_access_key={SECRET}\n");
        let env = [("AWS_PROFILE", "work"), ("AWS_ENDPOINT_URL_STS", &*sts.url())];
        others.resist(Identity::new(&env, &[]).file(".aws/config", &files).file(".aws/credentials", &keys))
    };
    let good = role("arn:aws:iam::1:role/r");
    assert!(good.out.starts_with("AKROLE at AWS") && good.out.contains(", until 20"), "{good:?}");
    let bad = role("arn:aws:iam::1:role/other");
    assert!(bad.err.starts_with("forbidden: the profile work (AWS_PROFILE) gives no credentials"), "{bad:?}");
    assert!(bad.err.contains("AccessDenied") && bad.err.contains("no other source is tried"), "{bad:?}");
}

#[test]
fn an_sso_profile_without_a_login_says_so() {
    let others = Temptation::new();
    let config = "[default]\nsso_session=s\nsso_account_id=1\nsso_role_name=r\n[sso-session s]\nsso_region=eu-west-1\n\
                  sso_start_url=https://x.awsapps.com/start\n";
    let ran = others.resist(Identity::new(&[], &[]).file(".aws/config", config));
    assert!(!ran.good && ran.err.contains("aws sso login"), "{ran:?}");
}

#[test]
fn an_sso_profile_with_a_login_is_who_it_logged_in_as() {
    let portal = Teller::new(|asked| {
        let is_ours =
            asked.target.contains("account_id=1&role_name=r") || asked.target.contains("role_name=r&account_id=1");
        match is_ours && asked.head.contains("tokenOfTheLogin") {
            true => {
                let keys = format!(r#""accessKeyId":"AKSSO","secretAccessKey":"{SECRET}","sessionToken":"{TOKEN}""#);
                (200, "", format!(r#"{{"roleCredentials":{{{keys},"expiration":4102444800000}}}}"#))
            }
            false => (401, "x-amzn-errortype: UnauthorizedException\r\n", r#"{"message":"no"}"#.to_owned()),
        }
    });
    let config = "[default]\nsso_session=s\nsso_account_id=1\nsso_role_name=r\n[sso-session s]\nsso_region=eu-west-1\n\
                  sso_start_url=https://x.awsapps.com/start\n";
    let login = |token: &str| {
        // Named by the SHA-1 of the session's name, as `aws sso login` leaves it.
        let cached = ".aws/sso/cache/a0f1490a20d0211c997b44bc357e1972deab8ae3.json";
        let text = format!(r#"{{"accessToken":"{token}","expiresAt":"2100-01-01T00:00:00Z","region":"eu-west-1"}}"#);
        let env = [("AWS_ENDPOINT_URL_SSO", &*portal.url())];
        let identity = Identity::new(&env, &[]).file(".aws/config", config).file(cached, &text);
        Temptation::new().resist(identity)
    };
    let ran = login("tokenOfTheLogin");
    assert!(
        ran.out.starts_with("AKSSO at AWS, region eu-central-1, by the profile default (~/.aws), until 2100"),
        "{ran:?}"
    );
    let over = login("another");
    assert!(over.err.starts_with("forbidden: the profile default (~/.aws) gives no credentials"), "{over:?}");
}

#[test]
fn a_web_identity_that_fails_is_not_replaced_by_the_nodes() {
    let others = Temptation::new();
    let denies = Teller::new(|_| (403, "", sts_error("AccessDenied")));
    let ran = others.resist(web_identity(&denies.url()));
    assert!(ran.err.starts_with("forbidden: the web identity of AWS_WEB_IDENTITY_TOKEN_FILE gives no"), "{ran:?}");
    assert!(ran.err.contains("AccessDenied") && ran.err.contains("trust policy"), "{ran:?}");
    assert_eq!(denies.asked().len(), 1, "a refusal is final");
    let away = others.resist(web_identity("http://127.0.0.1:1"));
    assert!(away.err.starts_with("unavailable: get credentials: the web identity"), "{away:?}");
    let lost = others.resist(web_identity(&denies.url()).env("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token"));
    assert!(lost.err.starts_with("unsupported: ") && lost.err.contains("is the token file mounted"), "{lost:?}");
}

#[test]
fn credentials_are_renewed_before_they_end_with_the_token_that_lies_there_then() {
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let sts = Teller::new(move |_| {
        // The first lives for seconds, the second for an hour.
        let n = count.fetch_add(1, Ordering::Relaxed) + 1;
        (200, "", assumed("AssumeRoleWithWebIdentity", &format!("AK{n}"), if n == 1 { 4 } else { 3600 }))
    });
    let identity = web_identity(&sts.url()).env("AWS_REGION", "eu-west-1");
    let token = identity.home.path().join("token");
    let mut talk = identity.talk();
    assert!(talk.line().starts_with("AK1 at AWS, region eu-west-1, by the web identity"));
    std::fs::write(token, "second").expect("the token is rotated");
    talk.until("AK2 at AWS");
    let asked = sts.asked();
    assert!(asked[0].body.contains("WebIdentityToken=first"), "{:?}", asked[0]);
    assert!(asked[1].body.contains("WebIdentityToken=second"), "{:?}", asked[1]);
    talk.until("AK2 at AWS");
    assert_eq!(given.load(Ordering::Relaxed), 2, "one that lives is not asked for again");
}

#[test]
fn credentials_that_cannot_be_renewed_are_used_to_their_end() {
    let others = Temptation::new();
    // Where the machine stands still for what is left of their life, nobody asks within it: then it is for the next to tell.
    for _ in 0..20 {
        let (end, late) = (Mutex::new(None), Arc::new(AtomicUsize::new(0)));
        let missed = Arc::clone(&late);
        let sts = Teller::new(move |_| match *end.lock().expect("nobody panics") {
            // Half of the life is gone at once: it is asked for again before its end.
            ref mut none @ None => {
                *none = Some(Instant::now() + Duration::from_secs(4));
                (200, "", assumed("AssumeRoleWithWebIdentity", "AK1", 5))
            }
            Some(end) => {
                missed.fetch_add(usize::from(Instant::now() > end), Ordering::Relaxed);
                (403, "", sts_error("AccessDenied"))
            }
        });
        let identity =
            others.env().iter().fold(web_identity(&sts.url()), |identity, (name, value)| identity.env(name, value));
        let mut talk = identity.talk();
        let mut told = vec![Some(talk.line())];
        while sts.asked().len() < 2 && told.last().is_some_and(Option::is_some) {
            std::thread::sleep(Duration::from_millis(50));
            told.push(talk.ask());
        }
        // Once more, without another word to who refuses.
        told.push(talk.ask());
        assert!(others.0.asked().is_empty());
        if late.load(Ordering::Relaxed) == 0 && sts.asked().len() == 2 {
            let is_first = |line: &Option<String>| line.as_ref().is_some_and(|line| line.starts_with("AK1 at AWS"));
            assert!(told.iter().all(is_first), "{told:?}");
            return;
        }
    }
    panic!("it is never asked in time");
}

#[test]
fn a_containers_agent_gets_its_token_from_the_file_as_it_is_then() {
    let agent = Teller::new(|asked| match asked.head.to_ascii_lowercase() {
        head if head.contains("authorization: first") => (200, "", json("AK1", 4)),
        head if head.contains("authorization: second") => (200, "", json("AK2", 3600)),
        _ => (403, "", String::new()),
    });
    let url = format!("{}/v1/credentials", agent.url());
    let identity = |token: &str| {
        let identity = Identity::new(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)], &["--s3-region", "eu-west-1"]);
        let path = identity.home.path().join("token").display().to_string();
        identity.file("token", token).env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &path)
    };
    let first = identity("first");
    let token = first.home.path().join("token");
    let mut talk = first.talk();
    assert!(talk.line().starts_with("AK1 at AWS, region eu-west-1, by the container's endpoint"));
    std::fs::write(token, "second").expect("the token is rotated");
    talk.until("AK2 at AWS");

    let node = Temptation::new();
    let refused = identity("wrong").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &node.0.url()).run();
    assert!(refused.err.starts_with("forbidden: the container's endpoint"), "{refused:?}");
    let lost = identity("first").env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere").run();
    assert!(lost.err.starts_with("unsupported: the container's endpoint"), "{lost:?}");
    assert!(node.0.asked().is_empty());
}

#[test]
fn the_instances_role_is_taken_where_nothing_else_is_configured() {
    let node = Temptation::new();
    let ran =
        Identity::new(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &node.0.url())], &["--s3-region", "eu-west-1"]).run();
    assert!(ran.out.starts_with("AKNODE at AWS, region eu-west-1, by the instance's role, until"), "{ran:?}");
}

#[test]
fn no_credentials_anywhere_names_the_ways_to_have_some() {
    let roleless = Teller::new(|asked| match asked.method.as_str() {
        "PUT" => metadata(asked),
        _ => (404, "", String::new()),
    });
    for env in [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*roleless.url())] {
        let ran = Identity::new(&[env], &[]).run();
        assert!(ran.err.starts_with("unsupported: there are no credentials: AWS_ACCESS_KEY_ID with"), "{ran:?}");
        for way in
            ["AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "--s3-no-sign-request"]
        {
            assert!(ran.err.contains(way), "{way} in {ran:?}");
        }
    }
}

#[test]
fn a_metadata_service_that_is_away_for_a_moment_is_waited_for_and_then_tells_the_region_too() {
    // More than the SDK by itself tries when it is asked once.
    let (away, told) = (AtomicUsize::new(5), AtomicUsize::new(0));
    let node = Teller::new(move |asked| {
        let left = away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match (left.is_ok(), asked.target.as_str()) {
            (true, _) => (0, "", String::new()),
            // Whoever asks for the region alone asks too early, however often.
            (false, "/latest/meta-data/placement/region") if told.load(Ordering::Relaxed) == 0 => {
                (0, "", String::new())
            }
            (false, "/latest/meta-data/placement/region") => (200, "", "eu-south-2".to_owned()),
            (false, target) => {
                told.fetch_add(usize::from(target.ends_with("/node")), Ordering::Relaxed);
                metadata(asked)
            }
        }
    });
    let ran = Identity::new(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &node.url())], &[]).run();
    assert!(ran.out.starts_with("AKNODE at AWS, region eu-south-2, by the instance's role"), "{ran:?}");
}

#[test]
fn a_metadata_service_that_stays_away_is_away_and_not_missing() {
    let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")];
    let ran = Identity::new(&env, &["--s3-region", "eu-west-1"]).run();
    assert!(ran.err.starts_with("unavailable: get credentials: the instance's role gives no credentials"), "{ran:?}");
    assert!(ran.err.contains("AWS_EC2_METADATA_SERVICE_ENDPOINT names a metadata service"), "{ran:?}");
}

#[test]
fn nothing_is_signed_when_that_is_asked_for_and_nobody_is_asked_who_we_are() {
    let others = Temptation::new();
    let store =
        Teller::new(|_| (200, "", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".to_owned()));
    let keys = [("AWS_ACCESS_KEY_ID", "AKENV"), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let ran = others
        .resist(Identity::new(&keys, &["--s3-no-sign-request", "--s3-endpoint-url", &store.url(), "s3://bucket/"]));
    assert!(ran.good && ran.out.starts_with("nobody, unsigned at http://"), "{ran:?}");
    let asked = store.asked();
    assert!(asked.len() == 1 && !asked[0].head.to_ascii_lowercase().contains("authorization"), "{asked:?}");
}

#[test]
fn the_names_that_every_aws_program_knows_are_heard() {
    let keys = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let run = |name: &str, value: &str| Identity::new(&keys, &[]).env(name, value).run();
    let bundle = run("AWS_CA_BUNDLE", "/nowhere.pem");
    assert!(bundle.err.contains("cannot read /nowhere.pem (--s3-ca-bundle)"), "{bundle:?}");
    assert!(run("AWS_DEFAULT_REGION", "eu-north-1").out.contains("region eu-north-1"));
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let ran = run(name, "http://127.0.0.1:1");
        assert!(ran.out.starts_with("AK at http://127.0.0.1:1, region us-east-1"), "{ran:?}");
    }
    let profile = "[default]\nregion=eu-west-3\nendpoint_url=http://127.0.0.1:2\n";
    let ran = Identity::new(&keys, &[]).file(".aws/config", profile).run();
    assert!(ran.out.starts_with("AK at http://127.0.0.1:2, region eu-west-3"), "{ran:?}");
}

#[test]
fn no_secret_is_ever_logged() {
    let store = Teller::new(|_| (403, "", "<Error><Code>AccessDenied</Code></Error>".to_owned()));
    let keys = [("AWS_ACCESS_KEY_ID", "AKENV"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_SESSION_TOKEN", TOKEN)];
    let ran = Identity::new(&keys, &["--trace", "--s3-endpoint-url", &store.url(), "s3://bucket/"]).run();
    assert!(ran.err.contains("TRACE"), "{ran:?}");
    let seen = ran.err.lines().find(|line| line.contains(SECRET) || line.contains(TOKEN));
    assert_eq!(seen, None);
}

#[test]
fn no_secret_shows_in_what_is_debugged() {
    let args = storage_s3::S3Args { s3_endpoint_url: Some("http://127.0.0.1:1".to_owned()), ..Default::default() };
    let s3 = storage_s3::S3::with_keys(args, storage_s3::TransferArgs::default(), "AKGIVEN", SECRET);
    let shown = format!("{s3:?} {:?}", s3.bucket("b"));
    assert!(!shown.contains(SECRET), "{shown}");
}
