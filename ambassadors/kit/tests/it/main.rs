//! The kit over in-memory sources of the three shapes, and over one that misbehaves.

mod again;
mod asking;
mod checking;
mod compressed;
mod contract_kept;
mod endless;
mod guarded;
mod naming;
mod page;
mod refusals;
mod sabotage;
mod serving;
mod sockets;
mod sources;
mod walks;
mod watching;
