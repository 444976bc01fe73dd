//! The regime: a level and the counters that bind leaving it.

/// The four states, from calm to conservative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub enum Level {
    /// Normal tactics.
    #[default]
    Stable,
    /// A metric is high: look closer, reprice less.
    Watch,
    /// Several metrics are high: slow down and ask the host to.
    Shock,
    /// The simplest schedule until released.
    Safe,
}

impl Level {
    /// Every level, from calm to conservative.
    pub const ALL: [Level; 4] = [Level::Stable, Level::Watch, Level::Shock, Level::Safe];

    /// The state's name (playbook: 6).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Stable => "NUMA_STABLE",
            Level::Watch => "NUMA_WATCH",
            Level::Shock => "NUMA_SHOCK",
            Level::Safe => "SAFE_NUMA_CONSERVATIVE",
        }
    }

    /// The next calmer level, or `None` for the calmest.
    #[must_use]
    pub fn below(self) -> Option<Level> {
        match self {
            Level::Stable => None,
            Level::Watch => Some(Level::Stable),
            Level::Shock => Some(Level::Watch),
            Level::Safe => Some(Level::Shock),
        }
    }

    /// Whether `next` may follow: any higher level, or the one just below.
    #[must_use]
    pub fn may_precede(self, next: Level) -> bool {
        next > self || self.below() == Some(next)
    }
}

/// The controller's whole memory, in buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Regime {
    level: Level,
    held: u32,
    calm: u32,
    blind: u32,
}

impl Regime {
    /// Where every run starts.
    pub const STABLE: Regime = Regime::at(Level::Stable);

    /// A level just entered.
    #[must_use]
    pub const fn at(level: Level) -> Regime {
        Regime { level, held: 0, calm: 0, blind: 0 }
    }

    /// A level with its counters; `None` if they cannot be: calm buckets are counted within the level.
    #[must_use]
    pub const fn counted(level: Level, held: u32, calm: u32, blind: u32) -> Option<Regime> {
        if calm > held { None } else { Some(Regime { level, held, calm, blind }) }
    }

    /// The level.
    #[must_use]
    pub fn level(self) -> Level {
        self.level
    }

    /// The state's name (playbook: 6).
    #[must_use]
    pub fn name(self) -> &'static str {
        self.level.name()
    }

    /// Buckets seen since the level was entered.
    #[must_use]
    pub fn held(self) -> u32 {
        self.held
    }

    /// Latest consecutive buckets, all since the level was entered, with every metric under its exit threshold.
    #[must_use]
    pub fn calm(self) -> u32 {
        self.calm
    }

    /// Latest consecutive buckets in which the host could not be seen; a change of level does not reset them.
    #[must_use]
    pub fn blind(self) -> u32 {
        self.blind
    }

    /// One more bucket in the same level.
    pub(crate) fn after(self, calm: bool, blind: bool) -> Regime {
        let run = |length: u32, goes_on: bool| if goes_on { length.saturating_add(1) } else { 0 };
        Regime {
            level: self.level,
            held: self.held.saturating_add(1),
            calm: run(self.calm, calm),
            blind: run(self.blind, blind),
        }
    }

    /// The one place where the level changes.
    pub(crate) fn transition_to(self, level: Level) -> Regime {
        assert!(self.level.may_precede(level), "{} never leads to {}", self.name(), level.name());
        Regime { blind: self.blind, ..Regime::at(level) }
    }
}
