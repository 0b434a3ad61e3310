//! The `https:` store.
