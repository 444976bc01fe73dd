//! The counterfactual worlds (attribution: A1, A4, A8).

use core::fmt;

/// Which of balancing's mechanisms cost time. The kernel's rules execute in every case (attribution: A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mechanisms {
    /// H: fault entry, accounting and placement inside the fault.
    pub hint_fault: bool,
    /// M: page copies and what they delay.
    pub migration_copy: bool,
    /// D: scan passes, shootdowns and the transmission of stalls through the dispatch queue.
    pub dispatch_jitter: bool,
    /// Q: a late child also loses the place of its on-time arrival.
    pub queue_decay: bool,
}

/// A world in which a whole run takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum World {
    /// Balancing as the scenario configures it, with some mechanisms costing time.
    Balancing(Mechanisms),
    /// numa_balancing=0 from before the start, same initial placement.
    Off,
}

impl Mechanisms {
    /// Every mechanism: the real run.
    pub const REAL: Mechanisms =
        Mechanisms { hint_fault: true, migration_copy: true, dispatch_jitter: true, queue_decay: true };

    /// None: the same balancing, free and instant.
    pub const FREE: Mechanisms =
        Mechanisms { hint_fault: false, migration_copy: false, dispatch_jitter: false, queue_decay: false };

    /// How many distinct worlds the subsets make: 16 less {Q}, which equals ∅ (attribution: A7, A8).
    pub const WORLDS: usize = 15;

    /// The distinct worlds in the order of [`Mechanisms::index`], ∅ first and the real one last.
    pub fn worlds() -> impl Iterator<Item = Mechanisms> {
        (0..Mechanisms::WORLDS).map(Mechanisms::from_index)
    }

    /// The dense index, 0 to 14. {Q} has the index of ∅, whose world it is.
    #[must_use]
    pub fn index(self) -> usize {
        let causes = usize::from(self.hint_fault)
            | usize::from(self.migration_copy) << 1
            | usize::from(self.dispatch_jitter) << 2;
        if self.queue_decay && causes > 0 { causes + 7 } else { causes }
    }

    /// The world at a dense index.
    ///
    /// # Panics
    /// If there is no such world.
    #[must_use]
    pub fn from_index(index: usize) -> Mechanisms {
        assert!(index < Mechanisms::WORLDS, "there are {} worlds", Mechanisms::WORLDS);
        let queue_decay = index > 7;
        let causes = if queue_decay { index - 7 } else { index };
        Mechanisms {
            hint_fault: causes & 1 != 0,
            migration_copy: causes & 2 != 0,
            dispatch_jitter: causes & 4 != 0,
            queue_decay,
        }
    }
}

impl World {
    /// The real run.
    pub const REAL: World = World::Balancing(Mechanisms::REAL);

    /// The reference of C_numa, v(∅).
    pub const FREE: World = World::Balancing(Mechanisms::FREE);
}

impl fmt::Display for Mechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Mechanisms::FREE {
            return f.write_str("free");
        }
        let letters = [
            (self.hint_fault, "H"),
            (self.migration_copy, "M"),
            (self.dispatch_jitter, "D"),
            (self.queue_decay, "Q"),
        ];
        letters.into_iter().filter(|(on, _)| *on).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            World::Balancing(mechanisms) => mechanisms.fmt(f),
            World::Off => f.write_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_fifteen_worlds_are_distinct_and_leave_out_only_queue_decay_alone() {
        let worlds: BTreeSet<_> = Mechanisms::worlds().collect();
        let queue_alone = Mechanisms { queue_decay: true, ..Mechanisms::FREE };
        assert_eq!(worlds.len(), 15);
        assert!(!worlds.contains(&queue_alone));
        assert_eq!(queue_alone.index(), Mechanisms::FREE.index());
        assert_eq!(Mechanisms::from_index(0), Mechanisms::FREE);
        assert_eq!(Mechanisms::from_index(14), Mechanisms::REAL);
    }

    #[test]
    fn an_index_finds_its_world_again() {
        for (index, world) in Mechanisms::worlds().enumerate() {
            assert_eq!(world.index(), index);
        }
    }

    #[test]
    fn worlds_are_named_by_their_letters() {
        let names: Vec<_> = Mechanisms::worlds().map(|world| world.to_string()).collect();
        assert_eq!(names.join(" "), "free H M HM D HD MD HMD HQ MQ HMQ DQ HDQ MDQ HMDQ");
        assert_eq!(World::Off.to_string(), "off");
        assert_eq!(World::REAL.to_string(), "HMDQ");
    }
}
