//! How the suite asks: every answer has a deadline and a largest size, whoever answers.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use contract::ItemName;
use contract::wire::{About, ItemList, Settle, Status};
use flate2::read::MultiGzDecoder;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

use super::journal::Journal;
use super::listed::Listed;
use super::{Miss, Plan};

/// Largest body read, in bytes: a page of 10,000 long names, or as many names as the suite looks at.
const BODY: usize = 32 << 20;
/// Of a list so much is read before it is looked whether that is enough, in bytes.
const LOOK: usize = 64 << 10;

pub(super) type App = BoxCloneSyncService<Request, Response<Body>, BoxError>;

/// A source, and what is known of it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) app: App,
    pub(super) plan: Plan,
    /// The path at which it lists.
    pub(super) items: &'static str,
    /// Who it says it is.
    pub(super) about: Option<About>,
    pub(super) journal: Journal,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: Vec<(HeaderName, String)>,
    /// What is shown for a token.
    pub(super) token: Option<String>,
}

/// An answer, read to its end.
pub(super) struct Answer {
    /// `GET /v1/items`.
    pub(super) asked: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody speaks HTTP there.
    NoAnswer(String),
    /// It takes too long, or never ends.
    TooMuch(String),
    /// 503, as often as it was asked.
    Unavailable(String),
}

impl Question {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), token: None }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn request(&self) -> Result<Request, Trouble> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Trouble::NoAnswer("the token cannot stand in a header: is it the right file?".into()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Body::empty()).map_err(|error| Trouble::NoAnswer(format!("{self}: {error}")))
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Ask {
    /// What the plan's token makes of a question.
    pub(super) fn question(&self, method: Method, path: impl Into<String>) -> Question {
        let token = self.plan.token.as_ref().map(|token| token.expose().to_owned());
        Question { method, token, ..Question::get(path) }
    }

    pub(super) async fn send(&self, method: Method, path: &str) -> Result<Answer, Miss> {
        self.put(&self.question(method, path)).await
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, Miss> {
        self.send(Method::GET, path).await
    }

    pub(super) async fn put(&self, question: &Question) -> Result<Answer, Miss> {
        Ok(self.try_put(question).await?)
    }

    pub(super) async fn try_put(&self, question: &Question) -> Result<Answer, Trouble> {
        let (response, until) = self.open(question).await?;
        let answer = self.read(question, response, until).await?;
        self.journal.note(&answer);
        Ok(answer)
    }

    /// The head of an answer, and until when the rest must be there. While it is 503 it is asked for again when the source says
    /// so, for as long as an answer may take.
    pub(super) async fn open(&self, question: &Question) -> Result<(Response<Body>, Instant), Trouble> {
        let give_up = Instant::now() + self.plan.deadline;
        loop {
            let until = Instant::now() + self.plan.deadline;
            let response = match timeout_at(until, self.app.clone().oneshot(question.request()?)).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(Trouble::NoAnswer(sidecar::chain(&*error))),
                Err(_elapsed) => return Err(self.late(question)),
            };
            if response.status() != StatusCode::SERVICE_UNAVAILABLE {
                return Ok((response, until));
            }
            let answer = self.read(question, response, until).await?;
            self.journal.note(&answer);
            let pause =
                answer.retry_after().map_or(Duration::from_secs(1), |wait| wait.max(Duration::from_millis(100)));
            // What it names may be further away than any clock goes.
            if pause > give_up.saturating_duration_since(Instant::now()) {
                let said = serde_json::from_slice::<Status>(&answer.body).map(|said| said.message);
                return Err(Trouble::Unavailable(said.unwrap_or_else(|_| answer.beginning())));
            }
            sleep(pause).await;
        }
    }

    async fn read(&self, question: &Question, response: Response<Body>, until: Instant) -> Result<Answer, Trouble> {
        let (parts, body) = response.into_parts();
        let mut chunks = body.into_data_stream();
        let mut body = Vec::new();
        while let Some(chunk) = timeout_at(until, chunks.next()).await.map_err(|_elapsed| self.late(question))? {
            body.extend_from_slice(&chunk.map_err(|error| cut_off(question, &error))?);
            if body.len() > BODY {
                return Err(Trouble::TooMuch(format!("{question} was answered by more than {BODY} bytes")));
            }
        }
        Ok(Answer { asked: question.to_string(), status: parts.status, headers: parts.headers, body })
    }

    fn late(&self, question: &Question) -> Trouble {
        Trouble::TooMuch(format!("{question} was not answered within {:?}", self.plan.deadline))
    }

    /// Who is speaking; it need not be said.
    pub(super) fn ours(&self) -> Result<&About, Miss> {
        self.about
            .as_ref()
            .ok_or_else(|| Miss::not_offered("GET /v1 does not say who is speaking: only the least is asked for"))
    }

    /// How it settles.
    pub(super) fn settle_policy(&self) -> Result<Settle, Miss> {
        self.ours().map(|about| about.capabilities.settle)
    }

    /// One page, as JSON.
    pub(super) async fn page(&self, limit: usize, token: Option<&str>) -> Result<ItemList, Miss> {
        let token = token.map(|token| format!("&continue={}", encode(token))).unwrap_or_default();
        self.get(&format!("{}?limit={limit}{token}", self.items)).await?.expect(StatusCode::OK)?.json()
    }

    /// The first names of the whole list; the rest is not waited for.
    pub(super) async fn list(&self) -> Result<Listed<ItemName>, Miss> {
        self.list_at(self.items).await
    }

    pub(super) async fn list_at<T: DeserializeOwned>(&self, path: &str) -> Result<Listed<T>, Miss> {
        self.read_list(&self.question(Method::GET, path)).await
    }

    /// The beginning of the list that a question is answered by, unpacked where the answer says that it is packed.
    pub(super) async fn read_list<T: DeserializeOwned>(&self, question: &Question) -> Result<Listed<T>, Miss> {
        let (response, until) = self.open(question).await?;
        if response.status() != StatusCode::OK {
            let answer = self.read(question, response, until).await?;
            self.journal.note(&answer);
            return Err(answer.not(StatusCode::OK));
        }
        let (parts, body) = response.into_parts();
        // Of the body only its type is of interest to the journal.
        let answer =
            Answer { asked: question.to_string(), status: parts.status, headers: parts.headers, body: b"{}".into() };
        self.journal.note(&answer);
        let etag = Some(answer.header(header::ETAG).to_owned()).filter(|etag| !etag.is_empty());
        let packed = answer.header(header::CONTENT_ENCODING) == "gzip";
        let look = |text: &[u8]| look(text, packed, self.plan.most);
        let (mut chunks, mut text, mut enough) = (body.into_data_stream(), Vec::new(), LOOK);
        while let Some(chunk) = timeout_at(until, chunks.next()).await.map_err(|_elapsed| self.late(question))? {
            text.extend_from_slice(&chunk.map_err(|error| cut_off(question, &error))?);
            if text.len() < enough {
                continue;
            }
            // As much again before the next look: so all of them together cost no more than two of the last.
            enough = 2 * text.len();
            if let Ok(listed) = look(&text)
                && listed.more
            {
                return Ok(Listed { etag, ..listed });
            }
            if text.len() > BODY {
                return Err(Miss::broken(format!(
                    "{question} was answered by more than {BODY} bytes, for so few items"
                )));
            }
        }
        let listed = look(&text).map_err(|error| Miss::broken(format!("{question}: {error}")))?;
        Ok(Listed { etag, ..listed })
    }

    /// Names that are listed; there must be one.
    pub(super) async fn some_names(&self) -> Result<Vec<ItemName>, Miss> {
        let names = self.list().await?.items;
        if names.is_empty() { Err(Miss::not_offered("nothing is listed")) } else { Ok(names) }
    }

    /// Where an item is.
    pub(super) fn item(&self, name: &str) -> String {
        format!("{}/{}", self.items, encode(name))
    }
}

