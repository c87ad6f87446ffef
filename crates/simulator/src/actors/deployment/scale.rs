//! `scale()` of the Deployment controller, as numbers: how large each ReplicaSet should be when the
//! Deployment is paused or was scaled. Pure: nothing is written here.
//!
//! After `pkg/controller/deployment/sync.go` of Kubernetes 1.34, with its known oddities: a
//! ReplicaSet without the annotation for the largest size can grow while the total must shrink.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value;

use super::numbers::{DESIRED, MAXIMUM, asked, counted, max_surge, rolling};
use crate::actors::object::{name, number, replicas, text};

/// What `scale()` wants of one ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Which.
    pub set: Arc<Value>,
    /// Its size.
    pub size: i64,
    /// Whether it is written even if only its annotations are out of date.
    pub refresh: bool,
}

/// By creation, then name: the order in which the oldest match wins.
#[must_use]
pub fn by_creation(left: &Value, right: &Value) -> Ordering {
    let of = |set| text(set, "/metadata/creationTimestamp");
    of(left)
        .cmp(of(right))
        .then_with(|| name(left).cmp(name(right)))
}

/// Whether a ReplicaSet is to have pods.
#[must_use]
pub fn active(set: &Value) -> bool {
    replicas(set) > 0
}

/// The wishes in the order in which they are written. `old` holds every ReplicaSet but the new one.
#[must_use]
pub fn wishes(deployment: &Value, new: Option<&Arc<Value>>, old: &[Arc<Value>]) -> Vec<Wish> {
    let wanted = replicas(deployment);
    let resize = |set: &Arc<Value>, size| Wish {
        set: Arc::clone(set),
        size,
        refresh: false,
    };
    let mut old = old.to_vec();
    old.sort_by(|left, right| by_creation(right, left));
    let mut running: Vec<Arc<Value>> = old
        .iter()
        .chain(new)
        .filter(|set| active(set))
        .cloned()
        .collect();
    match running.as_slice() {
        [] => {
            return new
                .or_else(|| old.first())
                .map(|set| resize(set, wanted))
                .into_iter()
                .collect();
        }
        [only] => return vec![resize(only, wanted)],
        _ => {}
    }
    if new.is_some_and(|new| saturated(deployment, new)) {
        return old
            .iter()
            .filter(|set| active(set))
            .map(|set| resize(set, 0))
            .collect();
    }
    if !rolling(deployment) {
        return Vec::new();
    }
    let allowed = if wanted > 0 {
        wanted + max_surge(deployment)
    } else {
        0
    };
    let to_add = allowed - asked(&running);
    // The larger first; of equal ones the newer grows first and the older shrinks first.
    running.sort_by(|left, right| {
        replicas(right)
            .cmp(&replicas(left))
            .then_with(|| match to_add.cmp(&0) {
                Ordering::Greater => by_creation(right, left),
                _ => by_creation(left, right),
            })
    });
    let mut added = 0;
    let mut wishes: Vec<Wish> = running
        .iter()
        .map(|set| {
            let part = proportion(set, deployment, to_add, added);
            added += part;
            Wish {
                set: Arc::clone(set),
                size: replicas(set) + part,
                refresh: true,
            }
        })
        .collect();
    if let Some(first) = wishes.first_mut() {
        first.size = (first.size + to_add - added).max(0);
    }
    wishes
}

/// All of the new ReplicaSet is there, and it knows it.
fn saturated(deployment: &Value, set: &Value) -> bool {
    let wanted = replicas(deployment);
    replicas(set) == wanted
        && counted(set, DESIRED) == Some(wanted)
        && number(set, "/status/availableReplicas") == wanted
}

fn proportion(set: &Value, deployment: &Value, to_add: i64, added: i64) -> i64 {
    if to_add == 0 || to_add == added {
        return 0;
    }
    let allowed = to_add - added;
    let fraction = fraction(set, deployment);
    if to_add > 0 {
        fraction.min(allowed)
    } else {
        fraction.max(allowed)
    }
}

fn fraction(set: &Value, deployment: &Value) -> i64 {
    let size = replicas(set);
    if replicas(deployment) == 0 {
        return -size;
    }
    let before = counted(set, MAXIMUM)
        .filter(|before| *before != 0)
        .unwrap_or_else(|| number(deployment, "/status/replicas"));
    if before == 0 {
        return 0;
    }
    let total = replicas(deployment) + max_surge(deployment);
    rounded(size * total, before) - size
}

