//! Entries in the order of their sequence numbers, packed: the texts of a segment's entries lie in one buffer, so that a
//! million of them cost no million allocations; and what their keys have in common up to the last slash lies there once, since
//! what comes together mostly lies in one directory.

use std::collections::BTreeMap;

/// Sequence numbers per segment. Removing moves at most this many slots.
const SEGMENT: u64 = 256;
/// How many of a segment's last directories are looked through for one that is there already.
const RECENT: usize = 8;

/// A sorted store of `(sequence number, name, key, payload)`.
#[derive(Debug)]
pub(super) struct Shelf<P> {
    segments: BTreeMap<u64, Segment<P>>,
    len: usize,
}

#[derive(Debug)]
struct Segment<P> {
    /// Directories, and of each slot its name and the rest of its key, in no order.
    text: Vec<u8>,
    /// Bytes of `text` that belong to no slot any more; directories are not counted.
    waste: usize,
    /// How many slots have gone since the text was packed; what they leave of directories and slots is not in `waste`.
    gone: usize,
    /// Where in `text` the directories lie; no more than there are slots.
    directories: Vec<Span>,
    /// By offset.
    slots: Vec<Slot<P>>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    at: u32,
    len: u32,
}

#[derive(Debug)]
struct Slot<P> {
    at: u32,
    name_len: u16,
    /// Of what follows the directory in the key.
    rest_len: u16,
    /// Which of the segment's directories.
    directory: u8,
    /// Sequence number less that of the segment.
    offset: u8,
    marks: Marks,
    payload: P,
}

/// A key as it is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptKey<'a> {
    /// Up to the last slash and with it; nothing where there is none.
    directory: &'a [u8],
    rest: &'a [u8],
}

impl<'a> KeptKey<'a> {
    fn new(key: &'a [u8]) -> Self {
        let slash = key.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        // However long a key is, its rest is not.
        let (directory, rest) = key.split_at(slash.max(key.len().saturating_sub(usize::from(u16::MAX))));
        Self { directory, rest }
    }

    pub(super) fn is(&self, key: &[u8]) -> bool {
        key.len() == self.directory.len() + self.rest.len()
            && key.ends_with(self.rest)
            && key.starts_with(self.directory)
    }

    pub(super) fn to_box(self) -> Box<[u8]> {
        [self.directory, self.rest].concat().into()
    }
}

/// Of sweeps, counted round: what none has seen for exactly 65,536 of them is taken for seen by one.
pub(super) type SweepNumber = u16;

/// What is noted with an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    /// The sweep that saw it last.
    pub(super) seen: SweepNumber,
    /// When it came, in seconds of the catalog's life.
    pub(super) since: u32,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Shelved<'a, P> {
    pub(super) seq: u64,
    pub(super) name: &'a [u8],
    pub(super) key: KeptKey<'a>,
    pub(super) marks: Marks,
    pub(super) payload: &'a P,
}

impl<P> Default for Shelf<P> {
    fn default() -> Self {
        Self { segments: BTreeMap::new(), len: 0 }
    }
}

impl<P> Shelf<P> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry behind all others; `seq` was never used before.
    pub(super) fn push(&mut self, seq: u64, name: &str, key: &[u8], marks: Marks, payload: P) {
        self.segments.entry(seq / SEGMENT).or_default().push(offset(seq), name, key, marks, payload);
        self.len += 1;
    }

    pub(super) fn get(&self, seq: u64) -> Option<Shelved<'_, P>> {
        let segment = self.segments.get(&(seq / SEGMENT))?;
        let slot = segment.slots.get(segment.find(seq)?)?;
        Some(segment.shelved(seq / SEGMENT, slot))
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<(&mut P, &mut Marks)> {
        let segment = self.segments.get_mut(&(seq / SEGMENT))?;
        let at = segment.find(seq)?;
        segment.slots.get_mut(at).map(|slot| (&mut slot.payload, &mut slot.marks))
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<P> {
        let segment = self.segments.get_mut(&(seq / SEGMENT))?;
        let at = segment.find(seq)?;
        let payload = segment.remove(at);
        if segment.slots.is_empty() {
            self.segments.remove(&(seq / SEGMENT));
        }
        self.len -= 1;
        Some(payload)
    }

    /// The entries from a sequence number on.
    pub(super) fn from(&self, seq: u64) -> impl Iterator<Item = Shelved<'_, P>> {
        self.segments.range(seq / SEGMENT..).flat_map(move |(number, segment)| {
            let first =
                if *number == seq / SEGMENT { segment.slots.partition_point(|s| s.offset < offset(seq)) } else { 0 };
            segment.slots.iter().skip(first).map(move |slot| segment.shelved(*number, slot))
        })
    }

    /// How many entries there are from a sequence number on.
    pub(super) fn count_from(&self, seq: u64) -> usize {
        let mut segments = self.segments.range(seq / SEGMENT..);
        let head = segments.next().map_or(0, |(number, segment)| {
            let before =
                if *number == seq / SEGMENT { segment.slots.partition_point(|s| s.offset < offset(seq)) } else { 0 };
            segment.slots.len() - before
        });
        head + segments.map(|(_, segment)| segment.slots.len()).sum::<usize>()
    }
}

fn offset(seq: u64) -> u8 {
    u8::try_from(seq % SEGMENT).expect("a segment has 256 sequence numbers")
}

impl<P> Default for Segment<P> {
    fn default() -> Self {
        Self { text: Vec::new(), waste: 0, gone: 0, directories: Vec::new(), slots: Vec::new() }
    }
}

