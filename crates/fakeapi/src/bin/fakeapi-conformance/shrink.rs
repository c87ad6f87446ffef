//! The shortest script that still shows something: leaves requests out, large pieces first, as long as
//! the difference stays. Knows nothing of requests.

/// A part of `items`, in their order, for which `shows` is still true, and from which no single one can be left
/// out. At most `tries` calls of `shows`; `items` itself is taken to show it.
pub async fn shrink<T: Clone>(
    items: &[T],
    mut tries: usize,
    mut shows: impl AsyncFnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut smallest = items.to_vec();
    let mut piece = smallest.len().div_ceil(2);
    while piece > 0 {
        // From the end: what comes late rarely prepares what comes early.
        let mut end = smallest.len();
        let mut shorter = false;
        while end > 0 {
            let begin = end.saturating_sub(piece);
            let mut candidate = smallest.clone();
            candidate.drain(begin..end);
            if tries == 0 {
                return smallest;
            }
            if !candidate.is_empty() {
                tries -= 1;
                if shows(&candidate).await {
                    smallest = candidate;
                    shorter = true;
                }
            }
            end = begin;
        }
        if piece == 1 && !shorter {
            break;
        }
        piece = if piece == 1 { 1 } else { piece.div_ceil(2) };
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::shrink;

    #[tokio::test]
    async fn only_what_is_needed_stays_in_its_order() {
        let items: Vec<u32> = (0..30).collect();
        let found = shrink(&items, 1000, async |part: &[u32]| {
            part.contains(&3) && part.contains(&17) && part.contains(&29)
        })
        .await;
        assert_eq!(found, [3, 17, 29]);
    }

    #[tokio::test]
    async fn it_gives_up_after_so_many_tries() {
        let items: Vec<u32> = (0..30).collect();
        let mut calls = 0;
        shrink(&items, 7, async |part: &[u32]| {
            calls += 1;
            part.contains(&3)
        })
        .await;
        assert!(calls <= 7);
    }

    #[tokio::test]
    async fn a_pair_that_only_shows_together_is_found() {
        let items: Vec<u32> = (0..16).collect();
        let found = shrink(&items, 1000, async |part: &[u32]| {
            part.iter().filter(|item| **item % 5 == 0).count() >= 2
        })
        .await;
        assert_eq!(found.len(), 2);
    }
}
