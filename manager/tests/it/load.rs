//! How many at a time, under loads of every shape: a simulation of arrivals, slots and workers around the real decisions, in
//! virtual time and with seeds. Each load states what is promised for it.

mod invariants;
mod traces;
mod world;
