//! Where things lie in layout B, whose stages are told so by their manifest, before there is an item.
//!
//! `fetch` leaves the item here, `commit` publishes what the stages have written. Each stage's output directory is a volume of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stage::{Root, StageName};
use worker_kit::Relay;

use super::Stage;

/// The places of an item that has been fetched, and of what its stages write.
#[derive(Clone, Debug)]
pub(crate) struct Fixed(Root);

impl Fixed {
    /// Below `root`, the same path in every container.
    pub(crate) fn new(root: Root) -> Self {
        Self(root)
    }

    /// The item and its inputs, at paths that hold before there is one.
    pub(crate) fn relay(&self) -> Relay {
        Relay::new(self.0.adapter().path())
    }

    /// `OUTPUT_DIR` of a stage.
    pub(crate) fn output(&self, stage: &StageName) -> PathBuf {
        self.0.stage(stage).out()
    }

    /// `INPUT_DIR` of a stage that needs several: below it the output of each is mounted by its name.
    pub(crate) fn needed(&self, stage: &StageName) -> PathBuf {
        self.0.stage(stage).path().join("needs")
    }

    /// The variables that a stage is given.
    pub(crate) fn variables(&self, stage: &Stage) -> BTreeMap<String, String> {
        let relay = self.relay();
        let text = |path: &Path| path.display().to_string();
        let needs = stage.needs.iter().map(|need| (need.variable(), text(&self.output(need))));
        let mut variables: BTreeMap<String, String> = needs.collect();
        let mut tell = |name: &str, value: String| variables.insert(name.to_owned(), value);
        match stage.needs.as_slice() {
            [] => {
                tell("INPUT_FILE", text(&relay.input_file()));
                tell("INPUT_DIR", text(&relay.input_dir()));
            }
            [one] => _ = tell("INPUT_DIR", text(&self.output(one))),
            _ => _ = tell("INPUT_DIR", text(&self.needed(&stage.name))),
        }
        tell("ITEM_INPUT_FILE", text(&relay.input_file()));
        tell("ITEM_INPUT_DIR", text(&relay.input_dir()));
        tell("OUTPUT_DIR", text(&self.output(&stage.name)));
        tell("TMPDIR", "/tmp".to_owned());
        tell("WORK_ITEM_FILE", text(&relay.item_file()));
        tell("STAGE_ATTEMPT", "1".to_owned());
        variables
    }
}
