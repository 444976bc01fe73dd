//! Values with their units, as a reader and a scenario write them.

use core::fmt;

/// The unit of a limit and of the value that is held against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Unit {
    /// Parts per million, shown in percent.
    Ppm,
    /// KiB per second.
    KibPerSecond,
    /// Buckets of one second.
    Buckets,
    /// MiB.
    Mib,
}

/// A number with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Amount {
    /// The number.
    pub value: u64,
    /// Its unit.
    pub unit: Unit,
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::KibPerSecond => write!(f, "{} KiB/s", self.value),
            Unit::Buckets => write!(f, "{}", self.value),
            Unit::Mib => write!(f, "{} MiB", self.value),
            Unit::Ppm => {
                write!(f, "{}", self.value / 10_000)?;
                let (mut rest, mut digits) = (self.value % 10_000, 4);
                if rest > 0 {
                    while rest % 10 == 0 {
                        rest /= 10;
                        digits -= 1;
                    }
                    write!(f, ".{rest:0digits$}")?;
                }
                f.write_str("%")
            }
        }
    }
}
