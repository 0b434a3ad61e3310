//! Entries in the order of their sequence numbers, packed: the texts of a segment's entries lie in one buffer, so that a
//! million of them cost no million allocations.

use std::collections::BTreeMap;

/// Sequence numbers per segment. Removing moves at most this many slots.
const SEGMENT: u64 = 256;

/// A sorted store of `(sequence number, name, key, payload)`.
#[derive(Debug)]
pub(super) struct Shelf<P> {
    segments: BTreeMap<u64, Segment<P>>,
    len: usize,
}

#[derive(Debug)]
struct Segment<P> {
    /// Name and key of each slot, in no order.
    text: Vec<u8>,
    /// Bytes of `text` that belong to no slot any more.
    waste: usize,
    /// By offset.
    slots: Vec<Slot<P>>,
}

#[derive(Debug)]
struct Slot<P> {
    at: u32,
    key_len: u32,
    name_len: u16,
    /// Sequence number less that of the segment.
    offset: u16,
    marks: Marks,
    payload: P,
}

/// What is noted with an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    /// The sweep that saw it last.
    pub(super) seen: u32,
    /// When it came, in seconds of the catalog's life.
    pub(super) since: u32,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Shelved<'a, P> {
    pub(super) seq: u64,
    pub(super) name: &'a [u8],
    pub(super) key: &'a [u8],
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

fn offset(seq: u64) -> u16 {
    u16::try_from(seq % SEGMENT).expect("a segment is smaller than 65,536")
}

impl<P> Default for Segment<P> {
    fn default() -> Self {
        Self { text: Vec::new(), waste: 0, slots: Vec::new() }
    }
}

impl<P> Segment<P> {
    fn push(&mut self, offset: u16, name: &str, key: &[u8], marks: Marks, payload: P) {
        let at = u32::try_from(self.text.len()).expect("a segment holds less than 4 GiB of names and keys");
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(key);
        self.slots.push(Slot {
            at,
            key_len: u32::try_from(key.len()).expect("a key is shorter than 4 GiB"),
            name_len: u16::try_from(name.len()).expect("an item name is shorter than 64 KiB"),
            offset,
            marks,
            payload,
        });
        if u64::from(offset) == SEGMENT - 1 {
            self.text.shrink_to_fit();
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
        if self.waste > self.text.len() / 2 {
            self.repack();
        }
        slot.payload
    }

    fn repack(&mut self) {
        let mut text = Vec::with_capacity(self.text.len() - self.waste);
        for slot in &mut self.slots {
            let at = u32::try_from(text.len()).expect("it was longer before");
            text.extend_from_slice(part(&self.text, slot.at as usize, slot.text_len()));
            slot.at = at;
        }
        self.text = text;
        self.waste = 0;
        self.slots.shrink_to_fit();
    }

    fn shelved<'a>(&'a self, number: u64, slot: &'a Slot<P>) -> Shelved<'a, P> {
        let (at, name_len) = (slot.at as usize, usize::from(slot.name_len));
        Shelved {
            seq: number * SEGMENT + u64::from(slot.offset),
            name: part(&self.text, at, name_len),
            key: part(&self.text, at + name_len, slot.key_len as usize),
            marks: slot.marks,
            payload: &slot.payload,
        }
    }
}

impl<P> Slot<P> {
    fn text_len(&self) -> usize {
        usize::from(self.name_len) + self.key_len as usize
    }
}

fn part(text: &[u8], at: usize, len: usize) -> &[u8] {
    text.get(at..at + len).expect("a slot's text lies in its segment's")
}
