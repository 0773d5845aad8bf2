//! How long something took, many times.

use std::time::Duration;

/// How long something took, many times.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.0.clone();
        times.sort_unstable();
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).copied().unwrap_or_default()
    }

    /// How many fit into a second, one after another.
    pub(crate) fn per_second(&self) -> f64 {
        let mean = self.0.iter().map(Duration::as_secs_f64).sum::<f64>() / count(self.len());
        1.0 / mean.max(f64::MIN_POSITIVE)
    }
}

/// A count to reckon with.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
