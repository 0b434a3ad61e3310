//! Who we are to a store: one identity, found once, asked again before it ends, and never another in its place.
//!
//! The SDK's own chain goes on to the next source when one is not quite there (a web identity variable without its partner, a
//! profile that does not exist, an unreadable file), and so may act as the machine it runs on. Here the source is chosen first,
//! by what is configured ([`way`]); then only that one is asked ([`keeper`]).

pub(crate) mod failure;
pub(crate) mod keeper;
pub(crate) mod way;

pub(crate) use failure::Failure;
pub(crate) use keeper::{Keeper, Signer};
pub(crate) use way::Way;