/// Half away from zero, as the server rounds. Both are positive here.
fn rounded(part: i64, whole: i64) -> i64 {
    (2 * part + whole).div_euclid(2 * whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Set(&'static str, i64, Option<i64>, Option<i64>, i64);

    fn set(Set(name, size, desired, maximum, available): &Set) -> Arc<Value> {
        let mut annotations = json!({});
        if let Some(desired) = desired {
            annotations[DESIRED] = desired.to_string().into();
        }
        if let Some(maximum) = maximum {
            annotations[MAXIMUM] = maximum.to_string().into();
        }
        // Older ones sort first by their name.
        Arc::new(json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations},
            "spec": {"replicas": size}, "status": {"availableReplicas": available},
        }))
    }

    fn sizes(count: i64, surge: Value, status: i64, old: &[Set], new: &Set) -> Vec<(String, i64)> {
        let deployment = json!({"spec": {"replicas": count, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": "25%"}}}, "status": {"replicas": status}});
        let old: Vec<Arc<Value>> = old.iter().map(set).collect();
        wishes(&deployment, Some(&set(new)), &old)
            .iter()
            .map(|wish| (name(&wish.set).to_owned(), wish.size))
            .collect()
    }

    fn expect(found: &[(String, i64)], wanted: &[(&str, i64)]) {
        let mut found = found.to_vec();
        found.sort();
        let wanted: Vec<(String, i64)> = wanted
            .iter()
            .map(|(name, size)| ((*name).to_owned(), *size))
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn measured_on_a_real_cluster() {
        let share = || json!("25%");
        // N was lowered to 8 before a candidate of 10 came: it shrinks to 2.
        expect(
            &sizes(
                8,
                share(),
                8,
                &[Set("a", 8, Some(8), Some(10), 8)],
                &Set("b", 10, Some(10), Some(13), 10),
            ),
            &[("a", 8), ("b", 2)],
        );
        // The candidate is larger than the workload.
        expect(
            &sizes(
                10,
                share(),
                10,
                &[Set("a", 10, Some(10), Some(13), 10)],
                &Set("b", 12, Some(12), Some(15), 12),
            ),
            &[("a", 10), ("b", 3)],
        );
        // A larger surge at the candidate, one pod not ready.
        expect(
            &sizes(
                10,
                share(),
                10,
                &[Set("a", 10, Some(10), Some(13), 10)],
                &Set("b", 10, Some(10), Some(20), 9),
            ),
            &[("a", 6), ("b", 7)],
        );
        // The same, all available: saturated.
        expect(
            &sizes(
                10,
                share(),
                10,
                &[Set("a", 10, Some(10), Some(13), 10)],
                &Set("b", 10, Some(10), Some(20), 10),
            ),
            &[("a", 0)],
        );
        // One not ready, equal surge.
        expect(
            &sizes(
                10,
                share(),
                10,
                &[Set("a", 10, Some(10), Some(13), 10)],
                &Set("b", 10, Some(10), Some(13), 9),
            ),
            &[("a", 3), ("b", 10)],
        );
        // Half the size: the new one grows.
        expect(
            &sizes(
                10,
                share(),
                10,
                &[Set("a", 10, Some(10), Some(13), 10)],
                &Set("b", 5, Some(5), Some(7), 5),
            ),
            &[("a", 4), ("b", 9)],
        );
        // Without annotations the new one grows although the total must shrink.
        expect(
            &sizes(
                10,
                share(),
                10,
                &[Set("a", 10, Some(10), Some(13), 10)],
                &Set("b", 10, None, None, 10),
            ),
            &[("a", 0), ("b", 13)],
        );
        // No surge, not saturated.
        expect(
            &sizes(
                10,
                json!(0),
                10,
                &[Set("a", 10, Some(10), Some(10), 10)],
                &Set("b", 10, Some(10), Some(10), 9),
            ),
            &[("a", 0), ("b", 10)],
        );
        // One 10, one 1 asked for by hand: pushed to N + surge.
        expect(
            &sizes(
                10,
                share(),
                11,
                &[Set("a", 10, Some(10), Some(13), 10)],
                &Set("b", 1, Some(10), Some(13), 1),
            ),
            &[("a", 12), ("b", 1)],
        );
    }

    #[test]
    fn one_active_is_held_and_none_active_starts_the_newest() {
        let deployment = json!({"spec": {"replicas": 4}});
        let old = [
            set(&Set("a", 0, None, None, 0)),
            set(&Set("b", 0, None, None, 0)),
        ];
        let found = wishes(&deployment, None, &old);
        assert_eq!((name(&found[0].set), found[0].size), ("b", 4));
        let old = [
            set(&Set("a", 2, None, None, 0)),
            set(&Set("b", 0, None, None, 0)),
        ];
        let found = wishes(&deployment, None, &old);
        assert_eq!(
            (found.len(), name(&found[0].set), found[0].size),
            (1, "a", 4)
        );
        assert!(wishes(&deployment, None, &[]).is_empty());
    }

    #[test]
    fn recreate_does_nothing_with_two() {
        let deployment = json!({"spec": {"replicas": 4, "strategy": {"type": "Recreate"}}});
        let old = [set(&Set("a", 2, None, None, 0))];
        assert!(wishes(&deployment, Some(&set(&Set("b", 3, None, None, 0))), &old).is_empty());
    }

    /// Smallest size of the new one on the way to rest, from every start that is asked for.
    fn smallest(count: i64, surge: &Value, old: &Set, new: &Set) -> i64 {
        let deployment = json!({"spec": {"replicas": count, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": "25%"}}}, "status": {"replicas": count}});
        let maximum = count + max_surge(&deployment);
        let (mut old, mut new) = (set(old), set(new));
        let mut least = replicas(&new);
        for _ in 0..10 {
            let mut moved = false;
            for wish in wishes(&deployment, Some(&new), &[Arc::clone(&old)]) {
                if replicas(&wish.set) == wish.size && !wish.refresh {
                    continue;
                }
                let one = if name(&wish.set) == "a" {
                    &mut old
                } else {
                    &mut new
                };
                let mut copy = (**one).clone();
                copy["spec"]["replicas"] = wish.size.into();
                copy["metadata"]["annotations"][DESIRED] = count.to_string().into();
                copy["metadata"]["annotations"][MAXIMUM] = maximum.to_string().into();
                let available = number(&copy, "/status/availableReplicas").min(wish.size);
                copy["status"]["availableReplicas"] = available.into();
                moved |= copy != **one;
                *one = Arc::new(copy);
            }
            least = least.min(replicas(&new));
            if !moved {
                return least;
            }
        }
        panic!("does not come to rest");
    }

    /// With every size up to 12 and 0 or 1 pods of the new one missing.
    fn falls(
        keep: impl Fn(i64, i64, i64) -> bool,
        surge_of_new: impl Fn(i64, i64) -> i64,
    ) -> (u32, u32) {
        let (mut starts, mut fell) = (0, 0);
        let quarter = |size: i64| (size + 3) / 4;
        for count in 1..=12 {
            for (had, comes) in (1..=12).flat_map(|had| (1..=12).map(move |comes| (had, comes))) {
                if !keep(count, had, comes) {
                    continue;
                }
                for missing in 0..=1 {
                    let old = Set("a", had, Some(had), Some(had + quarter(had)), had);
                    let maximum = surge_of_new(count, comes);
                    let new = Set("b", comes, Some(comes), Some(maximum), comes - missing);
                    starts += 1;
                    fell +=
                        u32::from(smallest(count, &json!("25%"), &old, &new) < comes.min(count));
                }
            }
        }
        (starts, fell)
    }

    #[test]
    fn what_is_safe_to_hand_over() {
        let quarter = |size: i64| (size + 3) / 4;
        let (starts, fell) = falls(
            |_, had, comes| comes <= had,
            |count, _| count + quarter(count),
        );
        assert_eq!(
            (starts > 1800, fell),
            (true, 0),
            "not larger than the old, with the workload's maximum"
        );
        let (_, fell) = falls(
            |count, had, comes| comes <= had && comes <= count,
            |_, comes| comes + quarter(comes),
        );
        assert_eq!(fell, 0, "nor than N, with the same strategy");
        let (starts, fell) = falls(
            |_, had, comes| comes > had,
            |_, comes| comes + quarter(comes),
        );
        assert!(
            fell * 2 > starts,
            "larger than the old one: {fell} of {starts} fell"
        );
        let (_, fell) = falls(|_, had, comes| comes <= had, |_, comes| 2 * comes);
        assert!(fell > 0, "with a surge of 100 % of its own");
    }
}
