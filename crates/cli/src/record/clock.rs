//! The one wall clock of the workspace: a recording of a live host cannot be told in simulated time.

use std::time::Duration;

/// Time that goes on by itself, in nanoseconds from an origin of its own.
pub(super) trait Clock {
    /// The present.
    fn now(&mut self) -> u64;
    /// Returns at `at` or later; at once if that has passed.
    fn wait_until(&mut self, at: u64);
    /// Nanoseconds from 1970 to its origin, where it knows the date.
    fn began(&self) -> Option<u64> {
        None
    }
}

/// The host's monotonic clock, which no correction of the date moves.
#[allow(clippy::disallowed_types, reason = "samples of a live host are taken in its time")]
pub(super) struct HostClock(std::time::Instant, std::time::SystemTime);

impl HostClock {
    /// A clock whose origin is now.
    #[allow(clippy::disallowed_types, reason = "samples of a live host are taken in its time")]
    pub(super) fn start() -> HostClock {
        HostClock(std::time::Instant::now(), std::time::SystemTime::now())
    }
}

impl Clock for HostClock {
    fn now(&mut self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("a recording is shorter than 500 years")
    }

    fn wait_until(&mut self, at: u64) {
        loop {
            let now = self.now();
            if now >= at {
                return;
            }
            std::thread::sleep(Duration::from_nanos(at - now));
        }
    }

    #[allow(clippy::disallowed_types, reason = "samples of a live host are taken in its time")]
    fn began(&self) -> Option<u64> {
        let since = self.1.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok()
    }
}
