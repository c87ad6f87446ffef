//! The upper Clopper–Pearson bound: how large can a share be, given so many bad ones among so many?
//!
//! The bound is the `confidence` quantile of Beta(x + 1, n - x). Counts divided by the dispersion are not whole, which the
//! Beta form takes. Our own forty lines in place of a statistics crate: the one function needed is the regularised
//! incomplete beta (Lentz's continued fraction, Numerical Recipes 6.4; ln Γ by Lanczos, g = 7, 9 terms), checked
//! against values of a multi-precision library. Does not belong here: what the bound is used for.

/// Upper bound of the share, at `confidence`, after `bad` among `requests`.
///
/// 1 when there were no requests or all were bad, or for arguments that make no sense (NaN, negative): the bound that
/// claims least. Accurate to about 1e-9 up to 1e9 requests.
#[must_use]
pub fn clopper_pearson_upper(bad: f64, requests: f64, confidence: f64) -> f64 {
    if !(bad >= 0.0 && requests.is_finite() && bad < requests && confidence < 1.0) {
        return 1.0;
    }
    let (a, b) = (bad + 1.0, requests - bad);
    let (mut low, mut high) = (0.0, 1.0);
    // 60 halvings reach the last bit of any share that matters; `high` is returned, the side that claims less.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if regularised_beta(a, b, middle) < confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// `I_x(a, b)` for `a, b > 0` and `x` in [0, 1].
fn regularised_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    // The fraction converges fast only on its own side of the mean.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    let guard = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    // The terms needed grow with the root of max(a, b); 100,000 covers 1e9 requests.
    for m in 1..100_000_u32 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = result;
        for term in [even, odd] {
            d = 1.0 / guard(1.0 + term * d);
            c = guard(1.0 + term / c);
            result *= c * d;
        }
        if (result - before).abs() <= 1e-15 * result.abs() {
            break;
        }
    }
    result
}

/// ln Γ(x) for `x >= 0.5`; below, by one step of the recurrence.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        return ln_gamma(x + 1.0) - x.ln();
    }
    let x = x - 1.0;
    let series = TERMS
        .iter()
        .zip(1_u8..)
        .fold(0.999_999_999_999_809_9, |sum, (term, i)| {
            sum + term / (x + f64::from(i))
        });
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_multi_precision_values() {
        for (bad, requests, confidence, expected) in [
            (0.0, 10.0, 0.99, 0.369_042_655_519_81),
            (0.0, 1_000.0, 0.99, 0.004_594_582_648_473),
            (3.0, 1_000.0, 0.99, 0.010_009_791_991_708),
            (24.0, 12_000.0, 0.99, 0.003_171_217_507_133_5),
            (500.0, 1_000.0, 0.99, 0.537_221_933_239),
            (999.0, 1_000.0, 0.99, 0.999_989_949_714_65),
            (2.5, 437.5, 0.99, 0.020_952_673_629_183),
        ] {
            let got = clopper_pearson_upper(bad, requests, confidence);
            assert!(
                (got - expected).abs() < 1e-9,
                "{bad} of {requests}: {got}, not {expected}"
            );
        }
    }

    #[test]
    fn incomplete_beta_matches_multi_precision_values() {
        for (a, b, x, expected) in BETA {
            let got = regularised_beta(a, b, x);
            assert!(
                (got - expected).abs() < 1e-11,
                "I_{x}({a}, {b}) = {got}, not {expected}"
            );
        }
    }

    #[test]
    fn claims_nothing_without_data() {
        for (bad, requests) in [
            (0.0, 0.0),
            (5.0, 5.0),
            (f64::NAN, 10.0),
            (-1.0, 10.0),
            (1.0, f64::INFINITY),
        ] {
            assert_eq!(clopper_pearson_upper(bad, requests, 0.99), 1.0);
        }
    }

    #[test]
    fn grows_with_the_bad_and_falls_with_the_requests() {
        let mut last = 0.0;
        for bad in 0..200 {
            let bound = clopper_pearson_upper(f64::from(bad), 1_000.0, 0.99);
            assert!(bound > last && bound > f64::from(bad) / 1_000.0);
            last = bound;
        }
        assert!(
            clopper_pearson_upper(10.0, 2_000.0, 0.99) < clopper_pearson_upper(10.0, 1_000.0, 0.99)
        );
    }

    #[test]
    fn holds_for_a_billion_requests() {
        let bound = clopper_pearson_upper(1e6, 1e9, 0.99);
        // Normal approximation: 0.001 + 2.326 × sqrt(0.001 × 0.999 / 1e9).
        assert!((bound - 0.001_002_326).abs() < 1e-8, "{bound}");
    }

    #[test]
    fn matches_the_binomial_at_a_million_requests() {
        let bound = clopper_pearson_upper(2_000.0, 1e6, 0.99);
        assert!((bound - 0.002_106_419_458_17).abs() < 1e-10, "{bound}");
    }

    const BETA: [(f64, f64, f64, f64); 4] = [
        (2.0, 3.0, 0.4, 0.524_8),
        (0.5, 0.5, 0.3, 0.369_010_119_565_55),
        (10.0, 1_000.0, 0.012, 0.768_510_403_308_79),
        (1.0, 1.0, 0.25, 0.25),
    ];
}
