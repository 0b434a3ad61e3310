//! Layout A: each stage is a native sidecar whose command the shim starts when the multi-worker asks for it.

use serde_json::json;

use super::container::{Container, mount, plain, read_only};
use super::pod::{ADAPTER, Containers, root, volume};
use super::{RenderError, Rendering};
use crate::pipeline::{Pipeline, Stage};
use crate::resolve::Resolver;

/// Where the shim is installed, for every stage to run.
const BIN: &str = "/longshore/bin";

/// The directory that a stage writes.
fn dir(stage: &Stage) -> String {
    root().stage(&stage.name).path().to_string_lossy().into_owned()
}

impl Rendering<'_> {
    pub(super) fn sidecars(&self, resolver: &Resolver) -> Result<Containers, RenderError> {
        let Pipeline { stages, adapter, .. } = self.pipeline;
        let mut init = Vec::with_capacity(stages.len() + 1);
        let install = Container::new("stage-shim", self.image())
            .with("command", json!(["stage-shim", "install", BIN]))
            .mounts([mount("bin", BIN)])
            .also_like(&adapter.container);
        init.push(install.into_value());
        for stage in stages {
            init.push(self.sidecar(stage, resolver)?.into_value());
        }
        let theirs = stages.iter().map(|stage| read_only(&volume(stage), dir(stage)));
        let app = self.adapter(ADAPTER, "run")?.mounts(theirs).also(&adapter.container).tmp();
        let volumes = ["adapter", "bin", "tmp"].map(str::to_owned).into_iter().chain(stages.iter().map(volume));
        Ok(Containers { init, app: app.into_value(), volumes: volumes.collect() })
    }

    fn sidecar(&self, stage: &Stage, resolver: &Resolver) -> Result<Container, RenderError> {
        let image = self.image_of(stage)?;
        let shim = format!("{BIN}/stage-shim");
        let adapter = root().adapter();
        let needed = self.pipeline.stages.iter().filter(|other| stage.needs.contains(&other.name));
        let mut container = Container::new(stage.name.as_str(), image)
            .with("restartPolicy", "Always")
            .with("command", json!([shim, "--stage", stage.name.as_str(), "--"]))
            .words("args", self.command(stage, image, resolver)?)
            .env(plain(&stage.env))
            .mounts([read_only("bin", BIN), read_only("adapter", adapter.path().to_string_lossy())])
            .mounts([mount(&volume(stage), dir(stage))])
            .mounts(needed.map(|other| read_only(&volume(other), dir(other))));
        if let Some(directory) = &stage.working_dir {
            container = container.with("workingDir", directory.to_string_lossy());
        }
        Ok(container.also(&stage.container).tmp())
    }

    /// What the shim runs: what the pipeline says, or what the image would run by itself.
    fn command(&self, stage: &Stage, image: &str, resolver: &Resolver) -> Result<Vec<String>, RenderError> {
        if !stage.command.is_empty() {
            return Ok(stage.command.iter().chain(&stage.args).cloned().collect());
        }
        if resolver.is_empty() {
            let message = format!(
                "stage {} has no command, and in layout A the shim stands in the place of the image's own; add `command`, or give the image's archive by --resolve",
                stage.name
            );
            return Err(self.places.error(Some(&stage.name), "image", message).into());
        }
        let words = resolver.entry_point(image)?.with(&stage.args);
        if words.is_empty() {
            let message = format!("image {image} has neither entry point nor command; add `command`");
            return Err(self.places.error(Some(&stage.name), "image", message).into());
        }
        Ok(words)
    }
}
