//! By when what waits is to be done: the drain target as a promise for each item, kept in the order of their coming.
//!
//! A floor of backlog · S ÷ target, worked out anew while the backlog shrinks, would shrink with it, and a third of a bucket
//! would still be there when the target has passed. So each item is to be done within the target *of its coming*, and the
//! floor is what that takes: over all moments by which something is due, S times what is due by then, over the time left.
//! For a bucket that is just listed that is backlog · S ÷ target, and it stays that as long as all goes well.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What came within this part of the target is due together: that is how few promises there are.
const TOGETHER: u32 = 60;
/// What is late is to be done within this part of the target; without it, a late item would ask for everything there is.
const LATE: u32 = 10;

/// What is to be done, by when.
#[derive(Clone, Debug)]
pub(super) struct Drain {
    target: Duration,
    due: VecDeque<(Instant, u64)>,
    items: u64,
}

impl Drain {
    pub(super) fn new(target: Duration) -> Self {
        Self { target, due: VecDeque::new(), items: 0 }
    }

    /// What there is to be done, and how much was done since this was last said.
    pub(super) fn observe(&mut self, backlog: u64, done: u64, now: Instant) {
        self.take(done, VecDeque::front_mut, VecDeque::pop_front);
        // What went without having been done was taken away or skipped; who knows which it was.
        self.take(self.items.saturating_sub(backlog), VecDeque::back_mut, VecDeque::pop_back);
        let new = backlog.saturating_sub(self.items);
        if new == 0 {
            return;
        }
        self.items += new;
        let by = now + self.target;
        match self.due.back_mut() {
            Some((last, items)) if by.saturating_duration_since(*last) < self.target / TOGETHER => *items += new,
            _ => self.due.push_back((by, new)),
        }
    }

    fn take(
        &mut self,
        items: u64,
        end: impl Fn(&mut VecDeque<(Instant, u64)>) -> Option<&mut (Instant, u64)>,
        pop: impl Fn(&mut VecDeque<(Instant, u64)>) -> Option<(Instant, u64)>,
    ) {
        let mut left = items.min(self.items);
        self.items -= left;
        while left > 0
            && let Some((_, due)) = end(&mut self.due)
        {
            let taken = left.min(*due);
            left -= taken;
            *due -= taken;
            if *due == 0 {
                pop(&mut self.due);
            }
        }
    }

    /// Nothing could be done for so long: nobody is late for that.
    pub(super) fn postpone(&mut self, by: Duration) {
        self.due.iter_mut().for_each(|(due, _)| *due += by);
    }

    /// How many slots it takes, where an attempt takes `mean` seconds; never more than there are items.
    pub(super) fn slots(&self, mean: f64, now: Instant) -> f64 {
        let least = self.target / LATE;
        let mut items = 0;
        let needs = self.due.iter().map(|(by, due)| {
            items += due;
            items as f64 * mean / by.saturating_duration_since(now).max(least).as_secs_f64()
        });
        needs.fold(0.0, f64::max).min(self.items as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const TARGET: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_bucket_needs_the_same_until_it_is_done() {
        let (mut drain, begin) = (Drain::new(TARGET), Instant::now());
        drain.observe(600, 0, begin);
        assert_eq!(drain.slots(60.0, begin), 10.0);
        // Ten slots of a minute each do ten in a minute.
        for minute in 1..54 {
            drain.observe(600 - u64::from(minute) * 10, 10, begin + minute * MINUTE);
            let slots = drain.slots(60.0, begin + minute * MINUTE);
            assert!((slots - 10.0).abs() < 1e-6, "{slots} after {minute} min");
        }
    }

    #[test]
    fn who_falls_behind_needs_more_and_what_is_late_does_not_need_everything() {
        let (mut drain, begin) = (Drain::new(TARGET), Instant::now());
        drain.observe(600, 0, begin);
        assert_eq!(drain.slots(60.0, begin + 30 * MINUTE), 20.0);
        assert_eq!(drain.slots(60.0, begin + 300 * MINUTE), 100.0);
        drain.postpone(300 * MINUTE);
        assert_eq!(drain.slots(60.0, begin + 300 * MINUTE), 10.0);
    }

    #[test]
    fn what_comes_later_is_due_later() {
        let (mut drain, begin) = (Drain::new(TARGET), Instant::now());
        drain.observe(60, 0, begin);
        drain.observe(120, 0, begin + 30 * MINUTE);
        // 60 in the half hour that is left for the first, or 120 in an hour.
        assert_eq!(drain.slots(60.0, begin + 30 * MINUTE), 2.0);
        drain.observe(60, 60, begin + 30 * MINUTE);
        assert_eq!(drain.slots(60.0, begin + 30 * MINUTE), 1.0);
    }

    #[test]
    fn there_is_nothing_to_do_for_more_slots_than_items() {
        let (mut drain, begin) = (Drain::new(TARGET), Instant::now());
        drain.observe(3, 0, begin);
        assert_eq!(drain.slots(36_000.0, begin), 3.0);
        drain.observe(0, 0, begin);
        assert_eq!(drain.slots(36_000.0, begin), 0.0);
    }

    #[test]
    fn there_are_few_promises_however_many_come() {
        let (mut drain, begin) = (Drain::new(TARGET), Instant::now());
        for second in 0..7_200 {
            drain.observe(second, 0, begin + Duration::from_secs(second));
        }
        assert!(drain.due.len() <= 121, "{}", drain.due.len());
    }
}
