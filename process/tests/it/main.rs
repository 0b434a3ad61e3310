//! Real shells and real process trees.

mod alone;
mod end;
mod life;
mod output;
mod program;
mod tools;
