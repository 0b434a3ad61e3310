//! The program, over TCP and sockets, against sources that are right, wrong, poor or ill.

mod cli;
mod found;
mod sources;
