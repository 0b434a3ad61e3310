//! Real shells and real process trees.

mod alone;
mod end;
mod life;
mod limits;
mod output;
mod program;
mod tools;
