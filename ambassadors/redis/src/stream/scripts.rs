//! The steps of a stream's group that are more than one command, each of which the server takes whole or not at all.

use crate::server::{MAY, Step};

/// With what a step begins that tells of entries.
const ENTRIES: &str = include_str!("entries.lua");

/// All of them.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) survey: Step,
    pub(super) take: Step,
    pub(super) fetch: Step,
    pub(super) adopt: Step,
    pub(super) renew: Step,
    pub(super) remove: Step,
    pub(super) bury: Step,
    pub(super) leave: Step,
    pub(super) prune: Step,
    pub(super) check: Step,
    pub(super) peek: Step,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            survey: Step::new(include_str!("survey.lua")),
            take: Step::new(&[ENTRIES, include_str!("take.lua")].concat()),
            fetch: Step::new(&[ENTRIES, include_str!("fetch.lua")].concat()),
            adopt: Step::new(include_str!("adopt.lua")),
            renew: Step::new(include_str!("renew.lua")),
            remove: Step::new(include_str!("remove.lua")),
            bury: Step::new(include_str!("bury.lua")),
            leave: Step::new(include_str!("leave.lua")),
            prune: Step::new(include_str!("prune.lua")),
            check: Step::new(&[MAY, include_str!("check.lua")].concat()),
            peek: Step::new(&[ENTRIES, include_str!("peek.lua")].concat()),
        }
    }
}
