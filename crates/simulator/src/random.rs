//! Random numbers from a seed: every part of a world draws from a generator of its own, so that a
//! part that draws more does not move the others. Not here: what is drawn.

use fastrand::Rng;

/// The generator of one part of a world.
#[must_use]
pub fn of(seed: u64, part: &str) -> Rng {
    Rng::with_seed(digest(seed, part.as_bytes()))
}

/// FNV-1a over bytes, begun with a seed. For seeds and fingerprints of traces only.
#[must_use]
pub fn digest(seed: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

/// True in `percent` of a hundred draws.
pub fn chance(draw: &mut Rng, percent: u32) -> bool {
    draw.u32(0..100) < percent
}

/// One of a list that is not empty.
pub fn one_of<T: Copy>(draw: &mut Rng, list: &[T], otherwise: T) -> T {
    draw.choice(list.iter()).copied().unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_differ_and_repeat() {
        assert_eq!(of(7, "faults").u64(..), of(7, "faults").u64(..));
        assert_ne!(of(7, "faults").u64(..), of(7, "actors").u64(..));
        assert_ne!(of(7, "faults").u64(..), of(8, "faults").u64(..));
    }
}
