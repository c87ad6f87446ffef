//! How many pods a share needs and how many must be ready for it: law 1 in integers.

use crossfade_api::Weight;

/// Pods of the candidate for a share behind a plain Service, which splits by ready pods:
/// `max(minimum, floor(bp * N / (10000 - bp)))`, at most N; N for the whole.
#[must_use]
pub fn candidate_size(weight: Weight, replicas: u32, minimum: u32) -> u32 {
    let points = u64::from(weight.basis_points());
    if points >= 10_000 {
        return replicas;
    }
    let size = points * u64::from(replicas) / (10_000 - points);
    u32::try_from(size)
        .unwrap_or(u32::MAX)
        .max(minimum)
        .min(replicas)
}

/// The share that `candidate` pods beside `stable` pods really get.
#[must_use]
pub fn real_share(candidate: u32, stable: u32) -> Weight {
    Weight::share(candidate, candidate.saturating_add(stable))
}

/// Ready pods a side needs for a share of the traffic: `ceil(share * N) - maxUnavailable`, at least
/// one. N is the smaller of N now and the N for which the side was last complete, so that raising N
/// lowers nothing.
#[must_use]
pub fn enough(share: Weight, replicas: u32, complete_for: u32, max_unavailable: u32) -> u32 {
    let replicas = u64::from(if complete_for == 0 {
        replicas
    } else {
        replicas.min(complete_for)
    });
    let needed = (u64::from(share.basis_points()) * replicas).div_ceil(10_000);
    u32::try_from(needed)
        .unwrap_or(u32::MAX)
        .saturating_sub(max_unavailable)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(points: u32) -> Weight {
        Weight::from_basis_points(points).unwrap()
    }

    #[test]
    fn sizes_of_the_design() {
        for (points, replicas, minimum, size) in [
            (500, 4, 1, 1),
            (2000, 4, 1, 1),
            (5000, 4, 1, 4),
            (5000, 3, 1, 3),
            (500, 100, 1, 5),
            (500, 100, 8, 8),
            (9900, 4, 1, 4),
            (10_000, 7, 1, 7),
            (0, 4, 1, 1),
            (0, 4, 9, 4),
        ] {
            assert_eq!(
                candidate_size(weight(points), replicas, minimum),
                size,
                "{points} of {replicas}"
            );
        }
    }

    #[test]
    fn raising_n_lowers_nothing() {
        assert_eq!(enough(Weight::FULL, 4, 0, 1), 3);
        assert_eq!(enough(Weight::FULL, 8, 4, 1), 3);
        assert_eq!(enough(Weight::FULL, 3, 8, 0), 3);
        assert_eq!(enough(weight(2000), 4, 0, 1), 1);
    }

    #[test]
    fn a_side_is_never_larger_than_the_workload() {
        for points in 0..=10_000 {
            for replicas in 0..=12 {
                let size = candidate_size(weight(points), replicas, 1);
                assert!(size <= replicas);
                if size > 1 && points < 10_000 {
                    // Rounded down: the real share is at most the one asked for.
                    assert!(
                        real_share(size, replicas).basis_points() <= points.max(5000),
                        "{points} of {replicas}"
                    );
                }
            }
        }
    }
}
