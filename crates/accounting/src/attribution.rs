//! C_numa and C_placement from three worlds (attribution: A1, A4).

use crate::shortfall::Shortfall;

/// One parent's shortfall with the cost of balancing split off, in half-tick-lots; positive is a cost, signs are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The real run. Its own delay, impact and miss are the observed ones.
    pub observed: Shortfall,
    /// The reference world v(∅). Its delay, impact, miss and fees are C_delay, C_impact, C_miss and the fees of the identity.
    pub reference: Shortfall,
    /// v(real) − v(∅): what balancing's overhead costs.
    pub c_numa: i128,
    /// v(∅) − v(off): what balancing does to placement.
    pub c_placement: i128,
    /// v(real) − v(off) = c_numa + c_placement; negative where balancing helps.
    pub net: i128,
}

impl Attribution {
    /// Compares the real run with the same balancing made free and with balancing off.
    ///
    /// # Panics
    /// If the marks differ, or the identity does not hold.
    #[must_use]
    pub fn from_worlds(real: &Shortfall, free: &Shortfall, off: &Shortfall) -> Attribution {
        assert!(real.mark == free.mark && free.mark == off.mark, "worlds are compared under one mark");
        let attribution = Attribution {
            observed: *real,
            reference: *free,
            c_numa: real.is - free.is,
            c_placement: free.is - off.is,
            net: real.is - off.is,
        };
        let identity = free.delay + free.impact + free.miss + free.fees + attribution.c_numa;
        assert!(
            real.is == identity,
            "the reference's parts and C_numa sum to the shortfall: {attribution:?}"
        );
        assert!(
            attribution.net == attribution.c_numa + attribution.c_placement,
            "the net effect has two parts"
        );
        attribution
    }
}
