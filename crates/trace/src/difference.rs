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
