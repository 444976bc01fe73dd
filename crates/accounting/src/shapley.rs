//! The mechanism × channel matrix over the fifteen worlds, in sixths (market: 4.2, attribution: A8).

use crate::world::Mechanisms;

/// One parent's shortfall in each of the fifteen worlds, in half-tick-lots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorldValues([i128; Mechanisms::WORLDS]);

/// A value for each of the three causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// H.
    pub hint_fault: i128,
    /// M.
    pub migration_copy: i128,
    /// D.
    pub dispatch_jitter: i128,
}

/// C_numa split by cause and channel, in sixths of a half-tick-lot. Parts may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shapley {
    /// 6·C_hint_fault, 6·C_migration_copy and 6·C_dispatch_jitter: the causes with every place in the queue kept.
    pub direct: Causes,
    /// What each cause adds when a late child also loses its place; the sum is 6·C_queue_decay.
    pub queue_decay: Causes,
}

/// What each mechanism adds to the shortfall, in half-tick-lots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// H.
    pub hint_fault: i128,
    /// M.
    pub migration_copy: i128,
    /// D.
    pub dispatch_jitter: i128,
    /// Q.
    pub queue_decay: i128,
}

/// The least and the most that each mechanism adds over the 24 orders in which the four can be added one by one. How far the two
/// lie apart says how much of a part is a matter of attribution (market: 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderRange {
    /// In the order that gives it least.
    pub least: Parts,
    /// In the order that gives it most.
    pub most: Parts,
}

impl WorldValues {
    /// Asks `value` for each of the fifteen worlds once.
    pub fn from_fn(value: impl FnMut(Mechanisms) -> i128) -> WorldValues {
        let mut worlds = Mechanisms::worlds().map(value);
        WorldValues(core::array::from_fn(|_| worlds.next().expect("there are as many worlds as values")))
    }

    /// The shortfall in a world; {Q} has that of ∅.
    #[must_use]
    pub fn get(&self, world: Mechanisms) -> i128 {
        self.0[world.index()]
    }

    /// v(real) − v(∅).
    #[must_use]
    pub fn c_numa(&self) -> i128 {
        self.get(Mechanisms::REAL) - self.get(Mechanisms::FREE)
    }

    /// The four parts of C_numa in sixths.
    ///
    /// # Panics
    /// If the parts do not sum to 6·C_numa.
    #[must_use]
    pub fn shapley_sixths(&self) -> Shapley {
        let direct = self.three_players(false);
        let with_decay = self.three_players(true);
        let shapley = Shapley { direct, queue_decay: with_decay.less(direct) };
        assert!(shapley.sum() == 6 * self.c_numa(), "the parts sum to six times C_numa: {shapley:?}");
        shapley
    }

    /// What each mechanism adds over all orders of adding them.
    #[must_use]
    pub fn order_range(&self) -> OrderRange {
        // What a mechanism adds depends on which others are there, not on their order. Of the 16 sets the mechanism itself is
        // overwritten, so that each set of the others comes twice.
        let added = |with: fn(Mechanisms, bool) -> Mechanisms| {
            let sets = (0..16u8).map(|set| Mechanisms {
                hint_fault: set & 1 != 0,
                migration_copy: set & 2 != 0,
                dispatch_jitter: set & 4 != 0,
                queue_decay: set & 8 != 0,
            });
            let steps = sets.map(|set| self.get(with(set, true)) - self.get(with(set, false)));
            steps.fold((i128::MAX, i128::MIN), |(least, most), step| (least.min(step), most.max(step)))
        };
        let hint_fault = added(|world, hint_fault| Mechanisms { hint_fault, ..world });
        let migration_copy = added(|world, migration_copy| Mechanisms { migration_copy, ..world });
        let dispatch_jitter = added(|world, dispatch_jitter| Mechanisms { dispatch_jitter, ..world });
        let queue_decay = added(|world, queue_decay| Mechanisms { queue_decay, ..world });
        let parts = |end: fn((i128, i128)) -> i128| Parts {
            hint_fault: end(hint_fault),
            migration_copy: end(migration_copy),
            dispatch_jitter: end(dispatch_jitter),
            queue_decay: end(queue_decay),
        };
        OrderRange { least: parts(|(least, _)| least), most: parts(|(_, most)| most) }
    }

    /// Shapley over H, M and D with Q fixed; weights 2, 1, 1, 2 over 6.
    fn three_players(&self, queue_decay: bool) -> Causes {
        let value = |causes: usize| {
            self.get(Mechanisms {
                hint_fault: causes & H != 0,
                migration_copy: causes & M != 0,
                dispatch_jitter: causes & D != 0,
                queue_decay,
            })
        };
        let share = |player: usize| {
            let [first, second] = others(player);
            let joins = |coalition: usize| value(coalition | player) - value(coalition);
            2 * joins(0) + joins(first) + joins(second) + 2 * joins(first | second)
        };
        Causes { hint_fault: share(H), migration_copy: share(M), dispatch_jitter: share(D) }
    }
}

const H: usize = 1;
const M: usize = 2;
const D: usize = 4;

fn others(player: usize) -> [usize; 2] {
    match player {
        H => [M, D],
        M => [H, D],
        _ => [H, M],
    }
}

