//! Layout B: a plain chain of init containers, between one that fetches and one that commits.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use serde_json::Value;
use stage::run::expand;

use super::container::{Container, mount, plain, read_only};
use super::pod::{ADAPTER, Containers, root, volume};
use super::{Kind, RenderError, Rendering};
use crate::pipeline::fixed::Fixed;
use crate::pipeline::{Manifest, OnError, Pipeline, Retries, Stage, When, mentions};

impl Rendering<'_> {
    pub(super) fn chain(&self) -> Result<Containers, RenderError> {
        let Pipeline { stages, adapter, .. } = self.pipeline;
        let fixed = Fixed::new(root());
        self.same_user(None, "adapter.container", &adapter.container)?;
        let fetch = self.adapter("multi-worker-fetch", "fetch")?.also(&adapter.container).tmp();
        let mut init = vec![fetch.into_value()];
        for stage in stages {
            self.keeps(stage)?;
            init.push(self.link(stage, &fixed)?.into_value());
        }
        let theirs = stages.iter().map(|stage| read_only(&volume(stage), fixed.output(&stage.name).to_string_lossy()));
        let app = self.adapter(ADAPTER, "commit")?.mounts(theirs).also(&adapter.container).tmp();
        let volumes = ["adapter", "tmp"].map(str::to_owned).into_iter().chain(stages.iter().map(volume));
        Ok(Containers { init, app: app.into_value(), volumes: volumes.collect() })
    }

    fn link(&self, stage: &Stage, fixed: &Fixed) -> Result<Container, RenderError> {
        let variables = fixed.variables(stage);
        let output = |stage: &Stage| fixed.output(&stage.name).to_string_lossy().into_owned();
        let needed: Vec<&Stage> =
            self.pipeline.stages.iter().filter(|other| stage.needs.contains(&other.name)).collect();
        let mut container = Container::new(stage.name.as_str(), self.image_of(stage)?)
            .words("command", self.words(stage, "command", &stage.command, &variables)?)
            .words("args", self.words(stage, "args", &stage.args, &variables)?)
            .env(plain(&variables))
            .env(plain(&stage.env))
            .mounts([read_only("adapter", root().adapter().path().to_string_lossy())])
            .mounts([mount(&volume(stage), output(stage))])
            .mounts(needed.iter().map(|other| read_only(&volume(other), output(other))));
        if needed.len() > 1 {
            let dir = fixed.needed(&stage.name);
            let by_name = |other: &&Stage| read_only(&volume(other), dir.join(other.name.as_str()).to_string_lossy());
            container = container.mounts(needed.iter().map(by_name));
        }
        if let Some(directory) = &stage.working_dir {
            container = container.with("workingDir", directory.to_string_lossy());
        }
        Ok(container.also(&stage.container).tmp())
    }

    /// A command's words, in which variables are replaced now, by what they will be.
    fn words(
        &self,
        stage: &Stage,
        field: &str,
        words: &[String],
        variables: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, RenderError> {
        let known = variables.iter().map(|(name, value)| (name.clone(), OsString::from(value))).collect();
        let unknown =
            || ["INPUT_FILE", "WORK_ITEM_NAME", "ATTEMPT"].into_iter().filter(|name| !variables.contains_key(*name));
        let checked = words.iter().enumerate().map(|(n, word)| match unknown().find(|name| mentions(word, name)) {
            None => Ok(expand(OsStr::new(word), &known).into_string().expect("text in, text out")),
            Some(name) => {
                let instead = if name == "INPUT_FILE" { "take $(INPUT_DIR), or layout A" } else { "use layout A" };
                let message =
                    format!("layout B cannot know $({name}) of stage {} before it runs; {instead}", stage.name);
                Err(self.places.error(Some(&stage.name), &format!("{field}[{n}]"), message).into())
            }
        });
        checked.collect()
    }

    /// Refuses what init containers cannot do.
    fn keeps(&self, stage: &Stage) -> Result<(), RenderError> {
        let name = Some(&stage.name);
        let refused = [
            ("onError", stage.on_error != OnError::Fail, "a failed init container is the end of the pod"),
            ("when", stage.when != When::Succeeded, "nothing follows a failed init container"),
            ("retries", stage.retries != Retries::default(), "an init container is run once"),
            ("timeout", stage.timeout.is_some(), "nobody watches an init container"),
            ("startTimeout", self.places.stands(name, "startTimeout"), "nobody watches an init container"),
        ];
        if let Some((field, _, why)) = refused.into_iter().find(|(_, is_said, _)| *is_said) {
            let message =
                format!("layout B cannot keep `{field}` of stage {}: {why}; take it away, or use layout A", stage.name);
            return Err(self.places.error(name, field, message).into());
        }
        if self.args.kind == Kind::Pod && !stage.permanent_exit.is_empty() {
            let message = format!(
                "a pod in layout B cannot keep `permanentExit` of stage {}: its code is Kubernetes' own; use --as job, or layout A",
                stage.name
            );
            return Err(self.places.error(name, "permanentExit", message).into());
        }
        self.same_user(Some(stage), "container", &stage.container)
    }

    /// Nobody makes files readable for others here.
    fn same_user(&self, stage: Option<&Stage>, field: &str, said: &Manifest) -> Result<(), RenderError> {
        let user = said.get("securityContext").and_then(|context| context.get("runAsUser"));
        match user.and_then(Value::as_u64) {
            Some(user) if user != self.user() => {
                let (ours, field) = (self.user(), format!("{field}.securityContext"));
                let message = format!(
                    "layout B cannot keep `runAsUser`: all containers must be one user, here {ours}, to read one another's files; say it in `pod.securityContext`, or use layout A"
                );
                Err(self.places.error(stage.map(|stage| &stage.name), &field, message).into())
            }
            _ => Ok(()),
        }
    }
}
