//! The formulas: how much one tick's counts speak for or against a hypothesis, in nats.
//!
//! Sources: with `delta = 0`, [`two_arms`] is the likelihood ratio of the conditional test of Lindon and Malek
//! (arXiv 2011.03567); the `delta` term is an extension, which makes a practical margin possible without an estimate of
//! stable's ratio. Does not belong here: tempering, capping and adding up over ticks ([`crate::Mixture`]).

use crate::tick::Counts;

/// `ln e` for "the candidate fails `q` times as often as allowed" against "`p_c <= rho * p_b + delta`".
///
/// ```text
/// kappa = rho * n_c / n_b        u = (q - 1) / (1 + q * kappa)
/// ln e  = X_c ln(1 + u) + X_b ln(1 - kappa u) - delta n_c u
/// ```
///
/// `E e <= exp(u n_c (p_c - rho p_b - delta)) <= 1` for any independent requests, equal or not, because
/// `E (1+u)^X = prod(1 + p_i u) <= exp(n p u)` and `1 - kappa u` lies in (0, 1].
/// `None` when an arm saw no request: nothing to compare. `q > 1`, `rho > 0` and `delta >= 0` are the caller's duty.
#[must_use]
pub fn two_arms(q: f64, candidate: Counts, stable: Counts, rho: f64, delta: f64) -> Option<f64> {
    let kappa = kappa(candidate, stable, rho)?;
    Some(bet(
        (q - 1.0) / (1.0 + q * kappa),
        kappa,
        candidate,
        stable,
        delta,
    ))
}

/// `ln e` of the bet `u` in (-1, 0) against "`p_c >= rho * p_b + delta`": grows while the candidate shows that it is *not* worse
/// by `delta`. Same formula as [`two_arms`] with a negative `u`; both factors stay positive, so the same bound holds.
/// `None` when an arm saw no request.
#[must_use]
pub fn safety(u: f64, candidate: Counts, stable: Counts, rho: f64, delta: f64) -> Option<f64> {
    Some(bet(
        u,
        kappa(candidate, stable, rho)?,
        candidate,
        stable,
        delta,
    ))
}

/// `ln e` for "the candidate fails `q` times as often as the ceiling `p0`", when no arm runs beside it.
///
/// ```text
/// u = q - 1        ln e = X ln(1 + u) - n p0 u
/// ```
///
/// `E e <= exp(n u (p - p0)) <= 1` while `p <= p0`, by the same inequality as in [`two_arms`].
#[must_use]
pub fn ceiling(q: f64, candidate: Counts, p0: f64) -> f64 {
    let u = q - 1.0;
    candidate.bad as f64 * u.ln_1p() - candidate.requests as f64 * p0 * u
}

fn kappa(candidate: Counts, stable: Counts, rho: f64) -> Option<f64> {
    (candidate.requests > 0 && stable.requests > 0)
        .then(|| rho * candidate.requests as f64 / stable.requests as f64)
}

fn bet(u: f64, kappa: f64, candidate: Counts, stable: Counts, delta: f64) -> f64 {
    // Written as ln_1p because u and kappa u are small whenever one arm is much larger than the other.
    candidate.bad as f64 * u.ln_1p() + stable.bad as f64 * (-kappa * u).ln_1p()
        - delta * candidate.requests as f64 * u
}
