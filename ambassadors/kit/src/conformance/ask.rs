//! How the suite asks, and how it reads what may be endless.

use std::io::{self, Read};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::{Buf, Bytes};
use contract::ItemName;
use contract::wire::{About, ItemList, ListMeta, Status};
use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode};
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::{Miss, Plan};

/// Largest body read at once, in bytes.
const BODY: usize = 16 << 20;

pub(super) struct Ask {
    app: Router,
    pub(super) plan: Plan,
}

pub(super) struct Answer {
    pub(super) asked: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Ask {
    pub(super) fn new(app: Router, plan: Plan) -> Self {
        Self { app, plan }
    }

    pub(super) async fn send(&self, method: Method, path: &str) -> Result<Answer, Miss> {
        let asked = format!("{method} {path}");
        let response = self.open(method, path).await?;
        let (parts, body) = response.into_parts();
        let mut chunks = body.into_data_stream();
        let mut body = Vec::new();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|error| broken(format!("{asked} was cut off: {error}")))?);
            if body.len() > BODY {
                return Err(broken(format!("{asked} answered more than {BODY} bytes")));
            }
        }
        Ok(Answer { asked, status: parts.status, headers: parts.headers, body })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, Miss> {
        self.send(Method::GET, path).await
    }

    pub(super) async fn about(&self) -> Result<About, Miss> {
        let answer = self.get("/v1").await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(Miss::NotOffered("GET /v1 is 404"));
        }
        answer.expect(StatusCode::OK)?.json()
    }

    /// One page, as JSON.
    pub(super) async fn page(&self, limit: usize, token: Option<&str>) -> Result<ItemList, Miss> {
        let token = token.map(|token| format!("&continue={}", encode(token))).unwrap_or_default();
        self.get(&format!("/v1/items?limit={limit}{token}")).await?.expect(StatusCode::OK)?.json()
    }

    /// The first names of the whole list at `path`, and what it says of itself; the rest is not waited for.
    pub(super) async fn list(&self, path: &str) -> Result<Listed, Miss> {
        let response = self.open(Method::GET, path).await?;
        if response.status() != StatusCode::OK {
            return Err(broken(format!("GET {path} answered {}", response.status())));
        }
        let most = self.plan.most;
        let (sender, receiver) = mpsc::channel(2);
        let reading = tokio::task::spawn_blocking(move || Listed::read(Chunks { receiver, rest: Bytes::new() }, most));
        let mut chunks = response.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(io::Error::other);
            // The reader leaves when it has seen enough.
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
        drop(sender);
        let read = reading.await.map_err(|error| broken(error.to_string()))?;
        read.map_err(|error| broken(format!("GET {path}: {error}")))
    }

    /// The list at its own path.
    pub(super) async fn items(&self) -> Result<Listed, Miss> {
        self.list("/v1/items").await
    }

    /// Names that are listed; there must be one.
    pub(super) async fn some_names(&self) -> Result<Vec<ItemName>, Miss> {
        let names = self.items().await?.names;
        if names.is_empty() { Err(Miss::NotOffered("nothing is listed")) } else { Ok(names) }
    }

    async fn open(&self, method: Method, path: &str) -> Result<http::Response<Body>, Miss> {
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        let request = request.map_err(|error| broken(format!("{path}: {error}")))?;
        self.app.clone().oneshot(request).await.map_err(|error| match error {})
    }
}

impl Answer {
    pub(super) fn expect(self, status: StatusCode) -> Result<Self, Miss> {
        if self.status == status {
            return Ok(self);
        }
        let body: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        Err(broken(format!("{} answered {}, not {status}: {body}", self.asked, self.status)))
    }

    /// An error is a Status that repeats its code.
    pub(super) fn refused(self, status: StatusCode) -> Result<Self, Miss> {
        let answer = self.expect(status)?;
        let said: Status = answer.json()?;
        let named = said.kind == "Status" && said.status == "Failure" && !said.reason.is_empty();
        if named && !said.message.is_empty() && said.code == status.as_u16() {
            return Ok(answer);
        }
        Err(broken(format!("{} answered {status} with no proper Status: {said:?}", answer.asked)))
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Miss> {
        let kind = self.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/json") {
            return Err(broken(format!("{} is of the type {kind:?}, not application/json", self.asked)));
        }
        serde_json::from_slice(&self.body).map_err(|error| broken(format!("{}: {error}", self.asked)))
    }
}

pub(super) fn broken(how: impl Into<String>) -> Miss {
    Miss::Broken(how.into())
}

/// A text as one segment of a path, or one value of a query.
pub(super) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The beginning of a list, or all of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) kind: String,
    pub(super) api_version: String,
    pub(super) metadata: Option<ListMeta>,
    pub(super) names: Vec<ItemName>,
    /// Whether the list went on.
    pub(super) more: bool,
}

impl Listed {
    fn read(chunks: Chunks, most: usize) -> serde_json::Result<Self> {
        let mut listed = Self::default();
        let mut json = serde_json::Deserializer::from_reader(io::BufReader::new(chunks));
        let read = ListSeed { listed: &mut listed, most }.deserialize(&mut json).and_then(|()| json.end());
        match read {
            // The seed's way out of a list that is long enough.
            Err(_) if listed.more => Ok(listed),
            Err(error) => Err(error),
            Ok(()) => Ok(listed),
        }
    }
}

/// Chunks of a body, as a reader on another thread wants them.
struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.rest = chunk?,
                None => return Ok(0),
            }
        }
        let taken = self.rest.remaining().min(buf.len());
        self.rest.split_to(taken).copy_to_slice(buf.split_at_mut(taken).0);
        Ok(taken)
    }
}

struct ListSeed<'a> {
    listed: &'a mut Listed,
    most: usize,
}

impl<'de> DeserializeSeed<'de> for ListSeed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an ItemList")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "kind" => self.listed.kind = map.next_value()?,
                "apiVersion" => self.listed.api_version = map.next_value()?,
                "metadata" => self.listed.metadata = Some(map.next_value()?),
                "items" => map.next_value_seed(NamesSeed { listed: self.listed, most: self.most })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct NamesSeed<'a> {
    listed: &'a mut Listed,
    most: usize,
}

impl<'de> DeserializeSeed<'de> for NamesSeed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for NamesSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(name) = seq.next_element::<ItemName>()? {
            if self.listed.names.len() == self.most {
                self.listed.more = true;
                return Err(serde::de::Error::custom("enough"));
            }
            self.listed.names.push(name);
        }
        Ok(())
    }
}
