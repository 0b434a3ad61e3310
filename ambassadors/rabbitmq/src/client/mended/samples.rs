//! Frames as a broker sends them, with whatever bytes in them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Union;

/// A frame of this type on channel 1.
pub(super) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length");
    [&[kind, 0, 1], length.to_be_bytes().as_slice(), payload, &[0xce]].concat()
}

/// A short string.
pub(super) fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).expect("a short string")], bytes].concat()
}

/// A type, and a length before the content: of a long string, an array, a table.
pub(super) fn long(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a length");
    [&[kind], length.to_be_bytes().as_slice(), bytes].concat()
}

/// A message's properties: its headers, without a length before, and its id.
pub(super) fn header(headers: &[u8], id: &[u8]) -> Vec<u8> {
    let start = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0b0010_0000, 0b1000_0000];
    frame(2, &[&start, &long(b'F', headers)[1..], &short(id)].concat())
}

/// What tells of a message: basic.deliver.
pub(super) fn deliver(tag: &[u8], exchange: &[u8], key: &[u8]) -> Vec<u8> {
    let delivery = [0, 0, 0, 0, 0, 0, 0, 9, 1];
    frame(1, &[&[0, 60, 0, 60], short(tag).as_slice(), &delivery, &short(exchange), &short(key)].concat())
}

/// Headers with an array in an array and so on.
pub(super) fn nested(levels: usize) -> Vec<u8> {
    let inside = |level: usize| u32::try_from(5 * (levels - 1 - level)).expect("a length").to_be_bytes();
    let arrays = (0..levels).flat_map(|level| [[b'A'].as_slice(), &inside(level)].concat());
    short(b"deep").into_iter().chain(arrays).collect()
}

/// Frames in which each text is one of these.
pub(super) fn frames(text: impl Strategy<Value = Vec<u8>> + Clone + 'static) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let texts = || vec(text.clone(), 5);
    let of_header = (table(text.clone()), texts(), any::<u16>());
    let frame = prop_oneof![
        3 => of_header.prop_map(|(table, texts, which)| frame(2, &properties(which, &table, &texts))),
        2 => texts().prop_map(|texts| deliver(&texts[0], &texts[1], &texts[2])),
        1 => texts().prop_map(|texts| frame(1, &[&[0, 60, 0, 50, 1, 56], texts[..3].iter().map(|text| short(text)).collect::<Vec<_>>().concat().as_slice()].concat())),
        1 => texts().prop_map(|texts| frame(1, &[&[0, 20, 0, 40, 1, 56], short(&texts[0]).as_slice(), &[0, 60, 0, 60]].concat())),
        1 => vec(any::<u8>(), 0..300).prop_map(|body| frame(3, &body)),
        1 => Just(frame(8, &[])),
        // queue.declare-ok.
        1 => Just(frame(1, &[&[0, 50, 0, 11], short(b"q").as_slice(), &[0; 8]].concat())),
    ];
    vec(frame, 0..12)
}

fn properties(which: u16, table: &[u8], texts: &[Vec<u8>]) -> Vec<u8> {
    let which = which & !3;
    let mut bytes = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3], which.to_be_bytes().as_slice()].concat();
    let mut texts = texts.iter().cycle();
    for bit in (2..16).rev().filter(|bit| which & (1 << bit) != 0) {
        bytes.extend(match bit {
            13 => long(b'F', table)[1..].to_vec(),
            12 | 11 => vec![7],
            6 => vec![0, 0, 0, 0, 0, 0, 0, 5],
            _ => short(texts.next().expect("a text")),
        });
    }
    bytes
}

fn table(text: impl Strategy<Value = Vec<u8>> + Clone + 'static) -> impl Strategy<Value = Vec<u8>> {
    named(value(text.clone()), text)
}

fn named(
    value: impl Strategy<Value = Vec<u8>>,
    text: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = Vec<u8>> {
    vec((text, value), 0..4).prop_map(|entries| {
        entries.iter().map(|(name, value)| [short(name), value.clone()].concat()).collect::<Vec<_>>().concat()
    })
}

fn value(text: impl Strategy<Value = Vec<u8>> + Clone + 'static) -> impl Strategy<Value = Vec<u8>> {
    let fixed = [(1, b"tbB".as_slice()), (2, b"sUu"), (4, b"Iif"), (5, b"D"), (8, b"LldT"), (0, b"V")];
    let of = |(width, kinds): (usize, &'static [u8])| {
        (prop::sample::select(kinds), vec(any::<u8>(), width))
            .prop_map(|(kind, bytes)| [&[kind], bytes.as_slice()].concat())
    };
    let strings =
        (prop::sample::select(b"Sx".as_slice()), vec(any::<u8>(), 0..20)).prop_map(|(kind, bytes)| long(kind, &bytes));
    let leaf = Union::new(fixed.map(|fixed| of(fixed).boxed())).boxed();
    prop_oneof![leaf, strings].prop_recursive(5, 40, 4, move |inner| {
        let arrays = vec(inner.clone(), 0..4).prop_map(|values| long(b'A', &values.concat()));
        prop_oneof![arrays, named(inner, text.clone()).prop_map(|table| long(b'F', &table))]
    })
}
