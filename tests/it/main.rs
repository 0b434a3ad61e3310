//! Tests across families: the real programs together, and the rules that hold for the whole house.

mod architecture;
mod contract_check;
mod edges;
mod get_only;
mod images;
mod kafka;
mod kill_matrix;
mod kubernetes;
mod nfs;
mod operations;
mod s3;
mod stages;
mod watching;
