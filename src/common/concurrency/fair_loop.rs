//! Long loops of asynchronous tasks, which leave the thread to other tasks now and then.

use tokio::task::yield_now;

/// Number of items between two yields. 32 items of a long list take well under a millisecond, and
/// the yield itself costs less than one of them.
const ITEMS_PER_TURN: usize = 32;

/// Calls `action` for each item, and yields to the other tasks of the thread after every 32 items.
/// A request about ten thousand stores thus delays no other request.
///
/// # Cancel safety
/// Dropping the future ends the loop between two items.
pub async fn for_each_fairly<I: IntoIterator>(items: I, mut action: impl FnMut(I::Item)) {
    for (number, item) in (1..=ITEMS_PER_TURN).cycle().zip(items) {
        action(item);
        if number == ITEMS_PER_TURN {
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn the_loop_yields_after_every_32_items_and_omits_none() {
        for (items, expected_turns) in [(0, 1), (1, 1), (31, 1), (32, 2), (63, 2), (10_000, 313)] {
            let (mut seen, mut turns) = (Vec::new(), 0);
            {
                let mut counted = pin!(for_each_fairly(0..items, |item| seen.push(item)));
                poll_fn(|context| {
                    turns += 1;
                    counted.as_mut().poll(context)
                })
                .await;
            }
            assert_eq!((turns, seen), (expected_turns, (0..items).collect()));
        }
    }
}
