//! Which server is the primary, as Sentinels know it ([sentinel clients](https://redis.io/docs/latest/develop/reference/sentinel-clients/)):
//! they are asked before every connection, so that a failover is followed by the next one.

use std::path::PathBuf;

use clap::Args;
use redis::cmd;
use sidecar::Secret;
use tokio::time::timeout;

use super::address::Address;
use super::{Server, ServerError, read};
use crate::trouble::Trouble;

/// Sentinel's own.
const PORT: u16 = 26_379;

/// Who tells where the primary is.
#[derive(Clone, Debug, Args)]
pub(super) struct SentinelArgs {
    /// Sentinels that tell where the primary is, asked in turn: `--sentinel one:26379,two:26379`. The URL's host is its name then, as they
    /// know it: `--url redis://mymaster`.
    #[arg(long = "sentinel", value_name = "HOST[:PORT]", value_delimiter = ',', value_parser = address)]
    sentinels: Vec<Address>,
    /// A file with the password that the Sentinels ask for; they are spoken with over TLS where the servers are.
    #[arg(long, value_name = "FILE", requires = "sentinels")]
    sentinel_password_file: Option<PathBuf>,
}

/// Those who know where the primary is.
#[derive(Clone, Debug)]
pub(super) struct Sentinels {
    at: Vec<Address>,
    password_file: Option<PathBuf>,
}

impl SentinelArgs {
    /// Nobody, where the URL says it all.
    pub(super) fn sentinels(self) -> Option<Sentinels> {
        let Self { sentinels: at, sentinel_password_file: password_file } = self;
        (!at.is_empty()).then_some(Sentinels { at, password_file })
    }
}

impl Sentinels {
    /// What the Sentinels are to be told.
    ///
    /// # Errors
    /// [`ServerError`], where the file cannot be read.
    pub(super) fn password(&self) -> Result<Option<Secret>, ServerError> {
        self.password_file.as_deref().map(|path| read("--sentinel-password-file", path)).transpose()
    }

    /// Where the primary is, by the first of them that knows it.
    ///
    /// # Errors
    /// [`Trouble`]: of the last one, or that none of those who answer knows such a primary.
    pub(super) async fn primary(&self, server: &Server) -> Result<Address, Trouble> {
        let name = &server.address.host;
        // One that says nothing leaves the others their time, and the primary too.
        let share = server.stall_after / u32::try_from(self.at.len() + 1).unwrap_or(u32::MAX);
        let mut trouble = None;
        for sentinel in &self.at {
            let doing = format!("ask Sentinel {sentinel} where primary {name} is");
            match timeout(share, self.ask(server, sentinel, name, &doing)).await {
                Ok(Ok(Some((host, port)))) => return Ok(Address { host, port }),
                Ok(Ok(None)) => {
                    trouble = Some(Trouble::config(&doing, "it knows no primary of that name; see the host of --url"));
                }
                Ok(Err(error)) => trouble = Some(error),
                Err(_elapsed) => trouble = Some(Trouble::silent(&doing, share)),
            }
        }
        Err(trouble.expect("there is one at least"))
    }

    async fn ask(
        &self,
        server: &Server,
        sentinel: &Address,
        name: &str,
        doing: &str,
    ) -> Result<Option<(String, u16)>, Trouble> {
        let password = self.password().map_err(|error| Trouble::config(doing, error))?;
        let connection = server.dial(sentinel, None, password, doing).await?;
        let told = connection.ask(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name), doing).await;
        told.map_err(|trouble| match trouble.says("unknown command") {
            true => Trouble::config(doing, "it is no Sentinel; see --sentinel"),
            false => trouble,
        })
    }
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text, PORT).ok_or_else(|| "it is HOST or HOST:PORT".to_owned())
}
