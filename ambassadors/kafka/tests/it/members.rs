//! The program as a member of a group, and what is asked of it.

use reqwest::Method;
use serde_json::Value;

use crate::program::{Program, command, http};
use crate::topic::{QUICK, Topic, until};

/// A running member; killed when dropped.
pub(crate) struct Member {
    program: Program,
    http: reqwest::Client,
}

/// A group that nobody else is in.
pub(crate) fn group() -> String {
    format!("group-{:016x}", fastrand::u64(..))
}

impl Member {
    /// Started, and serving; whether it is in the group yet, nobody says.
    pub(crate) async fn start(topic: &Topic<'_>, group: &str, flags: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = command(topic, &QUICK);
        command.args(["--mode", "group", "--group", group]).args(flags).envs(env.iter().copied());
        Self { program: Program::start(command).await, http: http() }
    }

    /// Where it serves.
    pub(crate) fn url(&self) -> String {
        self.program.url.clone()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// A metric, summed over those of its labels that hold this text.
    pub(crate) async fn figure(&self, name: &str, label: &str) -> f64 {
        let (_, metrics) = self.probe("/metrics").await.expect("metrics");
        let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until readiness is this, and says why it is.
    pub(crate) async fn ready(&self, status: u16) -> String {
        until(&format!("/readyz {status}"), async || {
            self.probe("/readyz").await.filter(|(is, _)| *is == status).map(|(_, why)| why)
        })
        .await
    }

    /// The list, unless it has none to give.
    pub(crate) async fn list(&self) -> Option<Value> {
        self.program.ask("/v1/items").await.filter(|(status, _)| *status == 200).map(|(_, list)| list)
    }

    /// The names of the list.
    pub(crate) async fn listed(&self) -> Option<Vec<String>> {
        let list = self.list().await?;
        Some(list["items"].as_array()?.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    }

    /// Waits for a list of so many names.
    pub(crate) async fn holds(&self, count: usize) -> Vec<String> {
        until(&format!("{count} items"), async || self.listed().await.filter(|names| names.len() == count)).await
    }

    /// Waits until it says that there is nothing left, in its window or behind it.
    pub(crate) async fn is_empty(&self) {
        until("nothing left", async || {
            let list = self.list().await?;
            let empty = list["items"].as_array()?.is_empty() && list["metadata"]["backlog"] == 0;
            (empty && list["metadata"]["complete"] == true).then_some(())
        })
        .await
    }

    /// The answer to a settle, if there is one.
    pub(crate) async fn settle(&self, name: &str) -> Option<u16> {
        let url = format!("{}/v1/items/{name}", self.program.url);
        Some(self.http.request(Method::DELETE, url).send().await.ok()?.status().as_u16())
    }

    pub(crate) async fn ask(&self, path: &str) -> Option<(u16, Value)> {
        self.program.ask(path).await
    }

    pub(crate) async fn probe(&self, path: &str) -> Option<(u16, String)> {
        self.program.probe(path).await
    }

    /// Asks it to leave, and waits until it has.
    pub(crate) async fn terminate(&mut self) {
        self.program.terminate().await;
    }

    /// Whether the process is gone.
    pub(crate) fn is_over(&mut self) -> bool {
        self.program.is_over()
    }
}
