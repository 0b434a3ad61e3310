//! Tests across families: the real programs together, and the rules that hold for the whole house.

mod edges;
mod kill_matrix;
