//! What `--on-settle` and `--dead-letter` mean.

use ambassador_kit::source::Outcome;
use clap::Args;

/// The value of the tag of objects that failed for good.
pub(super) const FAILED: &str = "failed";

/// What becomes of objects that a manager is done with.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "When an item is done")]
pub(crate) struct SettleArgs {
    /// `none`: nothing, and a manager is told so. `delete`; `tag:K=V`; or `move:PREFIX` within the bucket, with what follows
    /// --prefix kept.
    #[arg(long, value_parser = parse_on_settle, value_name = "ACTION", default_value = "none")]
    pub(crate) on_settle: OnSettle,
    /// Where objects go that can never be done [default: `move:PREFIX` has PREFIX/failed/; `tag:K=V` tags them K=failed; `delete`
    /// leaves them where they are, withheld].
    #[arg(long, value_name = "PREFIX")]
    pub(crate) dead_letter: Option<String>,
}

/// What is done with an object whose item is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnSettle {
    /// Nothing; settling is not offered.
    None,
    /// It is deleted.
    Delete,
    /// It is given this tag with this value, and listed no more.
    Tag(String, String),
    /// It is moved to this prefix, which ends with a slash.
    Move(String),
}

/// Why the flags make no sense together.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// What is moved would be listed again.
    #[error(
        "everything that is listed begins with {to:?} (--prefix {prefix:?}), so what is moved there would be listed again: choose another"
    )]
    IntoItself {
        /// Where to.
        to: String,
        /// `--prefix`.
        prefix: String,
    },
    /// `--dead-letter` without a way to settle.
    #[error("--dead-letter does nothing without --on-settle delete, tag:K=V or move:PREFIX")]
    DeadLetterAlone,
    /// Whether an object has the tag is asked once, and has to be remembered.
    #[error("--on-settle tag:K=V needs --order age: no listing shows tags, so what has them must be remembered")]
    TagsByKey,
}

/// What is done with objects, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) on_settle: OnSettle,
    dead_letter: Option<String>,
    /// What keys lose when they are moved.
    prefix: String,
}

/// What to do with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Delete,
    /// To this key.
    Move(String),
    Tag(String, String),
    /// Nothing: it failed, stays, and is withheld.
    Keep,
}

impl SettleArgs {
    /// What is to be done, if that makes sense for what is listed.
    ///
    /// # Errors
    /// [`SettleError`], naming the flag.
    pub(crate) fn policy(self, prefix: &str) -> Result<Policy, SettleError> {
        let dead_letter = match (self.dead_letter.filter(|to| !to.is_empty()), &self.on_settle) {
            (Some(_), OnSettle::None) => return Err(SettleError::DeadLetterAlone),
            (Some(to), _) => Some(slashed(&to)),
            (None, OnSettle::Move(to)) => Some(format!("{to}{FAILED}/")),
            (None, _) => None,
        };
        let policy = Policy { on_settle: self.on_settle, dead_letter, prefix: prefix.to_owned() };
        match policy.destinations().into_iter().find(|to| prefix.starts_with(to.as_str())) {
            Some(to) => Err(SettleError::IntoItself { to, prefix: prefix.to_owned() }),
            None => Ok(policy),
        }
    }
}

impl Policy {
    /// What keys of settled objects begin with.
    pub(crate) fn destinations(&self) -> Vec<String> {
        let moved = if let OnSettle::Move(to) = &self.on_settle { Some(to) } else { None };
        moved.into_iter().chain(&self.dead_letter).cloned().collect()
    }

    /// Which of [`destinations`](Self::destinations) a key begins with, the narrowest of them.
    pub(super) fn destination(&self, key: &str) -> String {
        let above = self.destinations().into_iter().filter(|to| key.starts_with(to));
        above.max_by_key(String::len).unwrap_or_default()
    }

    /// `None` where settling is not offered.
    pub(super) fn action(&self, key: &str, outcome: &Outcome) -> Option<Action> {
        let path = key.strip_prefix(&self.prefix).unwrap_or(key);
        Some(match (outcome, &self.on_settle, &self.dead_letter) {
            (_, OnSettle::None, _) => return None,
            (Outcome::Failed { .. }, _, Some(to)) | (Outcome::Done, OnSettle::Move(to), _) => {
                Action::Move(format!("{to}{path}"))
            }
            (Outcome::Done, OnSettle::Delete, _) => Action::Delete,
            (Outcome::Done, OnSettle::Tag(tag, value), _) => Action::Tag(tag.clone(), value.clone()),
            (Outcome::Failed { .. }, OnSettle::Tag(tag, _), None) => Action::Tag(tag.clone(), FAILED.to_owned()),
            (Outcome::Failed { .. }, OnSettle::Delete | OnSettle::Move(_), None) => Action::Keep,
        })
    }
}