impl Causes {
    /// The sum over the causes.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.hint_fault + self.migration_copy + self.dispatch_jitter
    }

    fn less(self, other: Causes) -> Causes {
        Causes {
            hint_fault: self.hint_fault - other.hint_fault,
            migration_copy: self.migration_copy - other.migration_copy,
            dispatch_jitter: self.dispatch_jitter - other.dispatch_jitter,
        }
    }
}

impl Shapley {
    /// 6·C_queue_decay.
    #[must_use]
    pub fn c_queue_decay(&self) -> i128 {
        self.queue_decay.sum()
    }

    /// 6·C_numa.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.direct.sum() + self.queue_decay.sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The mean over the six orders of joining, times six, written out order by order.
    fn naive(values: &WorldValues, queue_decay: bool) -> Causes {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let mut shares = [0; 3];
        for order in orders {
            let mut world = Mechanisms { queue_decay, ..Mechanisms::FREE };
            for player in order {
                let before = values.get(world);
                *[&mut world.hint_fault, &mut world.migration_copy, &mut world.dispatch_jitter][player] =
                    true;
                shares[player] += values.get(world) - before;
            }
        }
        Causes { hint_fault: shares[0], migration_copy: shares[1], dispatch_jitter: shares[2] }
    }

    fn any_values() -> impl Strategy<Value = WorldValues> {
        prop::array::uniform15(-1_000_000_000_000i128..1_000_000_000_000).prop_map(WorldValues)
    }

    proptest! {
        #[test]
        fn parts_are_the_mean_over_all_orders_and_sum_to_six_times_the_whole(values in any_values()) {
            let shapley = values.shapley_sixths();
            prop_assert_eq!(shapley.direct, naive(&values, false));
            let with_decay = naive(&values, true);
            prop_assert_eq!(shapley.queue_decay, with_decay.less(naive(&values, false)));
            prop_assert_eq!(shapley.sum(), 6 * values.c_numa());
            let hmd = values.get(Mechanisms { queue_decay: false, ..Mechanisms::REAL });
            prop_assert_eq!(shapley.c_queue_decay(), 6 * (values.get(Mechanisms::REAL) - hmd));
        }

        #[test]
        fn the_order_range_is_that_of_the_24_orders(values in any_values()) {
            let (mut least, mut most) = ([i128::MAX; 4], [i128::MIN; 4]);
            let mut orders = 0;
            for code in 0..256 {
                let order = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6];
                if (0..4).any(|player| !order.contains(&player)) {
                    continue;
                }
                orders += 1;
                let mut world = Mechanisms::FREE;
                for player in order {
                    let before = values.get(world);
                    let switch = match player {
                        0 => &mut world.hint_fault,
                        1 => &mut world.migration_copy,
                        2 => &mut world.dispatch_jitter,
                        _ => &mut world.queue_decay,
                    };
                    *switch = true;
                    let added = values.get(world) - before;
                    least[player] = least[player].min(added);
                    most[player] = most[player].max(added);
                }
            }
            prop_assert_eq!(orders, 24);
            let parts = |[hint_fault, migration_copy, dispatch_jitter, queue_decay]: [i128; 4]| {
                Parts { hint_fault, migration_copy, dispatch_jitter, queue_decay }
            };
            prop_assert_eq!(values.order_range(), OrderRange { least: parts(least), most: parts(most) });
            let Shapley { direct, .. } = values.shapley_sixths();
            prop_assert!(6 * least[0] <= direct.hint_fault && direct.hint_fault <= 6 * most[0]);
        }

        #[test]
        fn a_mechanism_that_changes_nothing_costs_nothing(values in any_values()) {
            let blind_to_m = WorldValues::from_fn(|world| values.get(Mechanisms { migration_copy: false, ..world }));
            let shapley = blind_to_m.shapley_sixths();
            prop_assert_eq!(shapley.direct.migration_copy, 0);
            prop_assert_eq!(shapley.queue_decay.migration_copy, 0);
        }
    }

    #[test]
    fn costs_that_only_add_up_are_found_again() {
        let values = WorldValues::from_fn(|world| {
            let lost = i128::from(world.queue_decay && world.dispatch_jitter) * 100;
            1_000
                + i128::from(world.hint_fault) * 3
                + i128::from(world.migration_copy) * 7
                + i128::from(world.dispatch_jitter) * -20
                + lost
        });
        let shapley = values.shapley_sixths();
        assert_eq!(shapley.direct, Causes { hint_fault: 18, migration_copy: 42, dispatch_jitter: -120 });
        assert_eq!(shapley.queue_decay, Causes { hint_fault: 0, migration_copy: 0, dispatch_jitter: 600 });
    }

    #[test]
    fn head_of_line_blocking_is_shared_between_the_fault_and_the_queue() {
        let values = WorldValues::from_fn(|world| i128::from(world.hint_fault && world.dispatch_jitter) * 10);
        let shapley = values.shapley_sixths();
        assert_eq!(shapley.direct, Causes { hint_fault: 30, migration_copy: 0, dispatch_jitter: 30 });
        assert_eq!(shapley.c_queue_decay(), 0);
    }
}
