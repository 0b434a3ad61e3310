//! The program, with a test in the place of the multi-worker.

mod bells;
mod bounds;
mod deaths;
mod kills;
mod needs_memory_cgroup;
mod needs_mount;
mod needs_root;
mod orders;
mod tools;
mod work;