impl<P> Segment<P> {
    fn push(&mut self, offset: u8, name: &str, key: &[u8], marks: Marks, payload: P) {
        let key = KeptKey::new(key);
        let directory = intern(&mut self.text, &mut self.directories, key.directory);
        let at = span(&self.text, 0).at;
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(key.rest);
        self.slots.push(Slot {
            at,
            name_len: u16::try_from(name.len()).expect("an item name is shorter than 64 KiB"),
            rest_len: u16::try_from(key.rest.len()).expect("cut to be so"),
            directory,
            offset,
            marks,
            payload,
        });
        if u64::from(offset) == SEGMENT - 1 {
            self.text.shrink_to_fit();
            self.directories.shrink_to_fit();
            self.slots.shrink_to_fit();
        }
    }

    fn find(&self, seq: u64) -> Option<usize> {
        let offset = offset(seq);
        // In a segment that nothing has left yet, every slot stands at its offset: one look instead of eight.
        if self.slots.get(usize::from(offset)).is_some_and(|slot| slot.offset == offset) {
            return Some(offset.into());
        }
        self.slots.binary_search_by_key(&offset, |slot| slot.offset).ok()
    }

    fn remove(&mut self, at: usize) -> P {
        let slot = self.slots.remove(at);
        self.waste += slot.text_len();
        self.gone += 1;
        if self.waste > self.text.len() / 2 || self.gone > self.slots.len() {
            self.repack();
        }
        slot.payload
    }

    fn repack(&mut self) {
        let mut text = Vec::with_capacity(self.text.len() - self.waste);
        let mut directories = Vec::new();
        for slot in &mut self.slots {
            let directory = directory(&self.text, &self.directories, slot.directory);
            slot.directory = intern(&mut text, &mut directories, directory);
            let at = span(&text, 0).at;
            text.extend_from_slice(part(&self.text, slot.at as usize, slot.text_len()));
            slot.at = at;
        }
        self.text = text;
        self.directories = directories;
        (self.waste, self.gone) = (0, 0);
        self.slots.shrink_to_fit();
    }

    fn shelved<'a>(&'a self, number: u64, slot: &'a Slot<P>) -> Shelved<'a, P> {
        let (at, name_len) = (slot.at as usize, usize::from(slot.name_len));
        Shelved {
            seq: number * SEGMENT + u64::from(slot.offset),
            name: part(&self.text, at, name_len),
            key: KeptKey {
                directory: directory(&self.text, &self.directories, slot.directory),
                rest: part(&self.text, at + name_len, slot.rest_len.into()),
            },
            marks: slot.marks,
            payload: &slot.payload,
        }
    }
}

/// Which directory this is, added if it is not among the last.
fn intern(text: &mut Vec<u8>, directories: &mut Vec<Span>, wanted: &[u8]) -> u8 {
    let is = |span: &Span| part(text, span.at as usize, span.len as usize) == wanted;
    let recent = directories.iter().enumerate().rev().take(RECENT);
    let found = recent.into_iter().find(|(_, span)| is(span)).map(|(number, _)| number);
    let number = found.unwrap_or_else(|| {
        directories.push(span(text, wanted.len()));
        text.extend_from_slice(wanted);
        directories.len() - 1
    });
    u8::try_from(number).expect("there are no more directories than slots")
}

/// The next bytes of a text, this many.
fn span(text: &[u8], len: usize) -> Span {
    let small = |len| u32::try_from(len).expect("a segment holds less than 4 GiB of names and keys");
    Span { at: small(text.len()), len: small(len) }
}

fn directory<'a>(text: &'a [u8], directories: &[Span], number: u8) -> &'a [u8] {
    let span = directories.get(usize::from(number)).expect("a slot's directory is its segment's");
    part(text, span.at as usize, span.len as usize)
}

impl<P> Slot<P> {
    fn text_len(&self) -> usize {
        usize::from(self.name_len) + usize::from(self.rest_len)
    }
}

fn part(text: &[u8], at: usize, len: usize) -> &[u8] {
    text.get(at..at + len).expect("a slot's text lies in its segment's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_few_entries_leave_behind_is_given_back_however_long_their_directories_were() {
        let mut shelf = Shelf::default();
        let marks = Marks { seen: 0, since: 0 };
        for seq in 0..10 * SEGMENT {
            let key = format!("a/directory/of/its/own/with/a/long/name/{seq:036}/f");
            shelf.push(seq, "f-aaaaaaaaaaaaa", key.as_bytes(), marks, 0_u32);
        }
        let held = |shelf: &Shelf<u32>| -> usize {
            let of = |segment: &Segment<u32>| {
                segment.text.capacity()
                    + segment.slots.capacity() * size_of::<Slot<u32>>()
                    + segment.directories.capacity() * size_of::<Span>()
            };
            shelf.segments.values().map(of).sum()
        };
        let full = held(&shelf);
        for seq in (0..10 * SEGMENT).filter(|seq| seq % SEGMENT != 7) {
            shelf.remove(seq);
        }
        assert_eq!(shelf.len(), 10);
        assert!(held(&shelf) < full / 50, "{} of {full} bytes are kept for 10 of 2,560 entries", held(&shelf));
        assert!(
            shelf
                .get(7)
                .expect("is there")
                .key
                .is(format!("a/directory/of/its/own/with/a/long/name/{:036}/f", 7).as_bytes())
        );
    }
}
