//! Measurements of one thing: their median, and how far apart they lie.

use std::fmt;
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    PerSecond,
    Count,
}

/// The same measured several times.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    unit: Unit,
    /// In ascending order; never empty.
    values: Vec<f64>,
}

impl Sample {
    /// # Panics
    /// Without a value.
    pub(crate) fn new(unit: Unit, mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "something was measured");
        values.sort_by(f64::total_cmp);
        Self { unit, values }
    }

    pub(crate) fn seconds(times: &[Duration]) -> Self {
        Self::new(Unit::Seconds, times.iter().map(Duration::as_secs_f64).collect())
    }

    pub(crate) fn unit(&self) -> Unit {
        self.unit
    }

    /// In ascending order.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value that this part of all does not exceed (nearest rank).
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = ((self.values.len() as f64 * part).ceil() as usize).clamp(1, self.values.len());
        self.values.get(rank - 1).copied().expect("there is a value")
    }

    /// Least and greatest.
    pub(crate) fn spread(&self) -> (f64, f64) {
        (self.quantile(0.0), self.quantile(1.0))
    }
}

/// `1.23 s (1.20–1.31)`; one value alone has no spread.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.unit.show(self.median()))?;
        if self.values.len() > 1 {
            let (low, high) = self.spread();
            write!(f, " ({}–{})", self.unit.show(low), self.unit.show(high))?;
        }
        Ok(())
    }
}

impl Unit {
    /// A value of this unit, for people: three digits that count.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value >= 1.0 => format!("{} s", digits(value)),
            Self::Seconds if value >= 1e-3 => format!("{} ms", digits(value * 1e3)),
            Self::Seconds => format!("{} µs", digits(value * 1e6)),
            Self::Bytes if value >= 1e6 => format!("{} MB", digits(value / 1e6)),
            Self::Bytes => format!("{} kB", digits(value / 1e3)),
            Self::PerSecond => format!("{}/s", digits(value)),
            Self::Count => digits(value),
        }
    }
}

fn digits(value: f64) -> String {
    match value {
        v if v == 0.0 || v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let sample = Sample::new(Unit::Count, vec![3.0, 1.0, 2.0, 4.0]);
        assert_eq!((sample.median(), sample.quantile(0.99), sample.spread()), (2.0, 4.0, (1.0, 4.0)));
    }

    #[test]
    fn values_are_shown_with_the_unit_that_fits() {
        for (unit, value, want) in [
            (Unit::Seconds, 12.34, "12.3 s"),
            (Unit::Seconds, 0.001_234, "1.23 ms"),
            (Unit::Seconds, 0.000_123, "123 µs"),
            (Unit::Bytes, 144e6, "144 MB"),
            (Unit::PerSecond, 1234.5, "1234/s"),
            (Unit::Count, 0.0, "0"),
        ] {
            assert_eq!(unit.show(value), want);
        }
        assert_eq!(Sample::new(Unit::Seconds, vec![1.0, 2.0, 3.0]).to_string(), "2.00 s (1.00 s–3.00 s)");
    }
}
