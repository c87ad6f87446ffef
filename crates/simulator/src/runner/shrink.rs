//! Makes a failing world smaller: leaves its faults out one at a time and keeps what still breaks the
//! same law.

use super::judge::Calm;
use super::{Done, Faults, Item, pool};
use crate::faults::Fault;

/// The law a result breaks first.
#[must_use]
pub fn law(done: &Done) -> Option<&str> {
    done.violations.first().map(|(law, _)| law.as_str())
}

/// The smallest list of faults found, and the result with it. `None` if the world does not fail.
#[must_use]
pub fn shrink(item: &Item, calm: &Calm) -> Option<(Vec<Fault>, Done)> {
    let run = |item: Item| {
        let mut done = pool::single(item);
        calm.compare(&mut done);
        done
    };
    let mut best = run(item.clone());
    let wanted = law(&best)?.to_owned();
    let mut faults = item.world().ok()?.faults;
    let mut again = true;
    while again {
        again = false;
        let mut place = 0;
        while place < faults.len() {
            let mut fewer = faults.clone();
            fewer.remove(place);
            let done = run(Item {
                faults: Faults::These(fewer.clone()),
                ..item.clone()
            });
            if law(&done) == Some(&wanted) {
                (faults, best, again) = (fewer, done, true);
            } else {
                place += 1;
            }
        }
    }
    Some((faults, best))
}
