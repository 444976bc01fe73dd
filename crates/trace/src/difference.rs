//! Where two runs part.

use std::collections::VecDeque;

use numashock_engine::Recorded;

/// The first event that two streams do not share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// How many events they share.
    pub shared: u64,
    /// The last of these, oldest first.
    pub before: Vec<Recorded>,
    /// The first that differs and what follows it on the left; empty if the left ends here.
    pub left: Vec<Recorded>,
    /// The same on the right.
    pub right: Vec<Recorded>,
}

/// The first difference of two streams of events, with up to `around` events before it and behind it on each side; `None` if
/// they are equal.
///
/// # Errors
/// If one of them cannot be read so far.
pub fn first_difference<E>(
    left: impl IntoIterator<Item = Result<Recorded, E>>,
    right: impl IntoIterator<Item = Result<Recorded, E>>,
    around: usize,
) -> Result<Option<Difference>, E> {
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    let mut before = VecDeque::new();
    let mut shared = 0;
    loop {
        let (one, other) = (left.next().transpose()?, right.next().transpose()?);
        if one != other {
            let rest = |first: Option<Recorded>, events: &mut dyn Iterator<Item = Result<Recorded, E>>| {
                let follow = if first.is_some() { around } else { 0 };
                first.map(Ok).into_iter().chain(events.take(follow)).collect::<Result<Vec<_>, E>>()
            };
            let (left, right) = (rest(one, &mut left)?, rest(other, &mut right)?);
            return Ok(Some(Difference { shared, before: before.into(), left, right }));
        }
        let Some(event) = one else { return Ok(None) };
        shared += 1;
        before.push_back(event);
        if before.len() > around {
            before.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numashock_engine::Nanos;

    fn events(ats: &[u64]) -> Vec<Recorded> {
        ats.iter().map(|at| Recorded { at: Nanos(*at), kind: 1, source: 0, payload: [0; 2] }).collect()
    }

    fn difference(left: &[u64], right: &[u64], around: usize) -> Option<Difference> {
        let good = |ats| events(ats).into_iter().map(Ok::<_, ()>);
        first_difference(good(left), good(right), around).unwrap()
    }

    #[test]
    fn the_first_difference_comes_with_its_surroundings() {
        assert_eq!(difference(&[1, 2, 3], &[1, 2, 3], 2), None);
        let found = difference(&[1, 2, 3, 4, 5, 6, 7], &[1, 2, 3, 5, 6, 7, 8], 2).unwrap();
        assert_eq!((found.shared, found.before), (3, events(&[2, 3])));
        assert_eq!((found.left, found.right), (events(&[4, 5, 6]), events(&[5, 6, 7])));
        let found = difference(&[1, 2], &[1, 2, 3, 4], 0).unwrap();
        assert_eq!((found.shared, found.before, found.left), (2, vec![], vec![]));
        assert_eq!(found.right, events(&[3]));
    }

    #[test]
    fn a_stream_that_fails_before_any_difference_is_no_equal_one() {
        let failing = || events(&[1]).into_iter().map(Ok).chain([Err("damaged")]);
        assert_eq!(first_difference(failing(), failing(), 3), Err("damaged"));
        let whole = || events(&[2]).into_iter().map(Ok);
        assert_eq!(first_difference(failing(), whole(), 0).unwrap().unwrap().shared, 0);
    }
}
