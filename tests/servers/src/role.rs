//! Users who may do less than everything, where a server has such.

use std::io::{Read, Write};
use std::net::TcpStream;

use contract::item::encode_path;

use crate::S3Server;

impl S3Server {
    /// Credentials with which `policy`, a document of IAM, is all that may be done, for an hour (AssumeRole of MinIO's STS): variables
    /// for a child process, to be set after those of [`env`](Self::env).
    ///
    /// # Panics
    /// If the server refuses the policy, or is not MinIO.
    pub fn assume(&self, policy: &str) -> Vec<(String, String)> {
        let url = self.url();
        let server = url.trim_start_matches("http://");
        let form =
            format!("Action=AssumeRole&Version=2011-06-15&DurationSeconds=3600&Policy={}", encode(policy.as_bytes()));
        let request = crate::proxy::post(server, self.access_key(), "sts", &form);
        let mut connection = TcpStream::connect(server).expect("the server listens");
        connection.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        let of = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name}: {answer}"));
            rest.split('<').next().unwrap_or_default().to_owned()
        };
        [
            ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
            ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
            ("AWS_SESSION_TOKEN", "SessionToken"),
        ]
        .map(|(variable, name)| (variable.to_owned(), of(name)))
        .into()
    }
}

/// For a form, in which a slash means nothing either.
fn encode(text: &[u8]) -> String {
    encode_path(text).replace('/', "%2F").replace('+', "%2B").replace('&', "%26").replace('=', "%3D")
}
