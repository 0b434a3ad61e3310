//! Tests across families: the real programs together, and the rules that hold for the whole house.

#![expect(clippy::print_stdout, reason = "a matrix prints what it met")]

mod architecture;
mod edges;
mod get_only;
mod kill_matrix;
