//! What happened in each second of a run as one number each, so that two worlds can be told where they went apart
//! (attribution: A9).

use numashock_engine::{EventHash, Nanos};

/// Hashes of one second of a symbol. Two worlds whose hashes are equal did the same in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondPaths {
    /// The public market: each change of the best prices and sizes, own orders included, with its time.
    pub market: u64,
    /// The flow: what all others asked for, and what of it was done, with its time.
    pub flow: u64,
}

/// Collects the hashes of the present second.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    market: EventHash,
    flow: EventHash,
    closed: Vec<SecondPaths>,
}

impl Paths {
    pub(crate) fn new() -> Paths {
        Paths { market: EventHash::new(0), flow: EventHash::new(0), closed: Vec::new() }
    }

    /// The best price and size of a side are others now.
    pub(crate) fn quoted(&mut self, now: Nanos, side: u16, quote: [u64; 2]) {
        self.market.record(now, side, quote);
    }

    /// The others did something.
    pub(crate) fn flowed(&mut self, now: Nanos, what: [u64; 2]) {
        self.flow.record(now, 0, what);
    }

    /// The second is over.
    pub(crate) fn close(&mut self) {
        let [market, flow] =
            [&mut self.market, &mut self.flow].map(|path| std::mem::replace(path, EventHash::new(0)));
        let (market, flow) = (market.checkpoint().hash, flow.checkpoint().hash);
        self.closed.push(SecondPaths { market, flow });
    }

    pub(crate) fn into_seconds(self) -> Vec<SecondPaths> {
        self.closed
    }
}
