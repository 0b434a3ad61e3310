//! The steps of a stream's group that are more than one command, each of which the server takes whole or not at all.

use redis::Script;

/// All of them.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) survey: Script,
    pub(super) fetch: Script,
    pub(super) adopt: Script,
    pub(super) renew: Script,
    pub(super) settle: Script,
    pub(super) leave: Script,
    pub(super) check: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            survey: Script::new(include_str!("survey.lua")),
            fetch: Script::new(include_str!("fetch.lua")),
            adopt: Script::new(include_str!("adopt.lua")),
            renew: Script::new(include_str!("renew.lua")),
            settle: Script::new(include_str!("settle.lua")),
            leave: Script::new(include_str!("leave.lua")),
            check: Script::new(include_str!("check.lua")),
        }
    }
}
