//! Where to cut a part of a key space of which only a page was seen.
//!
//! Keys are taken as paths through a tree of characters. What was seen tells at which places the tree branches, and into which
//! characters; a cut is made at the highest place where it may branch behind the last key seen.

use std::collections::HashMap;

/// How far behind the characters that were seen others are looked for, in their own number.
const STRIDE: u32 = 16;
/// Branches that are remembered; more are not needed to cut well.
const REMEMBERED: usize = 65_536;

/// The first and the last key of a page.
#[derive(Clone, Debug)]
pub(super) struct Span {
    last: String,
    /// Bytes that both begin with.
    common: usize,
}

/// Where keys were seen to differ, and the least and greatest character that they had there.
#[derive(Debug, Default)]
pub(super) struct Branches(HashMap<String, (char, char)>);

/// A place to cut at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The last key of the lower part, if there is such a key.
    pub(super) at: String,
    /// How many bytes the keys on both sides have in common: the fewer, the larger the part.
    pub(super) level: usize,
    /// How many characters there may be behind the last key at that level.
    pub(super) width: u32,
}

impl Span {
    pub(super) fn new(first: &str, last: &str) -> Self {
        Self { last: last.to_owned(), common: common(first, last) }
    }

    pub(super) fn last(&self) -> &str {
        &self.last
    }
}

impl Branches {
    /// Both keys are there.
    pub(super) fn learn(&mut self, a: &str, b: &str) {
        let level = common(a, b);
        let (Some(shared), Some(x), Some(y)) = (a.get(..level), char_at(a, level), char_at(b, level)) else { return };
        let (least, greatest) = (x.min(y), x.max(y));
        if let Some(seen) = self.0.get_mut(shared) {
            *seen = (seen.0.min(least), seen.1.max(greatest));
        } else if self.0.len() < REMEMBERED {
            self.0.insert(shared.to_owned(), (least, greatest));
        }
    }
}

/// Where to cut what lies behind `span`, up to `until`, of the keys that begin with `prefix` bytes of it.
pub(super) fn cut(prefix: usize, span: &Span, until: Option<&str>, branches: &Branches) -> Option<Cut> {
    let last = span.last.as_str();
    let mut top = prefix;
    // Behind the last key, up to the end of the part, all keys have this in common.
    let mut below = None;
    if let Some(until) = until {
        top = common(last, until).max(prefix);
        let (here, there) = (char_at(last, top)?, char_at(until, top));
        if there
            .is_some_and(|there| after(here).is_none_or(|next| next >= there) && until.len() == top + there.len_utf8())
        {
            top += here.len_utf8();
        } else {
            below = there;
        }
    }
    let levels: Vec<usize> =
        last.char_indices().map(|(at, _)| at).filter(|at| (top..=span.common).contains(at)).collect();
    let branch = levels.iter().position(|at| last.get(..*at).is_some_and(|shared| branches.0.contains_key(shared)));
    let branch = branch.unwrap_or(levels.len().saturating_sub(1));
    // Whether the tree branches above what is known is found out by halves.
    if branch > 0 {
        let level = *levels.get((branch - 1) / 2)?;
        return found(last, level, after(char_at(last, level)?)?, 1, until);
    }
    levels.iter().find_map(|level| {
        let (seen, here) = (branches.0.get(last.get(..*level)?)?, char_at(last, *level)?);
        let bound = below.filter(|_| *level == top);
        let behind = behind(here, *seen, bound);
        let middle = behind.get(behind.len().saturating_sub(1) / 2)?;
        found(last, *level, *middle, u32::try_from(behind.len()).unwrap_or(u32::MAX), until)
    })
}

/// The characters that may follow after `here`, where `seen` were, and none from `bound` on.
fn behind(here: char, (least, greatest): (char, char), bound: Option<char>) -> Vec<char> {
    const CLASSES: [&[std::ops::RangeInclusive<char>]; 7] = [
        &['0'..='9'],
        &['0'..='9', 'a'..='f'],
        &['0'..='9', 'A'..='F'],
        &['a'..='z'],
        &['A'..='Z'],
        &['0'..='9', 'A'..='Z', 'a'..='z'],
        &['!'..='~'],
    ];
    let all = [here, least, greatest];
    let class = CLASSES.iter().find(|class| all.iter().all(|c| class.iter().any(|range| range.contains(c))));
    let fits = |c: &char| *c > here && bound.is_none_or(|bound| *c < bound);
    let known: Vec<char> =
        class.map(|class| class.iter().cloned().flatten().filter(fits).collect()).unwrap_or_default();
    if !known.is_empty() {
        return known;
    }
    // Of no alphabet that is known: half-way to where the part or what was seen ends, or else far behind what was seen.
    let (from, seen): (u32, u32) = (here.into(), u32::from(here).abs_diff(least.into()));
    let to = bound.or(Some(greatest)).filter(|to| *to > here).map(u32::from);
    let guess = to.map_or(from.saturating_add(STRIDE * seen + 1), |to| u32::midpoint(from, to));
    let next = after(here).filter(fits);
    char::from_u32(guess).filter(fits).or(next).into_iter().collect()
}

fn found(last: &str, level: usize, next: char, width: u32, until: Option<&str>) -> Option<Cut> {
    let mut at = last.get(..level)?.to_owned();
    at.push(next);
    let fits = at.as_str() > last && until.is_none_or(|until| at.as_str() < until);
    fits.then_some(Cut { at, level, width })
}

/// Bytes that both begin with, up to the end of a character.
fn common(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(x, y)| x == y).map(|(x, _)| x.len_utf8()).sum()
}

fn char_at(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

/// The next character, if there is one.
fn after(c: char) -> Option<char> {
    (c..=char::MAX).nth(1)
}
