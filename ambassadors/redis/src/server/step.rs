//! Scripts: steps that the server takes whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation, ToRedisArgs};

/// With it a step is taken by a server whose memory is full, too: what it holds could else never be settled, and it would be full for
/// ever. Servers before Redis 7 do not know of it.
const ALTHOUGH_FULL: &str = "#!lua flags=allow-oom\n";

/// With what a step begins that finds out what we may do.
pub(crate) const MAY: &str = include_str!("may.lua");

/// A step.
#[derive(Debug)]
pub(crate) struct Step {
    although_full: Script,
    plain: Script,
}

/// A step with its keys and arguments.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    although_full: ScriptInvocation<'a>,
    plain: ScriptInvocation<'a>,
}

impl Step {
    /// Of this text in Lua.
    pub(crate) fn new(text: &str) -> Self {
        Self { although_full: Script::new(&format!("{ALTHOUGH_FULL}{text}")), plain: Script::new(text) }
    }
}

impl<'a> Call<'a> {
    pub(crate) fn of(step: &'a Step) -> Self {
        Self { although_full: step.although_full.prepare_invoke(), plain: step.plain.prepare_invoke() }
    }

    pub(crate) fn key(mut self, key: impl ToRedisArgs) -> Self {
        self.although_full.key(&key);
        self.plain.key(key);
        self
    }

    pub(crate) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.although_full.arg(&arg);
        self.plain.arg(arg);
        self
    }

    /// Has the server take it, which is told it only once; `is_old` is what was found out of the server.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        is_old: &AtomicBool,
    ) -> RedisResult<T> {
        if !is_old.load(Ordering::Relaxed) {
            match self.although_full.invoke_async(connection).await {
                Err(error) if is_not_understood(&error) => is_old.store(true, Ordering::Relaxed),
                answer => return answer,
            }
        }
        self.plain.invoke_async(connection).await
    }
}

/// What servers before Redis 7 say of a script's first line.
fn is_not_understood(error: &RedisError) -> bool {
    error.to_string().contains("compiling script")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_known_by_what_it_says() {
        let said = |detail: &str| RedisError::from((redis::ErrorKind::UnexpectedReturnType, "ERR", detail.to_owned()));
        let old = "Error compiling script (new function): user_script:1: unexpected symbol near '#'";
        assert!(is_not_understood(&said(old)));
        assert!(!is_not_understood(&said("OOM command not allowed when used memory > 'maxmemory'.")));
    }
}
