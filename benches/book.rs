//! The order book under the zero-intelligence stream, with a floor of 1,000 and of 10,000 live orders.
//!
//! The stream is made once against a book, since it looks at the best prices and fills; then the finished messages
//! are replayed into fresh books, and only that is timed. Rows and fills must have the published hashes. Every fill
//! carries its maker's queue position; a second line has one order in [`OWN_IN`] as an own one, whose position the book
//! keeps at every moment.

use numashock_benches::{Delays, Reference, SplitMix, compare, timed};
use numashock_book::{Book, Fill, Lots, OrderId, Side, Stamp, Ticks};

const MIDDLE: i64 = 1 << 19;
const MESSAGES: usize = 5_000_000;
/// The share of own orders where there are any: at floor 10,000 one at each of the forty or so prices.
const OWN_IN: u64 = 250;

/// A floor with the hashes that any right book gives.
struct Expected {
    floor: usize,
    rows: u64,
    fills: u64,
}

const EXPECTED: [Expected; 2] = [
    Expected { floor: 1_000, rows: 0x1a0e_a5af_b2c4_aac2, fills: 0x3bb1_2a56_cb7b_8197 },
    Expected { floor: 10_000, rows: 0xdc3b_28e7_3bcf_15d6, fills: 0x51d9_33e6_2269_0f1a },
];

#[derive(Clone, Copy)]
#[repr(u8)]
enum Operation {
    Add = 0,
    Cancel = 1,
    Market = 2,
}

#[derive(Clone, Copy)]
struct Row {
    id: u64,
    price: u32,
    lots: u32,
    operation: Operation,
    side: Side,
}

impl Row {
    fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.price.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.lots.to_le_bytes());
        bytes[16] = self.operation as u8;
        bytes[17] = self.side as u8;
        bytes
    }
}

/// A book under the stream, with the running hash of its fills.
struct Market {
    book: Book,
    fills: Vec<Fill>,
    hash: u64,
    own_orders: bool,
}

impl Market {
    fn new(own_orders: bool) -> Market {
        Market { book: Book::new(), fills: Vec::new(), hash: 0, own_orders }
    }

    #[inline]
    fn id(&self, number: u64) -> OrderId {
        if self.own_orders && number.is_multiple_of(OWN_IN) { OrderId::own(number) } else { OrderId(number) }
    }

    #[inline]
    fn apply(&mut self, row: &Row) {
        let (id, lots) = (self.id(row.id), Lots(u64::from(row.lots)));
        self.fills.clear();
        match row.operation {
            Operation::Add => {
                let price = Ticks(i64::from(row.price));
                self.book.limit(id, row.side, price, lots, Stamp(row.id), &mut self.fills);
            }
            Operation::Cancel => {
                self.book.cancel(id);
            }
            Operation::Market => {
                self.book.take(id, row.side, lots, None, &mut self.fills);
            }
        }
        for fill in &self.fills {
            let word = fill.taker.number().wrapping_mul(31) ^ fill.maker.number();
            let word = word ^ (fill.price.0 as u64) << 32 ^ fill.lots.0 << 20;
            self.hash = self.hash.rotate_left(5) ^ word;
        }
    }
}

/// Makes the stream.
struct Maker {
    random: SplitMix,
    market: Market,
    live: Vec<u64>,
    /// Where each id stands in `live`.
    place: Vec<usize>,
    /// The last known best bid and ask.
    last: [i64; 2],
}

impl Maker {
    fn rows(floor: usize) -> Vec<Row> {
        let mut maker = Maker {
            random: SplitMix(42),
            market: Market::new(false),
            live: Vec::new(),
            place: Vec::new(),
            last: [MIDDLE - 1, MIDDLE + 1],
        };
        (0..floor + MESSAGES).map(|number| maker.row(number < floor, floor)).collect()
    }

    fn row(&mut self, warm_up: bool, floor: usize) -> Row {
        let drawn = self.random.below(1000);
        let side = if self.random.next() >> 63 == 0 { Side::Buy } else { Side::Sell };
        let row = if warm_up || drawn < 475 || (drawn < 950 && self.live.len() < floor) {
            let distance = 1 + self.random.below(20) as i64;
            let lots = 1 + self.random.below(100) as u32;
            let price = self.last[(!side).index()] - side.sign() * distance;
            let id = self.new_id();
            self.place[id as usize] = self.live.len();
            self.live.push(id);
            let price = u32::try_from(price).expect("the book has 2^20 prices");
            Row { id, price, lots, operation: Operation::Add, side }
        } else if drawn < 950 {
            let index = self.random.below(self.live.len() as u64) as usize;
            let id = self.forget(index);
            let (side, ..) = self.market.book.order(OrderId(id)).expect("a live order rests");
            Row { id, price: 0, lots: 0, operation: Operation::Cancel, side }
        } else {
            let lots = 1 + self.random.below(100) as u32;
            Row { id: self.new_id(), price: 0, lots, operation: Operation::Market, side }
        };
        self.market.apply(&row);
        for place in 0..self.market.fills.len() {
            let Fill { maker, maker_left, .. } = self.market.fills[place];
            if maker_left == Lots::ZERO {
                self.forget(self.place[maker.0 as usize]);
            }
        }
        for side in Side::BOTH {
            if let Some(quote) = self.market.book.best(side) {
                self.last[side.index()] = quote.price.0;
            }
        }
        row
    }

    fn new_id(&mut self) -> u64 {
        self.place.push(usize::MAX);
        self.place.len() as u64 - 1
    }

    fn forget(&mut self, index: usize) -> u64 {
        let id = self.live.swap_remove(index);
        if let Some(moved) = self.live.get(index) {
            self.place[*moved as usize] = index;
        }
        id
    }
}

fn fnv(rows: &[Row]) -> u64 {
    let bytes = rows.iter().flat_map(Row::bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn main() {
    let delays = Delays::new();
    let mut reference = Reference::new(&delays);
    for Expected { floor, rows: rows_hash, fills } in EXPECTED {
        let rows = Maker::rows(floor);
        assert_eq!(fnv(&rows), rows_hash, "the stream is the one of the definition");
        for (own_orders, what) in [(false, ""), (true, ", own")] {
            compare(&format!("Book, floor {floor}{what}"), "messages/s", &mut reference, || {
                let mut market = Market::new(own_orders);
                rows[..floor].iter().for_each(|row| market.apply(row));
                let rate = timed(|| {
                    rows[floor..].iter().for_each(|row| market.apply(row));
                    MESSAGES as u64
                });
                assert_eq!(market.hash, fills, "the fills are the expected ones");
                rate
            });
        }
    }
}
