//! What changes: the link, and what is known of names beside what is held.

use std::time::{Duration, Instant};

use contract::ItemName;
use lapin::Channel;

use super::owed::Owed;
use super::told::Told;
use super::twins::Twins;
use super::{Link, Tag, Verdict};
use crate::names::{Known, Lost, Names, Print};

/// For so long after a connection begins a message may be one that was lost with one before. What comes later is new to us, whoever had it.
const SOON: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct State {
    pub(super) link: Option<Link>,
    /// How many links there were, and since when there is the last.
    links: u64,
    since: Instant,
    pub(super) twins: Twins,
    pub(super) owed: Owed,
    told: Told,
    pub(super) lost: Lost,
}

impl Default for State {
    fn default() -> Self {
        Self {
            link: None,
            links: 0,
            since: Instant::now(),
            twins: Twins::default(),
            owed: Owed::default(),
            told: Told::default(),
            lost: Lost::default(),
        }
    }
}

impl State {
    /// Messages come on this channel from now on.
    pub(super) fn linked(&mut self, channel: Channel) -> Link {
        self.links += 1;
        self.since = Instant::now();
        let link = Link { number: self.links, channel };
        self.link = Some(link.clone());
        link
    }

    /// The channel is over.
    pub(super) fn unlinked(&mut self) {
        self.link = None;
        self.twins.forget();
    }

    /// The name of a message that came, again or for the first time; what it says, if that is all that is known of it; and what the broker
    /// was told of it, if it may not have heard.
    pub(super) fn identify(
        &mut self,
        names: &Names,
        known: Known,
        link: u64,
        again: bool,
    ) -> (ItemName, Option<Print>, Option<Verdict>) {
        let is_soon = self.since.elapsed() < SOON;
        if !is_soon {
            self.lost.forget();
        }
        let again = again && is_soon;
        let (name, print) = match known {
            Known::By(name) => (name, None),
            Known::Says(print) => {
                let lost = if again { self.lost.claim(print) } else { None };
                (lost.unwrap_or_else(|| names.new_name()), Some(print))
            }
        };
        self.owed.came(&name);
        let unheard = if again { self.told.unheard(&name, link) } else { None };
        (name, print, unheard)
    }

    /// The broker was told this of one that was held.
    pub(super) fn told(&mut self, name: &ItemName, tag: Tag, verdict: Verdict) {
        self.told.add(name, verdict, tag.link);
        if let Some(print) = tag.print {
            self.lost.found(print, name);
        }
    }
}
