//! The kit over in-memory sources of the three shapes, and over one that misbehaves.

mod asking;
mod checking;
mod contract_kept;
mod endless;
mod page;
mod refusals;
mod sabotage;
mod serving;
mod sources;
mod walks;
mod watching;
