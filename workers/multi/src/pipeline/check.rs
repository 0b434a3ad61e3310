//! From what stands in a file to a pipeline that makes sense.

mod fields;
mod given;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use stage::StageName;

use self::fields::{OF_ADAPTER, OF_POD, OF_STAGE};
pub(crate) use self::given::mentions;
use super::error::suggest;
use super::order::order;
use super::places::Places;
use super::values::Name;
use super::wire::{At, WireOnError, WirePipeline, WireRetries, WireStage, WireWhen};
use super::{Adapter, OnError, Pipeline, PipelineError, Retries, RetryOn, Stage, When};

const MOST_STAGES: usize = 200;
const MOST_RETRIES: u32 = 1_000;
/// How long a stage may take until it is there, where nothing else is said.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) fn check(wire: WirePipeline, origin: &str) -> Result<(Pipeline, Places), PipelineError> {
    let mut checking = Checking { places: Places::new(origin) };
    let pipeline = checking.pipeline(wire)?;
    Ok((pipeline, checking.places))
}

/// What is found out about a text on the way.
struct Checking {
    places: Places,
}

impl Checking {
    fn pipeline(&mut self, wire: WirePipeline) -> Result<Pipeline, PipelineError> {
        let At { value: wires, .. } = &wire.stages;
        if wires.is_empty() || wires.len() > MOST_STAGES {
            let found = wires.len();
            return Err(self
                .places
                .wrong(&wire.stages, format!("a pipeline has 1 to {MOST_STAGES} stages, here are {found}")));
        }
        let ordered = self.ordered(wires)?;
        let mut stages = ordered.into_iter().map(|wire| self.stage(wire)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<StageName> = stages.iter().map(|stage| stage.name.clone()).collect();
        stages.iter().try_for_each(|stage| self.given(stage, &names))?;
        let publish = match wire.publish {
            Some(publish) => self.publish(publish, &stages)?,
            None => unneeded(&stages),
        };
        stages.iter_mut().for_each(|stage| stage.permanent_exit.sort_unstable());
        if let Some(image) = &wire.adapter.image {
            self.image(image)?;
        }
        let adapter = Adapter {
            image: wire.adapter.image.map(|image| image.value),
            env: self.variables(wire.adapter.env, false)?,
            container: self.manifest(None, "adapter.container", wire.adapter.container, &OF_ADAPTER)?,
        };
        let pod = self.manifest(None, "pod", wire.pod, &OF_POD)?;
        self.places.note(None, "name", Some(&wire.name));
        Ok(Pipeline { name: wire.name.value.0, stages, publish, pod, adapter })
    }

    /// The stages, each after those that it needs.
    fn ordered<'a>(&self, stages: &'a [At<WireStage>]) -> Result<Vec<&'a At<WireStage>>, PipelineError> {
        let mut numbers = BTreeMap::new();
        for (n, stage) in stages.iter().enumerate() {
            let name = &stage.value.name;
            if numbers.insert(&name.value, n).is_some() {
                let name_text = &name.value.0;
                return Err(self
                    .places
                    .wrong(name, format!("there is a stage {name_text} already; each has a name of its own")));
            }
        }
        let number = |need: &At<Name>| {
            numbers.get(&need.value).copied().ok_or_else(|| {
                let near = suggest(need.value.0.as_str(), numbers.keys().map(|name| name.0.as_str()));
                self.places.wrong(need, format!("no stage is called {}{near}", need.value.0))
            })
        };
        let mut needs: Vec<Vec<usize>> = Vec::with_capacity(stages.len());
        for stage in stages {
            let mut needed = Vec::with_capacity(stage.value.needs.len());
            for need in &stage.value.needs {
                let number = number(need)?;
                if needed.contains(&number) {
                    return Err(self.places.wrong(need, format!("{} is here twice; name it once", need.value.0)));
                }
                needed.push(number);
            }
            needs.push(needed);
        }
        let numbered = |n: usize| stages.get(n).map(|stage| &stage.value);
        match order(&needs) {
            Ok(order) => Ok(order.into_iter().filter_map(|n| stages.get(n)).collect()),
            Err(circle) => {
                let circle: Vec<&WireStage> = circle.into_iter().filter_map(numbered).collect();
                Err(self.circle(&circle))
            }
        }
    }

    fn circle(&self, circle: &[&WireStage]) -> PipelineError {
        let next = circle.iter().cycle().skip(1);
        let steps: Vec<String> = circle
            .iter()
            .zip(next)
            .map(|(one, next)| format!("{} needs {}", one.name.value.0, next.name.value.0))
            .collect();
        let first = circle.first().map(|stage| &stage.name.value);
        let closing = circle.last().and_then(|last| last.needs.iter().find(|need| Some(&need.value) == first));
        let place = closing.and_then(|need| need.place);
        let message = match steps.as_slice() {
            [_] => "a stage cannot need itself; take this away".to_owned(),
            steps => format!(
                "the stages wait for one another in a circle: {}; take one of these needs away",
                steps.join(", ")
            ),
        };
        self.places.wrong(&At { value: (), place }, message)
    }

    fn stage(&mut self, at: &At<WireStage>) -> Result<Stage, PipelineError> {
        let wire = at.value.clone();
        let name = wire.name.value.0;
        let stage = Some(&name);
        self.places.note(stage, "", Some(at));
        self.places.note(stage, "image", wire.image.as_ref());
        self.places.note(stage, "command", wire.command.as_ref());
        self.places.note(stage, "args", wire.args.as_ref());
        self.places.note(stage, "timeout", wire.timeout.as_ref());
        self.places.note(stage, "startTimeout", wire.start_timeout.as_ref());
        self.places.note(stage, "retries", wire.retries.as_ref());
        self.places.note(stage, "onError", wire.on_error.as_ref());
        self.places.note(stage, "when", wire.when.as_ref());
        self.places.note(stage, "name", Some(&at.value.name));
        self.places.note(stage, "permanentExit", wire.permanent_exit.as_ref());
        if let Some(image) = &wire.image {
            self.image(image)?;
        }
        if let Some(empty) = wire.command.as_ref().filter(|command| command.value.is_empty()) {
            return Err(self.places.wrong(empty, "a command has a program; leave `command` out for the image's own"));
        }
        let command = self.words(stage, "command", wire.command)?;
        if let Some(directory) = wire.working_dir.as_ref().filter(|dir| !dir.value.starts_with('/')) {
            return Err(self.places.wrong(directory, format!("{:?} is no absolute path", directory.value)));
        }
        let permanent_exit: Vec<u8> =
            wire.permanent_exit.iter().flat_map(|codes| &codes.value).map(|code| code.value.0).collect();
        Ok(Stage {
            image: wire.image.map(|image| image.value),
            args: self.words(stage, "args", wire.args)?,
            working_dir: wire.working_dir.map(|dir| PathBuf::from(dir.value)),
            env: self.variables(wire.env, true)?,
            needs: wire.needs.into_iter().map(|need| need.value.0).collect(),
            start_timeout: wire.start_timeout.map_or(START_TIMEOUT, |span| span.value.0),
            timeout: wire.timeout.map(|span| span.value.0),
            retries: self.retries(wire.retries, &permanent_exit)?,
            on_error: match wire.on_error.map(|at| at.value) {
                None | Some(WireOnError::Fail) => OnError::Fail,
                Some(WireOnError::Continue) => OnError::Continue,
            },
            when: match wire.when.map(|at| at.value) {
                None | Some(WireWhen::Succeeded) => When::Succeeded,
                Some(WireWhen::Always) => When::Always,
            },
            container: self.manifest(stage, "container", wire.container, &OF_STAGE)?,
            command,
            permanent_exit,
            name,
        })
    }

    fn retries(&self, wire: Option<At<WireRetries>>, permanent: &[u8]) -> Result<Retries, PipelineError> {
        let Some(At { value: wire, .. }) = wire else { return Ok(Retries::default()) };
        let defaults = Retries::default();
        if wire.limit.value > MOST_RETRIES {
            return Err(self.places.wrong(&wire.limit, format!("at most {MOST_RETRIES} retries")));
        }
        let backoff = wire.backoff.as_ref().map_or(defaults.backoff, |span| span.value.0);
        let max_backoff = wire.max_backoff.as_ref().map_or(defaults.max_backoff.max(backoff), |span| span.value.0);
        if let Some(span) = wire.max_backoff.as_ref().filter(|_| max_backoff < backoff) {
            let backoff = humantime::format_duration(backoff);
            return Err(self
                .places
                .wrong(span, format!("the longest pause is shorter than the first, {backoff}; raise it")));
        }
        if let Some(empty) = wire.on.as_ref().filter(|on| on.value.is_empty()) {
            return Err(self
                .places
                .wrong(empty, "nothing would be tried again; leave `on` out to try every failure again"));
        }
        for on in wire.on.iter().flat_map(|on| &on.value) {
            if let RetryOn::Code(code) = on.value.0
                && permanent.contains(&code)
            {
                return Err(self
                    .places
                    .wrong(on, format!("{code} is in permanentExit, too: either it is hopeless or tried again")));
            }
        }
        let on = wire.on.into_iter().flat_map(|on| on.value).map(|on| on.value.0).collect();
        Ok(Retries { limit: wire.limit.value, backoff, max_backoff, on })
    }

    fn publish(&self, publish: At<Vec<At<Name>>>, stages: &[Stage]) -> Result<Vec<StageName>, PipelineError> {
        if publish.value.is_empty() {
            return Err(self
                .places
                .wrong(&publish, "no stage is published; leave `publish` out for those that no other needs"));
        }
        let mut named = Vec::with_capacity(publish.value.len());
        for name in publish.value {
            let known = stages.iter().map(|stage| &stage.name);
            if !known.clone().any(|stage| *stage == name.value.0) {
                let near = suggest(name.value.0.as_str(), known.map(StageName::as_str));
                return Err(self.places.wrong(&name, format!("no stage is called {}{near}", name.value.0)));
            }
            if named.contains(&name.value.0) {
                return Err(self.places.wrong(&name, format!("{} is here twice; name it once", name.value.0)));
            }
            named.push(name.value.0);
        }
        Ok(named)
    }
}

fn unneeded(stages: &[Stage]) -> Vec<StageName> {
    let is_needed = |name: &StageName| stages.iter().any(|stage| stage.needs.contains(name));
    stages.iter().map(|stage| &stage.name).filter(|name| !is_needed(name)).cloned().collect()
}
