//! Spans of time drawn from a seeded generator. What a span is for is decided by whoever draws.

use std::time::Duration;

use fastrand::Rng;

/// A span of time that is drawn anew each time, both ends included, in whole milliseconds (the
/// grain of tokio's timers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Shortest.
    pub least: Duration,
    /// Longest; less than `least` counts as `least`.
    pub most: Duration,
}

impl Delay {
    /// No time at all.
    pub const NONE: Self = Self::exactly(Duration::ZERO);

    /// Always the same.
    #[must_use]
    pub const fn exactly(time: Duration) -> Self {
        Self {
            least: time,
            most: time,
        }
    }

    /// Between these milliseconds.
    #[must_use]
    pub const fn millis(least: u64, most: u64) -> Self {
        Self {
            least: Duration::from_millis(least),
            most: Duration::from_millis(most),
        }
    }

    /// One draw. An exact span draws nothing, so that it moves no other draw.
    pub fn draw(&self, random: &mut Rng) -> Duration {
        let span = self.most.saturating_sub(self.least).as_millis();
        if span == 0 {
            return self.least;
        }
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        self.least + Duration::from_millis(random.u64(0..=span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_within_their_ends_and_reach_both() {
        let mut random = Rng::with_seed(1);
        let delay = Delay::millis(3, 5);
        let drawn: std::collections::BTreeSet<u128> = (0..100)
            .map(|_| delay.draw(&mut random).as_millis())
            .collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(Delay::NONE.draw(&mut random), Duration::ZERO);
    }
}
