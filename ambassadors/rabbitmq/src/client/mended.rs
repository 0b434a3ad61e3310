//! What a broker says, so that lapin can read all of it.

mod frame;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use self::frame::{HEAD, Next, mend};

/// The largest frame that is looked at; RabbitMQ's are 128 KiB unless its `frame_max` says otherwise.
const LARGEST: usize = 4 << 20;

/// Whatever comes, where nothing is known of it.
const ALL: usize = usize::MAX;

/// The most that is made room for before it comes, whatever a frame says of its length.
const STEP: usize = 64 << 10;

/// A connection whose other end is a broker; what it says is [mended](mend), frame by frame, where it is read.
#[derive(Debug)]
pub(super) struct Mended<S> {
    stream: S,
    frames: Frames,
}

impl<S> Mended<S> {
    /// Of which nothing has been read.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, frames: Frames::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Mended<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { stream, frames } = self.get_mut();
        loop {
            let given = frames.give(buffer);
            if given > 0 || buffer.is_empty() {
                return Poll::Ready(Ok(given));
            }
            let Some(wanted) = frames.wanted() else {
                let came = ready!(Pin::new(&mut *stream).poll_read(cx, buffer))?;
                let passed = frames.pass(buffer.get_mut(..came).unwrap_or_default());
                if passed > 0 || came == 0 {
                    return Poll::Ready(Ok(passed));
                }
                continue;
            };
            let held = frames.held.len();
            frames.held.resize(held + wanted, 0);
            let read = Pin::new(&mut *stream).poll_read(cx, frames.held.get_mut(held..).unwrap_or_default());
            let came = if let Poll::Ready(Ok(came)) = &read { *came } else { 0 };
            frames.held.truncate(held + came);
            ready!(read)?;
            frames.came(came);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Mended<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx)
    }
}

/// Where in its frames a stream is.
#[derive(Debug, Default)]
struct Frames {
    /// So many bytes more pass as they are.
    through: usize,
    /// The beginning of a frame of which `missing` must come before any of it is given; where nothing is, what is to be given.
    held: Vec<u8>,
    missing: usize,
    /// How much of what is held has been given.
    given: usize,
}

impl Frames {
    /// Mends what came, and says how much of it, from its beginning, may pass; the rest is held.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut passed = 0;
        while let Some(rest) = bytes.get_mut(passed..).filter(|rest| !rest.is_empty()) {
            if self.through == 0 {
                match next(rest) {
                    Next::Whole(length) if length > rest.len() => {
                        self.held.extend_from_slice(rest);
                        self.missing = length - rest.len();
                        break;
                    }
                    Next::Whole(length) => {
                        rest.get_mut(..length).into_iter().for_each(mend);
                        passed += length;
                    }
                    Next::Through(length) => self.through = length,
                }
            } else {
                passed += rest.len().min(self.through);
                self.passed_through(rest.len());
            }
        }
        passed
    }

    /// How much is to be added to what is held, if more must come before it can be given; not all at once, since a frame may say of its
    /// length what it likes.
    fn wanted(&self) -> Option<usize> {
        Some(self.missing.min(STEP)).filter(|missing| *missing > 0)
    }

    /// So much has been added to what is held.
    fn came(&mut self, bytes: usize) {
        self.missing -= bytes;
        if bytes == 0 {
            // It ends within a frame: what that is to be is not ours to say.
            self.missing = 0;
            self.through = ALL;
        } else if self.missing == 0 {
            match next(&self.held) {
                Next::Whole(length) if length > self.held.len() => self.missing = length - self.held.len(),
                Next::Whole(_) => mend(&mut self.held),
                Next::Through(length) => {
                    self.through = length;
                    self.passed_through(self.held.len());
                }
            }
        }
    }

    /// Gives of what is held, if nothing of it is missing.
    fn give(&mut self, to: &mut [u8]) -> usize {
        if self.missing > 0 {
            return 0;
        }
        let rest = self.held.get(self.given..).unwrap_or_default();
        let giving = rest.len().min(to.len());
        for (to, byte) in to.iter_mut().zip(rest) {
            *to = *byte;
        }
        self.given += giving;
        if self.given == self.held.len() {
            self.held.clear();
            self.given = 0;
        }
        giving
    }

    fn passed_through(&mut self, bytes: usize) {
        if self.through != ALL {
            self.through = self.through.saturating_sub(bytes);
        }
    }
}

