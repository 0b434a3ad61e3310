//! Any number of things, so many at once.

use futures_util::stream::{self, BoxStream, StreamExt};

use crate::BoxFuture;

/// What `each` makes of items, so many at once and in any order. The future of each is made when its turn comes: one takes
/// kilobytes, and there may be any number of items.
pub fn in_turn<'a, I: Send + 'a, T: Send + 'a>(
    items: impl Iterator<Item = I> + Send + 'a,
    parallel: usize,
    each: impl FnMut(I) -> BoxFuture<'a, T> + Send + 'a,
) -> BoxStream<'a, T> {
    stream::iter(items.map(each)).buffer_unordered(parallel).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_its_turn_is_not_made_yet() {
        let mut made = 0;
        let endless = |_| -> BoxFuture<'_, ()> {
            made += 1;
            Box::pin(std::future::pending())
        };
        let mut each = in_turn(0..100_000, 32, endless);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(each.poll_next_unpin(&mut context).is_pending());
        drop(each);
        assert_eq!(made, 32, "a hundred thousand would take gigabytes");
    }
}
