//! The fifteen worlds of one choice and seed, and what they say about each parent (attribution: A2, A7, A8).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use numashock_accounting::{Mechanisms, WorldValues};
use numashock_engine::{EventHash, Nanos};
use numashock_machine::Counters;
use numashock_sim::scenario::config::RunConfig;
use numashock_sim::{Replication, RunResult, Simulation};
use rayon::prelude::*;

/// Runs that the attribution adds to N, ∅ and off: the other thirteen worlds, and {Q}.
pub const MORE_RUNS: u64 = Mechanisms::WORLDS as u64 - 2 + 1;

/// What a parent's shortfall is in each world, under both marks of the unfinished lots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentValues {
    /// The unfinished lots taken from the book at the deadline.
    pub swept: WorldValues,
    /// The unfinished lots at the mid of the deadline.
    pub marked: WorldValues,
}

/// What one world leaves behind.
#[derive(Clone, Debug)]
pub struct WorldOutcome {
    /// The world.
    pub world: Mechanisms,
    /// Its event hash and the number of events in it.
    pub hash: (u64, u64),
    /// Shortfall of each parent, swept and marked.
    pub values: Vec<(i128, i128)>,
    /// Whether an own order ever joined a queue.
    pub rested: bool,
    /// Final counters of each host.
    pub counters: Vec<Counters>,
}

/// All worlds of one choice and seed, in the order of [`Mechanisms::index`].
#[derive(Clone, Debug)]
pub struct Worlds(Vec<WorldOutcome>);

impl Worlds {
    /// Runs the worlds that have not been run: `real` and `free` have. The actions of the real run are imposed on the others.
    ///
    /// Without balancing from the start every world is the free one and none is run.
    ///
    /// # Panics
    /// If {Q} is not the world ∅ event by event (attribution: A7), or an invariant of a run breaks.
    #[must_use]
    pub fn run(
        config: &RunConfig,
        replication: &Replication,
        (real, free): (&RunResult, &RunResult),
        done: &AtomicU64,
    ) -> Worlds {
        let known = [Mechanisms::REAL, Mechanisms::FREE];
        let [real_world, free_world] =
            [(known[0], real), (known[1], free)].map(|(w, r)| WorldOutcome::of(w, r));
        if !config.balances() {
            assert!(real_world.hash == free_world.hash, "without balancing nothing differs");
            done.fetch_add(MORE_RUNS, Ordering::Relaxed);
            let all = Mechanisms::worlds().map(|world| WorldOutcome { world, ..free_world.clone() });
            return Worlds(all.collect());
        }
        let steered = Arc::new(real.steered.clone());
        let alone = Mechanisms { queue_decay: true, ..Mechanisms::FREE };
        let others: Vec<Mechanisms> =
            Mechanisms::worlds().filter(|world| !known.contains(world)).chain([alone]).collect();
        let mut worlds: Vec<WorldOutcome> = others
            .into_par_iter()
            .map(|world| {
                let input = replication.input(world, true, Some(Arc::clone(&steered)), 0);
                let outcome = WorldOutcome::of(world, &Simulation::new(config, input).run());
                done.fetch_add(1, Ordering::Relaxed);
                outcome
            })
            .collect();
        let alone = worlds.pop().expect("{Q} was asked for last");
        assert!(alone.hash == free_world.hash, "{{Q}} is the free world, event by event: {:?}", alone.hash);
        worlds.insert(Mechanisms::FREE.index(), free_world);
        worlds.push(real_world);
        assert!(
            worlds.iter().map(|outcome| outcome.world).eq(Mechanisms::worlds()),
            "the worlds are in order"
        );
        Worlds(worlds)
    }

    /// The worlds, ∅ first and the real one last.
    #[must_use]
    pub fn outcomes(&self) -> &[WorldOutcome] {
        &self.0
    }

    /// A parent's shortfalls.
    #[must_use]
    pub fn parent(&self, parent: usize) -> ParentValues {
        let value = |world: Mechanisms| self.0[world.index()].values[parent];
        ParentValues {
            swept: WorldValues::from_fn(|world| value(world).0),
            marked: WorldValues::from_fn(|world| value(world).1),
        }
    }

    /// How many parents there are.
    #[must_use]
    pub fn parents(&self) -> usize {
        self.0[0].values.len()
    }

    /// One number for all event hashes.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hash = EventHash::new(0);
        self.0.iter().for_each(|world| hash.record(Nanos::ZERO, 0, [world.hash.0, world.hash.1]));
        hash.checkpoint().hash
    }
}

impl WorldOutcome {
    fn of(world: Mechanisms, result: &RunResult) -> WorldOutcome {
        let shortfalls = result.parents.iter().map(|parent| parent.shortfalls);
        WorldOutcome {
            world,
            hash: (result.hash.hash, result.hash.events),
            values: shortfalls.map(|both| (both.swept.is, both.marked.is)).collect(),
            rested: result.children.iter().any(|child| child.ever_rested),
            counters: result.hosts.iter().map(|host| host.counters).collect(),
        }
    }
}
