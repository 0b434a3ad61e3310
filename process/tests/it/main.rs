//! Real shells and real process trees.

mod life;
