//! Which parts of a key space are read, how many at once, and into what they are cut. Pure: no request is made here.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use storage::Error;

use super::cut::{Branches, Span, cut};
use super::pace::Pace;
use crate::{ListPage, Listed};

/// How often a part may be cut between two of its pages.
const CUTS_PER_PAGE: u8 = 3;
/// How many requests more than one after another would take may be spent: this part of them, and so many.
const EXTRA_SHARE: u64 = 4;
const EXTRA: u64 = 4;
/// A request from a key on that costs so much more than one from where a page ended is a dear one: then a part is cut only after
/// it has shown pages enough that the price is a small share of them.
const DEAR: f64 = 1.5;
const PAGES_FOR_THE_PRICE: f64 = 4.0;
/// Bytes of the longest key there can be.
const LONGEST_KEY: usize = 1_024;

/// What is to be asked for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    id: u64,
    /// Of the [`Pace`] when it was asked for, if with it there were as many requests as there may be.
    era: Option<u32>,
    /// Only keys after this one.
    pub(super) after: Option<String>,
    /// Where the page before ended.
    pub(super) token: Option<String>,
}

/// A part that is being read: what follows in it is after `after`, up to `until` and with it.
#[derive(Debug)]
struct Reading {
    until: Option<String>,
    /// Its last page, if that was not its end.
    span: Option<Span>,
    cuts: u8,
    /// Pages since it was cut last.
    pages: u64,
    /// The last key of the part it was cut from, as far as that was read then.
    neighbour: Option<String>,
}

/// The key space of one prefix, in parts that touch and do not overlap.
#[derive(Debug)]
pub(super) struct Plan {
    /// In bytes.
    prefix: usize,
    /// The most requests at once that may ever be.
    parallelism: usize,
    /// How many there may be now.
    pace: Pace,
    waiting: VecDeque<Part>,
    asked: usize,
    reading: HashMap<u64, Reading>,
    branches: Branches,
    /// Whether keys come in their order, as far as was seen.
    ordered: bool,
    ids: u64,
    answers: u64,
    /// Objects in those answers, and in the largest.
    objects: u64,
    largest: u64,
    /// How fast a whole page came, asked for from a key on, and from where another ended.
    from_key: Option<Duration>,
    from_page: Option<Duration>,
}

impl Plan {
    pub(super) fn new(prefix: &str, after: Option<String>, until: Option<String>, parallelism: usize) -> Self {
        let mut plan = Self {
            prefix: prefix.len(),
            parallelism: parallelism.max(1),
            pace: Pace::new(parallelism),
            waiting: VecDeque::new(),
            asked: 0,
            reading: HashMap::new(),
            branches: Branches::default(),
            ordered: true,
            ids: 0,
            answers: 0,
            objects: 0,
            largest: 1,
            from_key: None,
            from_page: None,
        };
        plan.begin(after, until, None);
        plan
    }

    /// What to ask for now; `None` while nothing may be or can be. What it gives must be [`answered`](Self::answered).
    pub(super) fn next(&mut self) -> Option<Part> {
        if self.asked >= self.pace.level() {
            return None;
        }
        if self.waiting.is_empty() {
            self.cut();
        }
        let mut part = self.waiting.pop_front()?;
        self.asked += 1;
        part.era = (self.asked == self.pace.level()).then_some(self.pace.era());
        Some(part)
    }

