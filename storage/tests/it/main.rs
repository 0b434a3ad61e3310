//! The `file:` store through the seam that workers use.

mod inputs;
mod outputs;
