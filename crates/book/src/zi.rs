//! The zero-intelligence stream of the speed comparison, replayed for its expected fills.

use crate::{Book, Fill, Lots, OrderId, Side, Stamp, Ticks};

const MID: i64 = 1 << 19;

struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Messages after the warm-up; fills of all.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    adds: u64,
    cancels: u64,
    markets: u64,
    fills: u64,
    volume: u64,
    hash: u64,
}

struct Zi {
    random: SplitMix,
    book: Book,
    live: Vec<OrderId>,
    place: Vec<usize>,
    last: [i64; 2],
    next_id: u64,
    seen: Outcome,
}

impl Zi {
    fn new() -> Zi {
        Zi {
            random: SplitMix(42),
            book: Book::new(),
            live: Vec::new(),
            place: Vec::new(),
            last: [MID - 1, MID + 1],
            next_id: 0,
            seen: Outcome::default(),
        }
    }

    fn forget(&mut self, index: usize) -> OrderId {
        let id = self.live.swap_remove(index);
        if let Some(moved) = self.live.get(index) {
            self.place[moved.0 as usize] = index;
        }
        id
    }

    fn message(&mut self, warm: bool, floor: usize, fills: &mut Vec<Fill>) {
        let drawn = self.random.below(1000);
        let u = if warm { 0 } else { drawn };
        let side = if self.random.next() >> 63 == 0 { Side::Buy } else { Side::Sell };
        if u < 475 || (u < 950 && self.live.len() < floor) {
            let distance = 1 + self.random.below(20) as i64;
            let lots = Lots(1 + self.random.below(100));
            let price = Ticks(self.last[(!side).index()] - side.sign() * distance);
            let id = self.new_id();
            self.place[id.0 as usize] = self.live.len();
            self.live.push(id);
            assert_eq!(self.book.limit(id, side, price, lots, Stamp(id.0), fills), lots);
            self.seen.adds += 1;
        } else if u < 950 {
            let index = self.random.below(self.live.len() as u64) as usize;
            let id = self.forget(index);
            assert!(self.book.cancel(id).is_some());
            self.seen.cancels += 1;
        } else {
            let lots = Lots(1 + self.random.below(100));
            let id = self.new_id();
            fills.clear();
            self.book.take(id, side, lots, None, fills);
            self.seen.markets += 1;
            for fill in fills.iter() {
                self.seen.fills += 1;
                self.seen.volume += fill.lots.0;
                let word = fill.taker.0.wrapping_mul(31) ^ fill.maker.0;
                let word = word ^ (fill.price.0 as u64) << 32 ^ fill.lots.0 << 20;
                self.seen.hash = self.seen.hash.rotate_left(5) ^ word;
                if fill.maker_left == Lots::ZERO {
                    let index = self.place[fill.maker.0 as usize];
                    self.forget(index);
                }
            }
        }
        for side in Side::BOTH {
            if let Some(quote) = self.book.best(side) {
                self.last[side.index()] = quote.price.0;
            }
        }
    }

    fn new_id(&mut self) -> OrderId {
        self.next_id += 1;
        self.place.push(usize::MAX);
        OrderId(self.next_id - 1)
    }
}

fn run(floor: usize, messages: usize) -> (Outcome, [i64; 2]) {
    let mut zi = Zi::new();
    let mut fills = Vec::new();
    for number in 0..floor + messages {
        if number == floor {
            zi.seen.adds = 0;
        }
        zi.message(number < floor, floor, &mut fills);
        if number % 100_000 == 0 {
            zi.book.check();
        }
    }
    zi.book.check();
    (zi.seen, zi.last)
}

#[test]
fn a_short_stream_keeps_the_book_whole() {
    let (seen, [bid, ask]) = run(1_000, 200_000);
    assert_eq!(seen.adds + seen.cancels + seen.markets, 200_000);
    assert!(bid < ask && (bid - MID).abs() < 1_000);
}

#[test]
#[ignore = "five million messages: run in release"]
fn floor_1_000_gives_the_expected_fills() {
    let (seen, quotes) = run(1_000, 5_000_000);
    let expected = Outcome {
        adds: 2_498_482,
        cancels: 2_251_243,
        markets: 250_275,
        fills: 492_469,
        volume: 12_613_237,
        hash: 0x3bb1_2a56_cb7b_8197,
    };
    assert_eq!(seen, expected);
    assert_eq!(quotes, [524_284, 524_285]);
}

#[test]
#[ignore = "five million messages: run in release"]
fn floor_10_000_gives_the_expected_fills() {
    let (seen, quotes) = run(10_000, 5_000_000);
    let expected = Outcome {
        adds: 2_499_678,
        cancels: 2_250_203,
        markets: 250_119,
        fills: 494_524,
        volume: 12_612_579,
        hash: 0x51d9_33e6_2269_0f1a,
    };
    assert_eq!(seen, expected);
    assert_eq!(quotes, [524_280, 524_282]);
}
