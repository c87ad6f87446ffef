//! The judge's settings, their defaults and their limits.
//!
//! Does not belong here: the user's fields and where they are resolved from; only numbers that have been decided.

use serde::{Deserialize, Serialize};

/// Settings as numbers, not yet checked. [`Parameters::new`] checks them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Probability of ever calling a candidate bad that is within tolerance, over the whole release. Default 0.01.
    pub alpha: f64,
    /// The candidate's error ratio may be this many times stable's. Default 1.10.
    pub rho: f64,
    /// … plus this share of requests. Default 0.001 (a tenth of a point).
    pub delta: f64,
    /// The most one tick may add, in nats. Default 2.5: at least two ticks, in practice three, to roll back. Protects from a burst that
    /// both arms see but that is scraped from one of them first.
    pub cap: f64,
    /// Share of wealth dealt out anew each tick. Default 0.01.
    pub sigma: f64,
    /// From this wealth on the weight is held. Default 3.
    pub hold_at: f64,
    /// Probability of ever calling a candidate safe that is worse by the safety margin. Default 0.05.
    pub beta: f64,
    /// Factor of the safety margin. Default 1.25.
    pub safety_rho: f64,
    /// Share of the safety margin: "safe" proves `p_c < safety_rho * p_b + safety_delta`. Default 0.01 (one point), which takes
    /// roughly 500 to 900 candidate requests.
    pub safety_delta: f64,
    /// Confidence of the upper bound that makes the ceiling. Default 0.99; its complement adds to `alpha`.
    pub ceiling_confidence: f64,
    /// Requests stable must have answered in the last ten minutes for a ceiling. Default 1,000.
    pub ceiling_requests: u64,
    /// Ticks those requests must spread over. Default 8.
    pub ceiling_ticks: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            rho: 1.10,
            delta: 0.001,
            cap: 2.5,
            sigma: 0.01,
            hold_at: 3.0,
            beta: 0.05,
            safety_rho: 1.25,
            safety_delta: 0.01,
            ceiling_confidence: 0.99,
            ceiling_requests: 1_000,
            ceiling_ticks: 8,
        }
    }
}

/// Checked settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Parameters(Settings);

/// A setting outside its limits.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {value}: it must be {limits}")]
pub struct ParameterError {
    /// Name of the setting.
    pub field: &'static str,
    /// What it was set to.
    pub value: f64,
    /// What is allowed.
    pub limits: &'static str,
}

impl Parameters {
    /// Checks the settings.
    ///
    /// # Errors
    /// The first setting outside its limits (NaN always is), with the limits.
    pub fn new(settings: Settings) -> Result<Self, ParameterError> {
        let s = &settings;
        let share = "above 0 and at most 0.5";
        let factor = "from 1 to 100";
        let checks = [
            ("alpha", s.alpha, s.alpha > 0.0 && s.alpha <= 0.5, share),
            ("rho", s.rho, (1.0..=100.0).contains(&s.rho), factor),
            (
                "delta",
                s.delta,
                (0.0..1.0).contains(&s.delta),
                "from 0 to below 1",
            ),
            (
                "cap",
                s.cap,
                s.cap > 0.0 && s.cap <= 100.0,
                "above 0 and at most 100 nats",
            ),
            (
                "sigma",
                s.sigma,
                (0.0..=0.5).contains(&s.sigma),
                "from 0 to 0.5",
            ),
            (
                "hold_at",
                s.hold_at,
                s.hold_at > 1.0 && s.hold_at * s.alpha <= 1.0,
                "above 1 and at most 1/alpha",
            ),
            ("beta", s.beta, s.beta > 0.0 && s.beta <= 0.5, share),
            (
                "safety_rho",
                s.safety_rho,
                s.safety_rho >= s.rho && s.safety_rho <= 100.0,
                "from rho to 100",
            ),
            (
                "safety_delta",
                s.safety_delta,
                s.safety_delta > 0.0 && s.safety_delta < 1.0,
                "above 0 and below 1",
            ),
            (
                "ceiling_confidence",
                s.ceiling_confidence,
                (0.5..1.0).contains(&s.ceiling_confidence),
                "from 0.5 to below 1",
            ),
            (
                "ceiling_requests",
                s.ceiling_requests as f64,
                s.ceiling_requests >= 1,
                "at least 1",
            ),
        ];
        match checks.into_iter().find(|(_, _, fits, _)| !fits) {
            Some((field, value, _, limits)) => Err(ParameterError {
                field,
                value,
                limits,
            }),
            None => Ok(Self(settings)),
        }
    }

    /// The checked numbers.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0
    }

    /// `ln` of the wealth at which the candidate is called bad.
    #[must_use]
    pub fn log_bad(&self) -> f64 {
        -self.0.alpha.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(
            Parameters::new(Settings::default()),
            Ok(Parameters::default())
        );
    }

    #[test]
    fn errors_name_field_value_and_limits() {
        let refused = |settings: Settings| Parameters::new(settings).unwrap_err().to_string();
        assert_eq!(
            refused(Settings {
                alpha: 0.0,
                ..Settings::default()
            }),
            "alpha is 0: it must be above 0 and at most 0.5"
        );
        assert_eq!(
            refused(Settings {
                rho: f64::NAN,
                ..Settings::default()
            }),
            "rho is NaN: it must be from 1 to 100"
        );
        assert!(
            refused(Settings {
                hold_at: 1000.0,
                ..Settings::default()
            })
            .starts_with("hold_at is 1000")
        );
        assert!(
            refused(Settings {
                ceiling_requests: 0,
                ..Settings::default()
            })
            .starts_with("ceiling_requests")
        );
    }
}
