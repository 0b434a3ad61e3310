//! The whole ambassador: listeners, probes, metrics, draining, `--check`.
