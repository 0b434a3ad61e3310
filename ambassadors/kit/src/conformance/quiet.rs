//! Comparing what a busy source says at two moments: only what is wrong while the list stays as it is, is wrong.

use contract::ItemName;
use futures_util::future::BoxFuture;

use super::Miss;
use super::ask::Ask;
use super::listed::Listed;

/// How often a comparison is made before the source is called too busy for it.
pub(super) const TRIES: usize = 5;

/// Something that must be so as long as the list is this one.
pub(super) type Look = for<'a> fn(&'a Ask, &'a Listed<ItemName>) -> BoxFuture<'a, Result<(), Miss>>;

/// Looks until it is as it must be, or is not although the list was the same before and after.
pub(super) async fn while_quiet(ask: &Ask, look: Look) -> Result<(), Miss> {
    for _ in 0..TRIES {
        let before = ask.list().await?;
        match look(ask, &before).await {
            Err(Miss::Broken(how)) => {
                if ask.list().await?.is_as(&before) {
                    return Err(Miss::Broken(how));
                }
            }
            other => return other,
        }
    }
    Err(too_busy())
}

pub(super) fn too_busy() -> Miss {
    Miss::not_offered(format!("the list was another each of {TRIES} times: ask when the source is quieter"))
}