    /// Takes the answer to a part, which came after `took`: which of its objects nobody else will show.
    pub(super) fn answered(&mut self, part: Part, page: ListPage, took: Duration) -> Result<Vec<Listed>, Error> {
        let at_once = self.asked;
        self.asked = at_once.saturating_sub(1);
        let Some(mut reading) = self.reading.remove(&part.id) else { return Ok(Vec::new()) };
        let ListPage { mut objects, next, .. } = page;
        self.check_order(&part, &objects)?;
        self.answers += 1;
        self.largest = self.largest.max(objects.len() as u64);
        // The first answer of all waits for a connection and credentials. From a key on even a page that is not whole tells the price.
        let whole = objects.len() as u64 == self.largest;
        if self.answers > 1 && (whole || part.token.is_none()) {
            let fastest = if part.token.is_some() { &mut self.from_page } else { &mut self.from_key };
            *fastest = Some(fastest.map_or(took, |fastest| fastest.min(took)));
        }
        if self.answers > 1 && whole {
            self.pace.answered(part.era, at_once, took);
        }
        reading.pages += 1;
        let mut over = next.is_none();
        if let Some(until) = &reading.until {
            let beyond = objects.last().is_some_and(|last| last.key >= *until);
            objects.retain(|object| object.key <= *until);
            // Without order there may be more that belongs here.
            over |= beyond && self.ordered;
        }
        if let (Some(first), Some(last)) = (objects.first(), objects.last()) {
            let before = reading.span.as_ref().map(Span::last).or(reading.neighbour.as_deref());
            if let Some(before) = before {
                self.branches.learn(before, &first.key);
            }
            self.branches.learn(&first.key, &last.key);
            reading.span = Some(Span::new(&first.key, &last.key));
        }
        self.objects += objects.len() as u64;
        if !over {
            reading.cuts = 0;
            let after = objects.last().map(|last| last.key.clone()).or(part.after);
            self.waiting.push_back(Part { id: part.id, era: None, after, token: next });
            self.reading.insert(part.id, reading);
        }
        Ok(objects)
    }

    /// A store that does not list in the order of keys can only be followed page by page.
    fn check_order(&mut self, part: &Part, objects: &[Listed]) -> Result<(), Error> {
        let first_is_after = match (&part.after, objects.first()) {
            (Some(after), Some(first)) => first.key > *after,
            (None, _) | (_, None) => true,
        };
        if first_is_after && objects.is_sorted_by(|a, b| a.key < b.key) {
            return Ok(());
        }
        if self.ids == 1 {
            // Nothing was cut: it need not be.
            self.ordered = false;
            return Ok(());
        }
        Err(Error::Unsupported(
            "this store does not list in the order of keys, so that only one request after another sees everything"
                .to_owned(),
        ))
    }

    /// Cuts the part that promises most, if one does.
    fn cut(&mut self) {
        let needed = self.objects / self.largest;
        if self.answers > needed + needed / EXTRA_SHARE + EXTRA || !self.ordered || self.parallelism == 1 {
            return;
        }
        let price = match (self.from_key, self.from_page) {
            (Some(from_key), Some(from_page)) => from_key.as_secs_f64() / from_page.as_secs_f64(),
            // Only a cut tells.
            _ => 1.0,
        };
        let pages = if price > DEAR { PAGES_FOR_THE_PRICE * price } else { 0.0 };
        let best = self
            .reading
            .iter()
            .filter(|(_, reading)| reading.pages as f64 >= pages)
            .filter(|(_, reading)| reading.cuts < CUTS_PER_PAGE)
            .filter_map(|(id, reading)| {
                let span = reading.span.as_ref()?;
                Some((cut(self.prefix, span, reading.until.as_deref(), &self.branches)?, *id))
            })
            .filter(|(cut, _)| cut.at.len() <= LONGEST_KEY)
            .min_by_key(|(cut, id)| (cut.level, std::cmp::Reverse(cut.width), *id));
        let Some((cut, id)) = best else { return };
        let Some(lower) = self.reading.get_mut(&id) else { return };
        lower.cuts += 1;
        lower.pages = 0;
        let until = lower.until.replace(cut.at.clone());
        let neighbour = lower.span.as_ref().map(|span| span.last().to_owned());
        self.begin(Some(cut.at), until, neighbour);
    }

    fn begin(&mut self, after: Option<String>, until: Option<String>, neighbour: Option<String>) {
        let id = self.ids;
        self.ids += 1;
        self.reading.insert(id, Reading { until, span: None, cuts: 0, pages: 0, neighbour });
        self.waiting.push_back(Part { id, era: None, after, token: None });
    }
}

#[cfg(test)]
mod tests;
