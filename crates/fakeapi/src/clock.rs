//! Time stamps and numbers that only look random: both come from what the caller gave. Nothing here
//! reads a clock or an entropy source.

use jiff::Timestamp;

/// As `metav1.Time` prints: whole seconds, UTC.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A mixing function (SplitMix64): neighbouring numbers give unrelated ones.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A uid in the shape of a random UUID (version 4, variant 1) for a seed and a running number.
pub(crate) fn uid(seed: u64, number: u64) -> String {
    let high = mix(mix(seed).wrapping_add(number.wrapping_mul(2)));
    let low = mix(mix(seed ^ 0x5bd1_e995).wrapping_add(number.wrapping_mul(2).wrapping_add(1)));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}

/// The five characters behind a generateName, from the alphabet of `k8s.io/apimachinery/pkg/util/rand`.
pub(crate) fn suffix(seed: u64, number: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut number = mix(mix(seed).wrapping_add(number));
    let mut text = String::with_capacity(5);
    for _ in 0..5 {
        let index = usize::try_from(number % 27).unwrap_or_default();
        text.push(char::from(LETTERS.get(index).copied().unwrap_or(b'x')));
        number /= 27;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_whole_seconds() {
        let time: Timestamp = "2024-05-01T10:20:30.987Z".parse().unwrap();
        assert_eq!(seconds(time), "2024-05-01T10:20:30Z");
    }

    #[test]
    fn uids_differ_by_seed_and_number_and_repeat() {
        assert_eq!(uid(1, 1), uid(1, 1));
        assert_ne!(uid(1, 1), uid(1, 2));
        assert_ne!(uid(1, 1), uid(2, 1));
        let uid = uid(7, 9);
        assert_eq!(uid.len(), 36);
        assert_eq!(uid.as_bytes()[14], b'4');
    }
}
