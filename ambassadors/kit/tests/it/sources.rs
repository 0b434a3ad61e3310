//! Sources of the three shapes, and one that does as it is told.

mod catalog;
mod lease;
mod log;
mod unruly;

use contract::ItemName;
use contract::wire::{Item, Settle};

pub(crate) use self::catalog::Shelf;
pub(crate) use self::lease::Queue;
pub(crate) use self::log::Log;
pub(crate) use self::unruly::{Mood, Unruly};
use ambassador_kit::source::{About, Order};

pub(crate) fn name(text: &str) -> ItemName {
    ItemName::parse(text).expect("a name")
}

fn item(name: &ItemName, key: &str, value: impl Into<serde_json::Value>) -> Item {
    Item::new(name.clone(), [(key.to_owned(), value.into())].into_iter().collect())
}

fn about(order: Order, incarnation: &str, settle: Settle) -> About {
    About {
        ambassador: "test-ambassador",
        version: "0.0.0",
        source_id: "test".into(),
        order,
        incarnation: incarnation.into(),
        settle,
    }
}