/// What to do with what begins so; a frame's head first of all.
fn next(bytes: &[u8]) -> Next {
    match bytes.first_chunk().map(Next::of) {
        None => Next::Whole(HEAD),
        Some(Next::Whole(length)) if length > LARGEST => Next::Through(length),
        Some(next) => next,
    }
}

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use lapin::protocol::basic::parse_properties;
    use lapin::protocol::parse_class;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::client::mended::samples::{deliver, frame, frames, header, nested};

    /// Gives its bytes in parts of these sizes, again and again; 0 is nothing yet.
    struct Parts<'a> {
        bytes: &'a [u8],
        sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    }

    impl AsyncRead for Parts<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            let size = self.sizes.next().copied().unwrap_or(usize::MAX).min(self.bytes.len()).min(buffer.len());
            if size == 0 && !self.bytes.is_empty() {
                return Poll::Pending;
            }
            let (part, rest) = self.bytes.split_at(size);
            buffer[..size].copy_from_slice(part);
            self.bytes = rest;
            Poll::Ready(Ok(size))
        }
    }

    /// What is read of these bytes, where they come in such parts, into buffers of such sizes.
    fn read(bytes: &[u8], sizes: &[usize], buffers: &[usize]) -> Vec<u8> {
        let mut stream = Mended::new(Parts { bytes, sizes: sizes.iter().cycle() });
        let mut read = Vec::new();
        for size in buffers.iter().cycle() {
            let mut buffer = vec![0; *size];
            match Pin::new(&mut stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
                Poll::Pending => {}
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(came) => read.extend_from_slice(&buffer[..came.expect("nothing fails here")]),
            }
        }
        read
    }

    fn whole(bytes: &[u8]) -> Vec<u8> {
        read(bytes, &[usize::MAX], &[bytes.len().max(1)])
    }

    /// Sizes of parts, of which some bring something.
    fn sizes(least: usize) -> impl Strategy<Value = Vec<usize>> {
        (vec(prop_oneof![least..10, 10..200_usize], 1..8), 1..50_usize)
            .prop_map(|(sizes, last)| [sizes, vec![last]].concat())
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> + Clone {
        vec(any::<u8>(), 0..20)
    }

    fn text() -> impl Strategy<Value = Vec<u8>> + Clone {
        any::<String>().prop_map(|text| text.into_bytes()).prop_filter("a short string", |text| text.len() < 256)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_are_mended_wherever_they_are_cut_and_lapin_can_read_them(
            frames in frames(bytes()), sizes_ in sizes(0), buffers in sizes(1),
        ) {
            let mended = whole(&frames.concat());
            prop_assert_eq!(read(&frames.concat(), &sizes_, &buffers), mended.clone());
            let mut rest = mended.as_slice();
            for frame in &frames {
                let (mended, behind) = rest.split_at(frame.len());
                let payload = &mended[HEAD..mended.len() - 1];
                match mended[0] {
                    1 => prop_assert!(parse_class(payload).is_ok_and(|(rest, _)| rest.is_empty()), "{mended:?}"),
                    2 => prop_assert!(parse_properties(&payload[12..]).is_ok_and(|(rest, _)| rest.is_empty()), "{mended:?}"),
                    _ => prop_assert_eq!(mended, frame),
                }
                rest = behind;
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn what_is_as_the_protocol_says_passes_byte_for_byte(
            frames in frames(text()), sizes_ in sizes(0), buffers in sizes(1),
        ) {
            prop_assert_eq!(read(&frames.concat(), &sizes_, &buffers), frames.concat());
        }

        #[test]
        fn whatever_comes_is_as_long_and_the_same_wherever_it_is_cut(
            frames in frames(bytes()), at in any::<prop::sample::Index>(), wrong in bytes(), sizes_ in sizes(0), buffers in sizes(1),
        ) {
            let mut bytes = frames.concat();
            let at = at.index(bytes.len() + 1);
            bytes.splice(at.., wrong);
            let read = read(&bytes, &sizes_, &buffers);
            prop_assert_eq!(read.len(), bytes.len());
            prop_assert_eq!(read, whole(&bytes));
        }
    }

    #[test]
    fn a_frame_larger_than_any_passes_and_what_is_behind_it_is_mended() {
        let huge = header(&nested(LARGEST / 5), b"\xff");
        assert!(huge.len() > LARGEST);
        let last = deliver(b"", b"", b"\xff");
        let read = read(&[huge.clone(), last].concat(), &[100_000], &[70_000]);
        assert_eq!(read, [huge, deliver(b"", b"", b"\x7f")].concat());
    }

    #[test]
    fn no_room_is_made_for_what_only_is_said_to_come() {
        let mut frame = frame(2, &[0; 100]);
        frame[3..7].copy_from_slice(&(4_u32 << 20).to_be_bytes()[..]);
        let mut frames = Frames::default();
        assert_eq!(frames.pass(&mut frame), frame.len());
        frame[4] = 0x10;
        let mut frames = Frames::default();
        assert_eq!((frames.pass(&mut frame), frames.wanted()), (0, Some(STEP)));
    }
}
