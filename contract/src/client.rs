//! A client of the source contract that trusts nothing it is told: every body is capped, every answer has a deadline,
//! and "I cannot see" is never taken for "there is nothing".

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Method, Response, StatusCode};
use url::Url;

use crate::ItemName;
use crate::wire::{About, ITEM_PATHS, Item, ItemList, Status, WithheldList};

/// How patient and how trusting a [`Client`] is.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the request to the last byte of the body.
    pub deadline: Duration,
    /// Largest list body accepted, in bytes: a million names of 52 characters are 55 MB.
    pub list_bytes: usize,
    /// Largest item body accepted, in bytes.
    pub item_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60), list_bytes: 64 << 20, item_bytes: 4 << 20 }
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

/// A failed call, classed by what the caller does next.
#[derive(Debug, thiserror::Error)]
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
    /// A client of the source at `base`, a root (`http://127.0.0.1:8080`) or a list (`http://host/items`). With a root,
    /// the three known paths are tried in their order on the first listing.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`] when the source does not answer, [`ClientError::NotFound`] when it serves none of the
    /// paths.
    pub async fn connect(base: &Url, limits: Limits) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .connect_timeout(limits.deadline.min(Duration::from_secs(10)))
            .timeout(limits.deadline)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| broken(base, format!("cannot make an HTTP client: {e}")))?;
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
        let response = self.send(Method::GET, self.items.clone()).await?;
        self.checked(response).await.map(drop)
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
        let response = self.send(Method::DELETE, url).await?;
        self.checked(response).await.map(drop)
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
        let response = self.checked(self.send(Method::GET, url.clone()).await?).await?;
        if response.status() != StatusCode::OK {
            return Err(broken(&url, format!("answered {}, and 200 was expected", response.status())));
        }
        Ok((url.clone(), read(&url, response, cap).await?))
    }

    async fn send(&self, method: Method, url: Url) -> Result<Response, ClientError> {
        self.http.request(method, url.clone()).send().await.map_err(|error| unreachable(&url, &error))
    }

    async fn checked(&self, response: Response) -> Result<Response, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let url = response.url().clone();
        let retry_after = response
            .headers()
            .get(reqwest::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = read(&url, response, 64 << 10).await.unwrap_or_default();
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
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                ClientError::Unavailable { url, message, retry_after }
            }
            _ if status.is_server_error() => ClientError::Unavailable { url, message, retry_after },
            _ => ClientError::Broken { url, message },
        })
    }
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
