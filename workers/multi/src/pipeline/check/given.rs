//! Variables in a command's words that its stage will never be given: nobody would replace them, and the command would get the words as they stand.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use stage::StageName;
use stage::run::expand;

use super::super::{PipelineError, Stage};
use super::Checking;

impl Checking {
    /// Looks for variables of stages that it does not need, and for an input file where there are several inputs.
    pub(super) fn given(&self, stage: &Stage, all: &[StageName]) -> Result<(), PipelineError> {
        let others = all.iter().filter(|other| !stage.needs.contains(other));
        let mut missing: BTreeMap<String, Option<&StageName>> =
            others.map(|other| (other.variable(), Some(other))).collect();
        if stage.needs.len() > 1 {
            missing.insert("INPUT_FILE".into(), None);
        }
        for (field, words) in [("command", &stage.command), ("args", &stage.args)] {
            for (n, word) in words.iter().enumerate() {
                let met = missing.iter().find(|(name, _)| mentions(word, name));
                let Some((name, other)) = met else { continue };
                let message = match other {
                    Some(other) => {
                        format!(
                            "stage {} does not need {other}, so there is no $({name}); add {other} to its `needs`",
                            stage.name
                        )
                    }
                    None => format!(
                        "stage {} needs several, so there is no $({name}); take $(INPUT_DIR)/STAGE/FILE",
                        stage.name
                    ),
                };
                return Err(self.places.error(Some(&stage.name), &format!("{field}[{n}]"), message));
            }
        }
        Ok(())
    }
}

/// Whether the variable would be replaced in the word, by the rules of those who replace it. No word holds a NUL by itself.
pub(crate) fn mentions(word: &str, variable: &str) -> bool {
    let marked = [(variable.to_owned(), OsString::from("\0"))].into();
    expand(OsStr::new(word), &marked).to_string_lossy().contains('\0')
}
