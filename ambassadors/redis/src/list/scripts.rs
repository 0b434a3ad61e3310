//! The steps of a list, each of which the server takes whole or not at all.

use crate::server::{MAY, Step};

/// All of them.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) take: Step,
    pub(super) fetch: Step,
    pub(super) adopt: Step,
    pub(super) renew: Step,
    pub(super) settle: Step,
    pub(super) bury: Step,
    pub(super) leave: Step,
    pub(super) check: Step,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            take: Step::new(include_str!("take.lua")),
            fetch: Step::new(include_str!("fetch.lua")),
            adopt: Step::new(include_str!("adopt.lua")),
            renew: Step::new(include_str!("renew.lua")),
            settle: Step::new(include_str!("settle.lua")),
            bury: Step::new(include_str!("bury.lua")),
            leave: Step::new(include_str!("leave.lua")),
            check: Step::new(&[MAY, include_str!("check.lua")].concat()),
        }
    }
}
