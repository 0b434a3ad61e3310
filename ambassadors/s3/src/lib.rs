//! Serves a bucket through the source contract.
