//! Draws of the simulation. What they stand for is decided by whoever draws.

use fastrand::Rng;

/// Above this many expected successes (of the rarer kind) the normal approximation is used: its error in
/// a count is far below what the judge can see.
const EXACT: f64 = 20_000.0;

/// How many of `trials` succeed when each does so with `chance`.
///
/// Exact by the lengths of the gaps between successes, which are geometric (L. Devroye, Non-Uniform
/// Random Variate Generation, 1986, X.4.3); takes time in proportion to the successes.
pub fn binomial(draw: &mut Rng, trials: u64, chance: f64) -> u64 {
    if chance <= 0.0 || trials == 0 {
        return 0;
    }
    if chance >= 1.0 {
        return trials;
    }
    if chance > 0.5 {
        return trials - binomial(draw, trials, 1.0 - chance);
    }
    let mean = trials as f64 * chance;
    if mean > EXACT {
        let value = mean + (mean * (1.0 - chance)).sqrt() * normal(draw);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=trials, which is a u64"
        )]
        let count = value.round().clamp(0.0, trials as f64) as u64;
        return count.min(trials);
    }
    let scale = (1.0 - chance).ln();
    let (mut place, mut count) = (0.0_f64, 0);
    loop {
        // 1 - u is never 0, because u is below 1.
        place += ((1.0 - draw.f64()).ln() / scale).floor() + 1.0;
        if place > trials as f64 {
            return count;
        }
        count += 1;
    }
}

/// Standard normal, after Box and Muller.
fn normal(draw: &mut Rng) -> f64 {
    let (first, second) = (1.0 - draw.f64(), draw.f64());
    (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binomial_has_its_mean_and_variance() {
        let mut draw = Rng::with_seed(5);
        for (trials, chance) in [(1_000, 0.001), (50, 0.2), (400, 0.9), (1_000_000, 0.3)] {
            let rounds = 4_000;
            let values: Vec<f64> = (0..rounds)
                .map(|_| binomial(&mut draw, trials, chance) as f64)
                .collect();
            let mean = values.iter().sum::<f64>() / f64::from(rounds);
            let variance = values
                .iter()
                .map(|value| (value - mean).powi(2))
                .sum::<f64>()
                / f64::from(rounds);
            let (expected, spread) = (
                trials as f64 * chance,
                trials as f64 * chance * (1.0 - chance),
            );
            let error = (spread / f64::from(rounds)).sqrt();
            assert!(
                (mean - expected).abs() < 5.0 * error,
                "{trials} {chance}: {mean}"
            );
            assert!(
                (variance / spread - 1.0).abs() < 0.15,
                "{trials} {chance}: {variance}"
            );
        }
        assert_eq!(binomial(&mut draw, 10, 0.0), 0);
        assert_eq!(binomial(&mut draw, 10, 1.0), 10);
        assert_eq!(binomial(&mut draw, 0, 0.5), 0);
    }
}
