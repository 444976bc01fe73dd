//! Where the lots of a parent are. They only ever change places.

use numashock_book::Lots;

/// Where the lots of a parent are; the four sum to its quantity at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In slices that are not due or held back.
    pub unreleased: Lots,
    /// In no slice: they came back from the exchange, or the schedule decides on them as the market trades.
    pub open: Lots,
    /// Sent, and neither filled nor come back as far as the desk has heard.
    pub working: Lots,
    /// Filled.
    pub filled: Lots,
}

impl Tally {
    /// The quantity of the parent.
    #[must_use]
    pub fn total(&self) -> Lots {
        self.unreleased + self.open + self.working + self.filled
    }

    /// What has been used up of any limit on the parent's own share.
    pub(crate) fn committed(&self) -> Lots {
        self.working + self.filled
    }

    /// A slice leaves with the lots planned for it and some open ones.
    pub(crate) fn release(&mut self, planned: Lots, open: Lots) {
        self.unreleased -= planned;
        self.open -= open;
        self.working += planned + open;
    }

    /// A fill is heard of.
    pub(crate) fn fill(&mut self, lots: Lots) {
        self.working -= lots;
        self.filled += lots;
    }

    /// What was left of a child has come back.
    pub(crate) fn come_back(&mut self, lots: Lots) {
        self.working -= lots;
        self.open += lots;
    }
}
