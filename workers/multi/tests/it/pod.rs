//! Told to stop, running out of time, killed.
