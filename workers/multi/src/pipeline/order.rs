//! An order in which each stage stands after those that it needs, or the circle that allows none.

/// The order of `needs.len()` stages, of which the nth needs those with the numbers `needs[n]`: of those that may come next, the first
/// as they were given.
///
/// # Errors
/// A circle: each needs the next, and the last needs the first.
pub(crate) fn order(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut placed = vec![false; needs.len()];
    let mut order = Vec::with_capacity(needs.len());
    let is_placed = |placed: &[bool], n: &usize| placed.get(*n).copied().unwrap_or(false);
    while order.len() < needs.len() {
        let mut waiting = needs.iter().enumerate().filter(|(n, _)| !is_placed(&placed, n));
        match waiting.find(|(_, needed)| needed.iter().all(|n| is_placed(&placed, n))) {
            Some((next, _)) => {
                order.push(next);
                if let Some(placed) = placed.get_mut(next) {
                    *placed = true;
                }
            }
            None => return Err(circle(needs, &placed)),
        }
    }
    Ok(order)
}

/// Every stage left over needs another one left over: whoever follows them comes back to where they have been.
fn circle(needs: &[Vec<usize>], placed: &[bool]) -> Vec<usize> {
    let is_left = |n: &usize| !placed.get(*n).copied().unwrap_or(true);
    let mut way: Vec<usize> = (0..needs.len()).find(is_left).into_iter().collect();
    loop {
        let here = way.last().copied().unwrap_or_default();
        let next = needs.get(here).and_then(|needed| needed.iter().copied().find(is_left)).unwrap_or_default();
        match way.iter().position(|been| *been == next) {
            Some(begin) => return way.split_off(begin),
            None => way.push(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_is_needed_comes_first_and_else_all_stay_as_they_were() {
        assert_eq!(order(&[vec![], vec![0], vec![1]]), Ok(vec![0, 1, 2]));
        assert_eq!(order(&[vec![2], vec![], vec![1]]), Ok(vec![1, 2, 0]));
        assert_eq!(order(&[vec![], vec![], vec![]]), Ok(vec![0, 1, 2]));
    }

    #[test]
    fn a_circle_is_told_without_what_leads_to_it() {
        assert_eq!(order(&[vec![0]]), Err(vec![0]));
        assert_eq!(order(&[vec![1], vec![2], vec![3], vec![1], vec![]]), Err(vec![1, 2, 3]));
    }

    proptest! {
        #[test]
        fn an_order_keeps_every_need_and_a_circle_is_one(needs in graph()) {
            match order(&needs) {
                Ok(order) => {
                    prop_assert_eq!(order.len(), needs.len());
                    for (at, stage) in order.iter().enumerate() {
                        let before = order.get(..at).expect("up to here");
                        prop_assert!(needs.get(*stage).expect("a stage").iter().all(|need| before.contains(need)));
                    }
                }
                Err(circle) => {
                    for (at, stage) in circle.iter().enumerate() {
                        let next = circle.get((at + 1) % circle.len()).expect("the next");
                        prop_assert!(needs.get(*stage).expect("a stage").contains(next));
                    }
                }
            }
        }
    }

    fn graph() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1_usize..8)
            .prop_flat_map(|stages| proptest::collection::vec(proptest::collection::vec(0..stages, 0..3), stages))
    }
}