fn parse_on_settle(text: &str) -> Result<OnSettle, String> {
    match text.split_once(':') {
        None if text == "none" => Ok(OnSettle::None),
        None if text == "delete" => Ok(OnSettle::Delete),
        Some(("move", to)) if !to.is_empty() => Ok(OnSettle::Move(slashed(to))),
        Some(("tag", pair)) => match pair.split_once('=') {
            Some((tag, value)) if !tag.is_empty() && !value.is_empty() && value != FAILED => {
                Ok(OnSettle::Tag(tag.to_owned(), value.to_owned()))
            }
            Some((_, FAILED)) => {
                Err("the value `failed` is what objects get that can never be done: choose another".into())
            }
            _ => Err("write tag:K=V, such as tag:longshore=done".into()),
        },
        _ => Err("give `none`, `delete`, `tag:K=V` or `move:PREFIX`".into()),
    }
}

/// As a directory is written, for whom `done` is meant as one.
fn slashed(prefix: &str) -> String {
    if prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on_settle: &str, dead_letter: Option<&str>, prefix: &str) -> Result<Policy, SettleError> {
        let on_settle = parse_on_settle(on_settle).expect("an action");
        SettleArgs { on_settle, dead_letter: dead_letter.map(str::to_owned) }.policy(prefix)
    }

    #[test]
    fn actions_are_read_and_the_wrong_ones_say_what_to_write() {
        assert_eq!(parse_on_settle("tag:longshore=done"), Ok(OnSettle::Tag("longshore".into(), "done".into())));
        assert_eq!(parse_on_settle("tag:a=b=c"), Ok(OnSettle::Tag("a".into(), "b=c".into())));
        assert_eq!(parse_on_settle("move:done"), Ok(OnSettle::Move("done/".into())));
        for (wrong, says) in [
            ("shred", "move:PREFIX"),
            ("move:", "move:PREFIX"),
            ("tag:done", "tag:longshore=done"),
            ("tag:=x", "tag:longshore=done"),
            ("tag:a=failed", "choose another"),
        ] {
            assert!(parse_on_settle(wrong).is_err_and(|error| error.contains(says)), "{wrong}");
        }
    }

    #[test]
    fn what_follows_the_prefix_is_kept_and_failures_go_apart() {
        let failed = Outcome::Failed { reason: None };
        let act = |policy: &Policy, outcome: &Outcome| policy.action("in/x/a.mp4", outcome);
        let moves = policy("move:done", None, "in/").expect("a policy");
        assert_eq!(act(&moves, &Outcome::Done), Some(Action::Move("done/x/a.mp4".into())));
        assert_eq!(act(&moves, &failed), Some(Action::Move("done/failed/x/a.mp4".into())));
        assert_eq!(moves.destinations(), ["done/", "done/failed/"]);
        let tags = policy("tag:k=v", None, "in/").expect("a policy");
        assert_eq!(act(&tags, &failed), Some(Action::Tag("k".into(), "failed".into())));
        let deletes = policy("delete", None, "in/").expect("a policy");
        assert_eq!((act(&deletes, &Outcome::Done), act(&deletes, &failed)), (Some(Action::Delete), Some(Action::Keep)));
        let letters = policy("delete", Some("dead"), "in/").expect("a policy");
        assert_eq!(act(&letters, &failed), Some(Action::Move("dead/x/a.mp4".into())));
        assert_eq!(act(&policy("none", None, "in/").expect("a policy"), &failed), None);
    }

    #[test]
    fn what_would_be_listed_again_is_refused() {
        for (on_settle, dead_letter, prefix) in
            [("move:in", None, "in/"), ("move:in", None, "in/x/"), ("delete", Some("in/"), "in/")]
        {
            assert!(
                matches!(policy(on_settle, dead_letter, prefix), Err(SettleError::IntoItself { .. })),
                "{on_settle}"
            );
        }
        assert!(policy("move:in/done", None, "in/").is_ok());
        assert!(matches!(policy("none", Some("x"), ""), Err(SettleError::DeadLetterAlone)));
    }
}
