//! One frame of AMQP 0-9-1, and what is changed in it so that lapin can read it.
//!
//! The protocol has its short strings in UTF-8; RabbitMQ asks no publisher for it, and hands on what it was given. lapin ends the connection
//! at the first that is not, and descends into nested headers for as long as its stack lasts. Nothing here makes a frame longer or shorter.

use std::ops::Range;

/// Type, channel and length of what follows.
pub(super) const HEAD: usize = 7;

/// What ends a frame.
const END: u8 = 0xce;

/// How deep arrays and tables may be nested in a message's headers, those themselves the first.
pub(super) const DEEPEST: usize = 64;

/// What a frame's head says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// So many bytes, head and all, pass as they are.
    Through(usize),
    /// So many are looked at as a whole.
    Whole(usize),
}

impl Next {
    /// A method or a content header is looked at. What is no frame that we know passes, and all that comes behind it: lapin says what it is.
    pub(super) fn of(head: &[u8; HEAD]) -> Self {
        let &[kind, _, _, ref length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok().and_then(|length| length.checked_add(HEAD + 1));
        match (kind, length) {
            (1 | 2, Some(length)) => Self::Whole(length),
            (3 | 8, Some(length)) => Self::Through(length),
            _ => Self::Through(usize::MAX),
        }
    }
}

/// Changes, in a method or in the properties of a message, every short string and every header's name that is no UTF-8 into one that is, and
/// what is nested too deep in its headers into a text. Leaves alone what is no frame.
pub(super) fn mend(frame: &mut [u8]) {
    let &mut [kind, _, _, _, _, _, _, ref mut payload @ .., END] = frame else { return };
    let mut walk = Walk { bytes: payload, at: 0, changes: Vec::new() };
    let walked = match kind {
        1 => walk.method(),
        _ => walk.properties(),
    };
    if walked.is_none() || walk.at != walk.bytes.len() {
        return;
    }
    for change in walk.changes {
        match change {
            Change::Text(text) => payload.get_mut(text).into_iter().for_each(make_utf8),
            Change::Flat(kind) => payload.get_mut(kind).into_iter().for_each(|kind| *kind = b'S'),
        }
    }
}

/// Takes the high bit off each byte that keeps a text from being UTF-8: what differs in others differs still.
fn make_utf8(mut text: &mut [u8]) {
    while let Err(error) = std::str::from_utf8(text) {
        let (_, rest) = std::mem::take(&mut text).split_at_mut(error.valid_up_to());
        let (wrong, rest) = rest.split_at_mut(error.error_len().unwrap_or(rest.len()));
        wrong.iter_mut().for_each(|byte| *byte &= 0x7f);
        text = rest;
    }
}

/// Something that lapin cannot read, by where it stands.
enum Change {
    /// A text that is no UTF-8.
    Text(Range<usize>),
    /// The type of what is nested too deep: a long string has the same form.
    Flat(usize),
}

/// Goes over a frame's content and notes what to change; `None` where that is not what the protocol says.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    changes: Vec<Change>,
}