/// What can be read of a list so far, however little it was packed into.
fn look<T: DeserializeOwned>(text: &[u8], packed: bool, most: usize) -> Result<Listed<T>, String> {
    if !packed {
        return Listed::read(text, most).map_err(|error| error.to_string());
    }
    let mut unpacked = Vec::new();
    let whole = MultiGzDecoder::new(text).take(BODY as u64).read_to_end(&mut unpacked);
    match (Listed::read(&unpacked, most), whole) {
        (Ok(listed), _) if listed.more => Ok(listed),
        (_, Err(error)) => Err(format!("unpacked: {error}")),
        (listed, Ok(_)) => listed.map_err(|error| format!("unpacked: {error}")),
    }
}

fn cut_off(question: &Question, error: &axum::Error) -> Trouble {
    Trouble::NoAnswer(format!("{question} was cut off: {}", sidecar::chain(error)))
}

impl Answer {
    pub(super) fn expect(self, status: StatusCode) -> Result<Self, Miss> {
        if self.status == status {
            return Ok(self);
        }
        Err(self.not(status))
    }

    fn not(&self, status: StatusCode) -> Miss {
        Miss::broken(format!("{} was answered by {}, not {status}: {}", self.asked, self.status, self.beginning()))
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Miss> {
        serde_json::from_slice(&self.body).map_err(|error| Miss::broken(format!("{}: {error}", self.asked)))
    }

    /// A header as text; empty where it is not there.
    pub(super) fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// `Retry-After` in seconds.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.header(header::RETRY_AFTER).parse().ok().map(Duration::from_secs)
    }

    /// How its body begins, for people.
    fn beginning(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.trim().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(how) | Self::TooMuch(how) => f.write_str(how),
            Self::Unavailable(why) => write!(f, "the source answers 503, as often as it is asked: {why}"),
        }
    }
}

impl From<Trouble> for Miss {
    fn from(trouble: Trouble) -> Self {
        Self::Broken(trouble.to_string())
    }
}

/// A text as one segment of a path, or one value of a query.
pub(super) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
