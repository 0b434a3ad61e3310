//! A client of the source contract that trusts nothing it is told: every body is capped, every answer has a deadline,
//! and "I cannot see" is never taken for "there is nothing".

mod endpoint;
mod watching;

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use url::Url;

pub use self::endpoint::{Endpoint, InvalidEndpoint};
pub use self::watching::Watch;
use crate::ItemName;
use crate::wire::{About, ITEM_PATHS, Item, ItemList, Status, WithheldList};

/// How patient and how trusting a [`Client`] is.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the request to the last byte of the body.
    pub deadline: Duration,
    /// How long a watch may be silent. The contract has a source say something every 15 s.
    pub watch_idle: Duration,
    /// Largest list body accepted, in bytes: a million names of 52 characters are 55 MB.
    pub list_bytes: usize,
    /// Largest item body accepted, in bytes.
    pub item_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            watch_idle: Duration::from_secs(45),
            list_bytes: 64 << 20,
            item_bytes: 4 << 20,
        }
    }
}

/// A source, reached over HTTP.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    items: Url,
    ours: bool,
    limits: Limits,
}

/// A source's mark of one state of its list, to ask by whether it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(HeaderValue);

impl std::str::FromStr for ETag {
    type Err = reqwest::header::InvalidHeaderValue;

    /// As it stands in the header, with its quotes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A failed call, classed by what the caller does next.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// 404: the source does not know the name (or the call).
    #[error("{url}: not found: {message}")]
    NotFound {
        /// What was asked.
        url: String,
        /// What the source said.
        message: String,
    },
    /// 410: the item was there and is gone; or the page token is of another incarnation.
    #[error("{url}: gone: {message}")]
    Gone {
        /// What was asked.
        url: String,
        /// What the source said.
        message: String,
    },
    /// 405 or 501: not offered here.
    #[error("{url}: not offered: {message}")]
    Unsupported {
        /// What was asked.
        url: String,
        /// What the source said.
        message: String,
    },
    /// No answer, 5xx or 429: ask again later.
    #[error("{url}: unavailable: {message}")]
    Unavailable {
        /// What was asked.
        url: String,
        /// What went wrong.
        message: String,
        /// `Retry-After`, where given in seconds.
        retry_after: Option<Duration>,
    },
    /// An answer that breaks the contract: asking again will not mend it by itself.
    #[error("{url}: {message}")]
    Broken {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Client {
    /// A client of the source at `endpoint`, a root (`http://127.0.0.1:8080`, `unix:/run/items.sock`) or a list
    /// (`http://host/items`). With a root, the three known paths are tried in their order.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`] when the source does not answer, or does not let us in; [`ClientError::NotFound`] when it
    /// serves none of the paths; [`ClientError::Broken`] when the token file cannot be read.
    pub async fn connect(endpoint: &Endpoint, limits: Limits) -> Result<Self, ClientError> {
        let base = endpoint.url();
        let mut http = reqwest::Client::builder()
            .connect_timeout(limits.deadline.min(Duration::from_secs(10)))
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(credentials(endpoint)?)
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")));
        if let Some(socket) = endpoint.socket() {
            http = http.unix_socket(socket);
        }
        let http = http.build().map_err(|e| broken(base, format!("cannot make an HTTP client: {e}")))?;
        let given = base.path().trim_end_matches('/');
        let candidates: Vec<String> =
            if given.is_empty() { ITEM_PATHS.map(str::to_owned).into() } else { vec![given.to_owned()] };
        let mut telling: Option<ClientError> = None;
        for path in candidates {
            let mut items = base.clone();
            items.set_path(&path);
            let client = Self { http: http.clone(), items, ours: path.ends_with("/v1/items"), limits: limits.clone() };
            match client.probe().await {
                Ok(()) => return Ok(client),
                // It may be the one, and not ready yet. Behind another path it would look like a lesser source, ready a
                // moment later, of which nobody asks what it withholds.
                Err(error @ ClientError::Unavailable { .. }) => return Err(error),
                Err(error) if matches!(telling, None | Some(ClientError::NotFound { .. })) => telling = Some(error),
                Err(_) => {}
            }
        }
        Err(match telling {
            Some(ClientError::NotFound { message, .. }) if given.is_empty() => {
                let message = format!("none of {} is there ({message}): is it a source's?", ITEM_PATHS.join(", "));
                ClientError::NotFound { url: base.to_string(), message }
            }
            Some(error) => error,
            None => broken(base, "no path to try".into()),
        })
    }

    /// Where the list is.
    pub fn items_url(&self) -> &Url {
        &self.items
    }

    /// Only the status of the list counts here: its body is not read.
    async fn probe(&self) -> Result<(), ClientError> {
        let response = self.send(&self.items, self.request(Method::GET, &self.items)).await?;
        self.checked(&self.items, response).await.map(drop)
    }

    /// Who the source says it is; `None` for a source that serves the list only.
    ///
    /// # Errors
    /// As every call, when it does not answer or answers nonsense.
    pub async fn about(&self) -> Result<Option<About>, ClientError> {
        if !self.ours {
            return Ok(None);
        }
        match self.get(self.sibling(""), self.limits.item_bytes).await {
            Ok((url, body)) => Ok(Some(parse(&url, &body)?)),
            Err(ClientError::NotFound { .. } | ClientError::Unsupported { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One page of the list: the first without `continue_token`. Without `limit` the source gives the whole list.
    ///
    /// # Errors
    /// [`ClientError::Gone`] when the token is of another incarnation: begin again. [`ClientError::Broken`] also when the
    /// next page is this one again.
    pub async fn list(&self, limit: Option<usize>, continue_token: Option<&str>) -> Result<ItemList, ClientError> {
        let (url, body) = self.get(paged(self.items.clone(), limit, continue_token), self.limits.list_bytes).await?;
        let list: ItemList = parse(&url, &body)?;
        moves_on(&url, continue_token, list.metadata.continue_token.as_deref())?;
        Ok(list)
    }

    /// As [`list`](Self::list) from the start; `None` when that list is the one that was marked by `known` still. Of a source that marks
    /// nothing every answer is a list.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn list_unless(
        &self,
        limit: Option<usize>,
        known: Option<&ETag>,
    ) -> Result<Option<(ItemList, Option<ETag>)>, ClientError> {
        let url = paged(self.items.clone(), limit, None);
        let mut request = self.request(Method::GET, &url);
        if let Some(ETag(known)) = known {
            request = request.header(IF_NONE_MATCH, known);
        }
        let response = self.send(&url, request).await?;
        if known.is_some() && response.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let response = self.successful(&url, response).await?;
        let mark = response.headers().get(ETAG).cloned().map(ETag);
        let list: ItemList = parse(&url, &read(&url, response, self.limits.list_bytes).await?)?;
        Ok(Some((list, mark)))
    }

    /// What changes from the version of a list on, or, without one, what is listed and then what changes.
    ///
    /// # Errors
    /// [`ClientError::Gone`] for a version too old or of another incarnation: list again. [`ClientError::Unsupported`] where no
    /// watch is offered. [`ClientError::Broken`] also from who does not know of watching and answers with a list.
    pub async fn watch(&self, since: Option<&str>) -> Result<Watch, ClientError> {
        let mut url = self.items.clone();
        url.query_pairs_mut().append_pair("watch", "true");
        if let Some(since) = since {
            url.query_pairs_mut().append_pair("resourceVersion", since);
        }
        // The whole of a watch has no deadline, so its beginning is given one here.
        let request = self.http.request(Method::GET, url.clone()).send();
        let response = match tokio::time::timeout(self.limits.deadline, request).await {
            Ok(answered) => answered.map_err(|error| unreachable(&url, &error))?,
            Err(_elapsed) => {
                let message = "no answer in time".to_owned();
                return Err(ClientError::Unavailable { url: url.to_string(), message, retry_after: None });
            }
        };
        let response = self.successful(&url, response).await?;
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/x-ndjson")) {
            return Err(broken(&url, format!("answered {kind:?} to a watch, and application/x-ndjson was expected")));
        }
        Ok(Watch::new(url, response, self.limits.watch_idle))
    }

    /// What is not listed and why; `None` where that is not offered.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn withheld(
        &self,
        limit: Option<usize>,
        continue_token: Option<&str>,
    ) -> Result<Option<WithheldList>, ClientError> {
        if !self.ours {
            return Ok(None);
        }
        match self.get(paged(self.sibling("withheld"), limit, continue_token), self.limits.list_bytes).await {
            Ok((url, body)) => {
                let list: WithheldList = parse(&url, &body)?;
                moves_on(&url, continue_token, list.metadata.continue_token.as_deref())?;
                Ok(Some(list))
            }
            Err(ClientError::NotFound { .. } | ClientError::Unsupported { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One item.
    ///
    /// # Errors
    /// [`ClientError::Gone`] or [`ClientError::NotFound`] when it is listed no more.
    pub async fn item(&self, name: &ItemName) -> Result<Item, ClientError> {
        let (url, body) = self.get(self.item_url(name)?, self.limits.item_bytes).await?;
        let item: Item = parse(&url, &body)?;
        match &item.metadata.name {
            Some(other) if other != name => Err(broken(&url, format!("asked for item {name} and was given {other}"))),
            _ => Ok(item),
        }
    }

    /// Settles an item: it is done (`failed` is `None`), or dead for the reason given.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`] where the source was started without a settle policy.
    pub async fn settle(&self, name: &ItemName, failed: Option<&str>) -> Result<(), ClientError> {
        let mut url = self.item_url(name)?;
        if let Some(reason) = failed {
            url.query_pairs_mut().append_pair("outcome", "failed").append_pair("reason", reason);
        }
        let response = self.send(&url, self.request(Method::DELETE, &url)).await?;
        self.checked(&url, response).await.map(drop)
    }

    fn item_url(&self, name: &ItemName) -> Result<Url, ClientError> {
        let mut url = self.items.clone();
        // A URL resolves these away, however they are escaped: what is left would be the list itself.
        if matches!(name.as_str(), "." | "..") {
            return Err(broken(&url, format!("the item name {name:?} cannot be part of a URL")));
        }
        url.path_segments_mut().expect("http URLs have segments").pop_if_empty().push(name.as_str());
        Ok(url)
    }

    /// A neighbour of `…/v1/items`: `…/v1/<last>`, or `…/v1` itself.
    fn sibling(&self, last: &str) -> Url {
        let mut url = self.items.clone();
        {
            let mut segments = url.path_segments_mut().expect("http URLs have segments");
            segments.pop_if_empty().pop();
            if !last.is_empty() {
                segments.push(last);
            }
        }
        url
    }

    async fn get(&self, url: Url, cap: usize) -> Result<(Url, Vec<u8>), ClientError> {
        let response = self.send(&url, self.request(Method::GET, &url)).await?;
        let body = read(&url, self.successful(&url, response).await?, cap).await?;
        Ok((url, body))
    }

    fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        self.http.request(method, url.clone()).timeout(self.limits.deadline)
    }

    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Response, ClientError> {
        request.send().await.map_err(|error| unreachable(url, &error))
    }

    /// A 200, which is the only success that has a body to believe.
    async fn successful(&self, url: &Url, response: Response) -> Result<Response, ClientError> {
        let response = self.checked(url, response).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(broken(url, format!("answered {status}, and 200 was expected"))),
        }
    }

    async fn checked(&self, url: &Url, response: Response) -> Result<Response, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(reqwest::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        // Of a body without end what is kept is enough.
        let error_body = tokio::time::timeout(self.limits.deadline, read(url, response, 64 << 10));
        let body = error_body.await.unwrap_or(Ok(Vec::new())).unwrap_or_default();
        let url = url.to_string();
        let said = match serde_json::from_slice::<Status>(&body) {
            Ok(said) => printable(&said.message),
            Err(_) => printable(&String::from_utf8_lossy(&body)),
        };
        let message = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
        Err(match status {
            StatusCode::NOT_FOUND => ClientError::NotFound { url, message },
            StatusCode::GONE => ClientError::Gone { url, message },
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => ClientError::Unsupported { url, message },
            // Who is not let in may be tomorrow: tokens change, and the file is read again.
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                ClientError::Unavailable { url, message, retry_after }
            }
            _ if status.is_server_error() => ClientError::Unavailable { url, message, retry_after },
            _ => ClientError::Broken { url, message },
        })
    }
}

fn credentials(endpoint: &Endpoint) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    if let Some(file) = endpoint.token_file() {
        let refused = |why: String| broken(endpoint.url(), format!("the token file {}: {why}", file.display()));
        let token = std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
        let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| refused("it holds more than one line of printable text".into()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn paged(mut url: Url, limit: Option<usize>, continue_token: Option<&str>) -> Url {
    if let Some(limit) = limit {
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
    }
    if let Some(token) = continue_token {
        url.query_pairs_mut().append_pair("continue", token);
    }
    url
}

/// Whoever follows a token to itself never comes to an end.
fn moves_on(url: &Url, token: Option<&str>, next: Option<&str>) -> Result<(), ClientError> {
    match next {
        Some(next) if token == Some(next) => {
            Err(broken(url, "the next page is the same page again: the list has no end".into()))
        }
        _ => Ok(()),
    }
}

async fn read(url: &Url, response: Response, cap: usize) -> Result<Vec<u8>, ClientError> {
    let too_large = || broken(url, format!("the answer is larger than the {cap} bytes accepted"));
    if response.content_length().is_some_and(|length| length > cap as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| unreachable(url, &error))?;
        if body.len() + chunk.len() > cap {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn parse<T: serde::de::DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| {
        let start = printable(&String::from_utf8_lossy(body.get(..80).unwrap_or(body)));
        broken(url, format!("the answer is not what the contract says: {error}; it begins {start:?}"))
    })
}

/// What a foreign server said, cut and cleaned for a log line.
fn printable(text: &str) -> String {
    text.trim().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn broken(url: &Url, message: String) -> ClientError {
    ClientError::Broken { url: url.to_string(), message }
}

fn unreachable(url: &Url, error: &reqwest::Error) -> ClientError {
    use std::error::Error;
    let mut message = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    ClientError::Unavailable { url: url.to_string(), message, retry_after: None }
}