impl Walk<'_> {
    /// A method, of those in which texts of others come to us.
    fn method(&mut self) -> Option<()> {
        let end = self.bytes.len();
        match (self.number::<2>(end)?, self.number::<2>(end)?) {
            // connection.close, channel.close: code, text (which RabbitMQ cuts off after so many bytes), class, method.
            (10, 50) | (20, 40) => {
                self.skip(2, end)?;
                self.text(end)?;
                self.skip(4, end)
            }
            // basic.return: code, text, exchange, routing key.
            (60, 50) => {
                self.skip(2, end)?;
                self.texts(3, end)
            }
            // basic.deliver: consumer's tag, delivery's tag, redelivered, exchange, routing key.
            (60, 60) => {
                self.text(end)?;
                self.skip(9, end)?;
                self.texts(2, end)
            }
            // basic.get-ok: delivery's tag, redelivered, exchange, routing key, how many more.
            (60, 71) => {
                self.skip(9, end)?;
                self.texts(2, end)?;
                self.skip(4, end)
            }
            _ => None,
        }
    }

    /// A content header of class basic: class, weight, the body's size, which properties there are, and these, in the order of their bits.
    fn properties(&mut self) -> Option<()> {
        let end = self.bytes.len();
        if self.number::<2>(end)? != 60 {
            return None;
        }
        self.skip(10, end)?;
        let flags = self.number::<2>(end)?;
        for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
            match bit {
                13 => self.headers(end)?,
                // Delivery mode and priority.
                12 | 11 => self.skip(1, end)?,
                // The timestamp.
                6 => self.skip(8, end)?,
                _ => self.text(end)?,
            }
        }
        Some(())
    }

    /// A table, and what is nested in it, without a call for each level.
    fn headers(&mut self, end: usize) -> Option<()> {
        let mut open = vec![(self.long(end)?, true)];
        while let Some(&(end, named)) = open.last() {
            if self.at == end {
                open.pop();
                continue;
            }
            if named {
                self.text(end)?;
            }
            let kind_at = self.at;
            match self.byte(end)? {
                kind @ (b'A' | b'F') => {
                    let inner = self.long(end)?;
                    if open.len() < DEEPEST {
                        open.push((inner, kind == b'F'));
                    } else {
                        self.changes.push(Change::Flat(kind_at));
                        self.at = inner;
                    }
                }
                b'S' | b'x' => self.at = self.long(end)?,
                b'V' => {}
                b't' | b'b' | b'B' => self.skip(1, end)?,
                b's' | b'U' | b'u' => self.skip(2, end)?,
                b'I' | b'i' | b'f' => self.skip(4, end)?,
                b'D' => self.skip(5, end)?,
                b'L' | b'l' | b'd' | b'T' => self.skip(8, end)?,
                _ => return None,
            }
        }
        Some(())
    }

    fn texts(&mut self, count: usize, end: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.text(end))
    }

    /// A short string.
    fn text(&mut self, end: usize) -> Option<()> {
        let length = usize::from(self.byte(end)?);
        let begin = self.at;
        self.skip(length, end)?;
        let text = begin..self.at;
        if std::str::from_utf8(self.bytes.get(text.clone())?).is_err() {
            self.changes.push(Change::Text(text));
        }
        Some(())
    }

    /// Where that ends whose length comes next.
    fn long(&mut self, end: usize) -> Option<usize> {
        let length = self.number::<4>(end)?;
        self.at.checked_add(length).filter(|inner| *inner <= end)
    }

    fn byte(&mut self, end: usize) -> Option<u8> {
        let begin = self.at;
        self.skip(1, end)?;
        self.bytes.get(begin).copied()
    }

    /// Big-endian, as all numbers here are.
    fn number<const BYTES: usize>(&mut self, end: usize) -> Option<usize> {
        let begin = self.at;
        self.skip(BYTES, end)?;
        let bytes = self.bytes.get(begin..self.at)?;
        Some(bytes.iter().fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    }

    fn skip(&mut self, bytes: usize, end: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes).filter(|at| *at <= end)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::basic::parse_properties;
    use lapin::protocol::{AMQPClass, basic, parse_class};
    use lapin::types::AMQPValue;

    use super::super::samples::{deliver, frame, header, long, nested, short};
    use super::*;

    fn mended(mut frame: Vec<u8>) -> Vec<u8> {
        mend(&mut frame);
        frame
    }

    #[test]
    fn only_what_keeps_a_text_from_being_one_loses_its_high_bits() {
        for (text, becomes) in [
            (b"plain".as_slice(), b"plain".as_slice()),
            ("gr\u{fc}n \u{1f980}".as_bytes(), "gr\u{fc}n \u{1f980}".as_bytes()),
            (b"gr\xfcn", b"gr|n"),
            (b"\xff\xfe", b"\x7f\x7e"),
            // A character that is cut off, one that is written too long, half of a pair, a continuation of nothing.
            (b"cut \xf0\x9f\xa6", b"cut \x70\x1f\x26"),
            (b"\xc0\xaf", b"\x40\x2f"),
            (b"\xed\xa0\x80", b"\x6d\x20\x00"),
            (b"\x80\xc3\xbc\x80", b"\x00\xc3\xbc\x00"),
        ] {
            let mut text = text.to_vec();
            make_utf8(&mut text);
            assert_eq!(text, becomes);
        }
    }

    #[test]
    fn a_message_that_lapin_cannot_read_becomes_one_that_it_can() {
        let headers = [short(b"h\xff"), long(b'F', &[short(b"\xfe"), long(b'S', b"\xfd")].concat())].concat();
        let before = header(&headers, b"id \xc3\xbc \xff");
        assert!(parse_properties(&before[HEAD + 12..before.len() - 1]).is_err(), "lapin has learned it: this can go");
        let after = mended(before);
        let (rest, properties) = parse_properties(&after[HEAD + 12..after.len() - 1]).expect("properties");
        assert!(rest.is_empty());
        assert_eq!(properties.message_id().as_ref().map(ToString::to_string).as_deref(), Some("id \u{fc} \x7f"));
        let headers = properties.headers().clone().expect("headers");
        let Some(AMQPValue::FieldTable(inner)) = headers.inner().get("h\x7f") else { panic!("{headers:?}") };
        assert_eq!(inner.inner().get("~"), Some(&AMQPValue::LongString(b"\xfd".as_slice().into())), "values are bytes");

        let after = mended(deliver(b"\xff", b"\xfe", b"\xfd"));
        let Ok((_, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver)))) = parse_class(&after[HEAD..after.len() - 1])
        else {
            panic!("{after:?}")
        };
        assert_eq!([deliver.exchange.as_str(), deliver.routing_key.as_str()], ["~", "}"]);
    }

    #[test]
    fn what_is_nested_too_deep_becomes_a_text_of_the_same_bytes() {
        assert_eq!(mended(header(&nested(DEEPEST - 1), b"")), header(&nested(DEEPEST - 1), b""));
        let after = mended(header(&nested(20_000), b"\xff"));
        let (_, properties) = parse_properties(&after[HEAD + 12..after.len() - 1]).expect("properties");
        assert_eq!(properties.message_id().as_ref().map(ToString::to_string).as_deref(), Some("\x7f"));
        let headers = properties.headers().clone().expect("headers");
        let mut value = headers.inner().get("deep").expect("the value").clone();
        let mut levels = 1;
        let text = loop {
            match value {
                AMQPValue::FieldArray(array) => value = array.as_slice()[0].clone(),
                AMQPValue::LongString(text) => break text,
                other => panic!("{other:?}"),
            }
            levels += 1;
        };
        assert_eq!((levels, text.as_bytes().len()), (DEEPEST, 5 * (20_000 - DEEPEST)));
    }

    #[test]
    fn what_is_not_as_the_protocol_says_is_left_as_it_is() {
        let fine = header(&[short(b"\xff"), vec![b't', 1]].concat(), b"\xff");
        let headers = HEAD + 14;
        let with = |at: usize, byte: u8| {
            let mut frame = fine.clone();
            frame[at] = byte;
            frame
        };
        assert_ne!(mended(fine.clone()), fine);
        for (what, frame) in [
            ("longer headers than the frame", with(headers, 1)),
            ("headers that end within a value", with(headers + 3, 3)),
            ("a name that reaches beyond its table", with(headers + 4, 9)),
            ("a value of no type", with(headers + 6, b'?')),
            ("an id that reaches beyond the frame", with(fine.len() - 3, 9)),
            ("something behind the last property", with(HEAD + 13, 0)),
            ("another class", with(HEAD + 1, 10)),
            ("another end", with(fine.len() - 1, 0)),
            ("a method that we do not know", frame(1, &[0, 60, 0, 61, 1, 0xff])),
            ("too short for anything", frame(2, &[0, 60])),
            ("nothing", Vec::new()),
        ] {
            assert_eq!(mended(frame.clone()), frame, "{what}");
        }
    }
}
