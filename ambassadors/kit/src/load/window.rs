//! Which lines are loaded: as many from the first on as are confirmed without a gap.

use std::collections::VecDeque;

/// Lines from the first that is not known to be loaded to the last that was sent.
#[derive(Debug)]
pub(super) struct Window {
    /// How many lines are loaded, and how many bytes they take in the file.
    lines: u64,
    bytes: u64,
    /// Those after, in their order: where each ends, and whether it is loaded.
    after: VecDeque<(u64, bool)>,
}

impl Window {
    /// When so many are loaded already.
    pub(super) fn new(lines: u64, bytes: u64) -> Self {
        Self { lines, bytes, after: VecDeque::new() }
    }

    /// How many lines are loaded.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// How many bytes those take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many lines were sent, of this run or an earlier one.
    pub(super) fn next(&self) -> u64 {
        self.lines + self.after.len() as u64
    }

    /// How many bytes of the file were sent and are not loaded.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.after.back().map_or(0, |(end, _)| end - self.bytes)
    }

    /// The next line, which ends there, is sent.
    pub(super) fn send(&mut self, end: u64) {
        self.after.push_back((end, false));
    }

    /// The next line, which ends there, is nothing to send.
    pub(super) fn skip(&mut self, end: u64) {
        self.after.push_back((end, true));
        self.advance();
    }

    /// The line of this number, from 1, is confirmed.
    pub(super) fn confirm(&mut self, number: u64) {
        let at = number.checked_sub(self.lines + 1).and_then(|at| usize::try_from(at).ok());
        if let Some((_, loaded)) = at.and_then(|at| self.after.get_mut(at)) {
            *loaded = true;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some((end, true)) = self.after.front().copied() {
            self.after.pop_front();
            self.lines += 1;
            self.bytes = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_no_gap_before_it_is_loaded() {
        let mut window = Window::new(10, 100);
        window.send(110);
        window.skip(111);
        window.send(120);
        window.send(130);
        assert_eq!((window.next(), window.waiting_bytes()), (14, 30));
        window.confirm(14);
        window.confirm(13);
        assert_eq!((window.lines(), window.bytes()), (10, 100), "line 11 is not confirmed");
        window.confirm(11);
        assert_eq!((window.lines(), window.bytes(), window.waiting_bytes()), (14, 130, 0));
        window.confirm(14);
        window.confirm(99);
        window.skip(131);
        assert_eq!((window.lines(), window.bytes(), window.next()), (15, 131, 15));
    }
}
