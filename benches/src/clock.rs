//! Taking the time of two things in turn, so that whatever else the machine does meets both.

use std::time::Duration;

use anyhow::Result;

use crate::sample::Sample;

/// Runs `ours` and `peer` once to warm up, then `runs` times in turn.
///
/// # Errors
/// The first of either.
pub(crate) fn in_turn(
    runs: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut peer: impl FnMut() -> Result<Duration>,
) -> Result<(Sample, Sample)> {
    let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
    peer()?;
    ours()?;
    for _ in 0..runs {
        peer_times.push(peer()?);
        our_times.push(ours()?);
    }
    Ok((Sample::seconds(&our_times), Sample::seconds(&peer_times)))
}
