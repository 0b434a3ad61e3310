//! A connection, on which every question has its answer in time or is the last.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, Value, cmd,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use super::step::Call;
use crate::trouble::Trouble;

/// Many may ask at once; nothing that is asked may block the server's answers to the others. Its clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    stall_after: Duration,
    /// Whether it turned out to be of before Redis 7.
    is_old: Arc<AtomicBool>,
    _driver: Arc<Driver>,
}

/// What reads and writes, until nobody is left to ask: the client would wait for answers that never come.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Over a stream, which is nobody else's.
    pub(super) async fn over<S>(stream: S, stall_after: Duration, doing: &str) -> Result<Self, Trouble>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2);
        let info = info.set_lib_name(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(stall_after));
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (inner, driver) = made.map_err(|error| Trouble::of(&error, doing))?;
        Ok(Self { inner, stall_after, is_old: Arc::default(), _driver: Arc::new(Driver(tokio::spawn(driver))) })
    }

    /// What a server of a cluster says about where this key is, if it is not there. Whatever else is wrong, the next question tells.
    pub(super) async fn moved(&self, key: &str) -> Option<String> {
        let asked: Result<Value, RedisError> = cmd("TYPE").arg(key).query_async(&mut self.inner.clone()).await;
        let (_, error) = asked.err()?.into_server_errors()?.iter().next()?.clone();
        (error.code() == "MOVED").then(|| error.details().unwrap_or_default().to_owned())
    }

    /// Asks for one thing; `doing` says what for.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd, doing: &str) -> Result<T, Trouble> {
        let mut inner = self.inner.clone();
        command.query_async(&mut inner).await.map_err(|error| self.trouble(&error, doing))
    }

    /// Asks for many things at once, and has an answer of each.
    ///
    /// # Errors
    /// [`Trouble`], where one of them is refused too.
    pub(crate) async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline, doing: &str) -> Result<T, Trouble> {
        let mut inner = self.inner.clone();
        commands.query_async(&mut inner).await.map_err(|error| self.trouble(&error, doing))
    }

    /// Has a step be taken.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) async fn run<T: FromRedisValue>(&self, call: &Call<'_>, doing: &str) -> Result<T, Trouble> {
        let mut inner = self.inner.clone();
        call.run(&mut inner, &self.is_old).await.map_err(|error| self.trouble(&error, doing))
    }

    fn trouble(&self, error: &redis::RedisError, doing: &str) -> Trouble {
        if error.is_timeout() { Trouble::silent(doing, self.stall_after) } else { Trouble::of(error, doing) }
    }
}
