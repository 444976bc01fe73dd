//! Semantic events in words: the name of a kind, and what its payload says, field by field with its unit.

use std::fmt;

use numashock_book::OrderId;
use numashock_controller::Level;
use numashock_engine::Recorded;
use numashock_machine::kinds;

use crate::event::kind;

/// Every kind of semantic event with its name, in order of number.
pub const NAMES: [(u16, &str); 20] = [
    (kinds::PASS, "pass"),
    (kinds::FAULT, "fault"),
    (kinds::MIGRATION, "migration"),
    (kinds::MOVE, "move"),
    (kinds::PERIOD, "period"),
    (kinds::KNOBS, "knobs"),
    (kinds::SKIP_CPUSET, "skip_cpuset"),
    (kinds::CALL, "call"),
    (kinds::TIERING, "tiering"),
    (kinds::NUMA_MOVE, "numa_move"),
    (kinds::NUMA_SWAP, "numa_swap"),
    (kinds::NUMA_STICK, "numa_stick"),
    (kind::ARRIVAL, "arrival"),
    (kind::DECISION, "decision"),
    (kind::EXPIRY, "expiry"),
    (kind::FILL, "fill"),
    (kind::FLOW, "flow"),
    (kind::REGIME, "regime"),
    (kind::STALL, "stall"),
    (kind::DISTURBANCE, "disturbance"),
];

/// The name of a kind; `None` for a note and for a number that no kind has.
#[must_use]
pub fn name(kind: u16) -> Option<&'static str> {
    NAMES.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name)
}

/// The kind of a name.
#[must_use]
pub fn kind_named(wanted: &str) -> Option<u16> {
    NAMES.iter().find(|(_, name)| *name == wanted).map(|(number, _)| *number)
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A count, number or quantity; a unit is in the field's name.
    Number(u64),
    /// The same with a sign.
    Signed(i64),
    /// Yes or no.
    Flag(bool),
    /// A word.
    Name(&'static str),
    /// A hash or a folded word.
    Hash(u64),
    /// An order: own or not, and its number.
    Order(OrderId),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number}"),
            Value::Signed(number) => write!(f, "{number}"),
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Name(name) => write!(f, "{name}"),
            Value::Hash(word) => write!(f, "{word:016x}"),
            Value::Order(id) if id.is_own() => write!(f, "child-{}", id.number()),
            Value::Order(id) => write!(f, "flow-{}", id.number()),
        }
    }
}

/// A semantic event in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Its kind's name; `note` or `unknown` where there is none.
    pub name: &'static str,
    /// Its fields; the first says whose it is: the number of a host or of a symbol.
    pub fields: Vec<(&'static str, Value)>,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// What an event says.
///
/// Payloads are taken apart exactly, with two exceptions that their kinds make: the flow's second word is folded, and the
/// two orders of a fill share a word, which tells both while their numbers are below 2³¹.
#[must_use]
pub fn words(event: &Recorded) -> Words {
    let [first, second] = event.payload;
    let number = Value::Number;
    let name = name(event.kind).unwrap_or(if event.is_note() { "note" } else { "unknown" });
    let mut fields = vec![(owner(event), number(u64::from(event.source)))];
    match event.kind {
        0x100..=0x1FF => fields.extend(of_machine(event)),
        kind::ARRIVAL => fields.extend(arrival(event)),
        kind::DECISION => {
            let mid = i64::from_ne_bytes(second.to_ne_bytes());
            fields.extend([("parent", number(first)), ("mid_half_ticks", Value::Signed(mid))]);
        }
        kind::EXPIRY => fields.extend([("parent", number(first)), ("filled_lots", number(second))]),
        kind::FILL => {
            let (maker, taker) = orders_of_fill(first);
            fields.extend([
                ("maker", Value::Order(maker)),
                ("taker", Value::Order(taker)),
                ("lots", number(second)),
            ]);
        }
        kind::FLOW => fields.extend([("order", number(first)), ("folded", Value::Hash(second))]),
        kind::REGIME => fields.extend([("to", level(first)), ("from", level(second))]),
        kind::STALL => fields.push(("stalled_ns", number(first))),
        kind::DISTURBANCE => {
            fields.push(("digest", Value::Hash(first)));
            fields.push(("ends", Value::Flag(second & 1 == 1)));
            // All bits set stand for no length.
            if second >> 1 != u64::MAX >> 1 {
                fields.push(("length_ns", number(second >> 1)));
            }
        }
        other => fields.extend([
            ("kind", number(u64::from(other))),
            ("first", Value::Hash(first)),
            ("second", Value::Hash(second)),
        ]),
    }
    Words { name, fields }
}

/// Whether an event's source is a host or a symbol. A fill is its taker's: the flow's come from a symbol.
fn owner(event: &Recorded) -> &'static str {
    match event.kind {
        kind::FLOW => "symbol",
        kind::FILL if !orders_of_fill(event.payload[0]).1.is_own() => "symbol",
        _ => "host",
    }
}

/// Maker and taker of a fill. The taker is turned by 32 bits before it is xor-ed, so each has half of the word for its
/// number, and the bit of an own order stays the highest of its half.
#[must_use]
pub fn orders_of_fill(word: u64) -> (OrderId, OrderId) {
    let half = |half: u64| match half >> 31 {
        0 => OrderId(half),
        _ => OrderId::own(half & 0x7FFF_FFFF),
    };
    // The own bit of the maker lies at 63 and its number at 0, the taker's at 31 and at 32.
    let (low, high) = (word & 0xFFFF_FFFF, word >> 32);
    let swapped = (low ^ high) & (1 << 31);
    (half(low ^ swapped), half(high ^ swapped))
}

fn level(number: u64) -> Value {
    let level = usize::try_from(number).ok().and_then(|number| Level::ALL.get(number));
    level.map_or(Value::Number(number), |level| Value::Name(level.name()))
}

/// The stamp is the time of arrival unless a counterfactual keeps the place of a prompt arrival; its lowest bit is
/// flipped for a replacement, which can be told only where the stamp is known.
fn arrival(event: &Recorded) -> Vec<(&'static str, Value)> {
    let [child, stamp] = event.payload;
    let mut fields = vec![("child", Value::Number(child))];
    match stamp ^ event.at.0 {
        flipped @ (0 | 1) => fields.push(("replaces", Value::Flag(flipped == 1))),
        _ => fields.push(("stamp", Value::Number(stamp))),
    }
    fields
}

fn of_machine(event: &Recorded) -> Vec<(&'static str, Value)> {
    let [first, second] = event.payload;
    let (number, flag) = (Value::Number, Value::Flag);
    let (high, low) = (first >> 32, first & 0xFFFF_FFFF);
    match event.kind {
        kinds::PASS => {
            vec![("thread", number(high)), ("scan_seq", number(low)), ("marked_pages", number(second))]
        }
        kinds::FAULT | kinds::MIGRATION => vec![
            ("thread", number(high)),
            ("region", number(low >> 8)),
            ("page", number(second)),
            ("local", flag(low & 1 != 0)),
            ("failed", flag(low & 2 != 0)),
            ("write", flag(low & 4 != 0)),
        ],
        kinds::MOVE | kinds::NUMA_MOVE => vec![("thread", number(first)), ("cpu", number(second))],
        kinds::PERIOD => vec![("thread", number(first)), ("scan_period_ms", number(second))],
        kinds::KNOBS => vec![
            ("numa_balancing", flag(second & 1 != 0)),
            ("scan_delay_ms", number((second & 0xFFFF_FFFF) >> 1)),
            ("scan_period_min_ms", number(high)),
            ("scan_period_max_ms", number(low)),
            ("scan_size_mb", number(second >> 32)),
        ],
        kinds::SKIP_CPUSET => vec![("thread", number(first)), ("allowed_nodes", Value::Hash(second))],
        kinds::CALL => vec![("thread", number(first)), ("waits_ns", number(second))],
        kinds::TIERING => vec![("hot_threshold_ms", number(first)), ("rate_limit_mbps", number(second))],
        kinds::NUMA_SWAP => vec![("thread", number(high)), ("other", number(low)), ("cpu", number(second))],
        kinds::NUMA_STICK => vec![("thread", number(first)), ("node", number(second))],
        _ => vec![("first", Value::Hash(first)), ("second", Value::Hash(second))],
    }
}

#[cfg(test)]
mod tests {
    use numashock_engine::{NOTES, Nanos};

    use super::*;

    fn event(kind: u16, payload: [u64; 2]) -> Recorded {
        Recorded { at: Nanos(1_000), kind, source: 2, payload }
    }

    fn text(kind: u16, payload: [u64; 2]) -> String {
        words(&event(kind, payload)).to_string()
    }

    #[test]
    fn each_kind_has_a_name_of_its_own_and_is_found_by_it() {
        for (number, own) in NAMES {
            assert_eq!((name(number), kind_named(own)), (Some(own), Some(number)));
        }
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, so none is there twice");
        assert_eq!((name(0x1FF), name(NOTES), kind_named("nothing")), (None, None, None));
    }

    #[test]
    fn payloads_are_taken_apart() {
        let fault = 3 << 32 | 5 << 8 | 0b101;
        assert_eq!(
            text(kinds::MIGRATION, [fault, 77]),
            "migration host=2 thread=3 region=5 page=77 local=true failed=false write=true"
        );
        assert_eq!(text(kinds::PASS, [1 << 32 | 9, 64]), "pass host=2 thread=1 scan_seq=9 marked_pages=64");
        assert_eq!(
            text(kinds::KNOBS, [1_000 << 32 | 60_000, 256 << 32 | 500 << 1 | 1]),
            "knobs host=2 numa_balancing=true scan_delay_ms=500 scan_period_min_ms=1000 scan_period_max_ms=60000 \
             scan_size_mb=256"
        );
        assert_eq!(text(kinds::NUMA_SWAP, [7 << 32 | 8, 3]), "numa_swap host=2 thread=7 other=8 cpu=3");
        assert_eq!(text(kind::DECISION, [4, u64::MAX]), "decision host=2 parent=4 mid_half_ticks=-1");
        assert_eq!(text(kind::REGIME, [2, 0]), "regime host=2 to=NUMA_SHOCK from=NUMA_STABLE");
        assert_eq!(text(kind::REGIME, [4, 0]), "regime host=2 to=4 from=NUMA_STABLE");
        assert_eq!(text(kind::ARRIVAL, [6, 1_000]), "arrival host=2 child=6 replaces=false");
        assert_eq!(text(kind::ARRIVAL, [6, 1_001]), "arrival host=2 child=6 replaces=true");
        assert_eq!(text(kind::ARRIVAL, [6, 990]), "arrival host=2 child=6 stamp=990");
        assert_eq!(
            text(kind::DISTURBANCE, [1, u64::MAX << 1 | 1]),
            "disturbance host=2 digest=0000000000000001 ends=true"
        );
        assert_eq!(
            text(kind::DISTURBANCE, [1, 500 << 1]),
            "disturbance host=2 digest=0000000000000001 ends=false length_ns=500"
        );
        assert_eq!(
            text(NOTES, [1, 2]),
            "note host=2 kind=32768 first=0000000000000001 second=0000000000000002"
        );
        assert!(text(0x1FF, [1, 2]).starts_with("unknown host=2"));
    }

    #[test]
    fn both_orders_of_a_fill_come_back() {
        let ids = [0, 1, 77, (1 << 31) - 1];
        let ids = ids.map(|number| [OrderId(number), OrderId::own(number)]).concat();
        for maker in &ids {
            for taker in &ids {
                let word = maker.0 ^ taker.0.rotate_left(32);
                assert_eq!(orders_of_fill(word), (*maker, *taker));
                let owner = if taker.is_own() { "host" } else { "symbol" };
                let expected = [
                    (owner, Value::Number(2)),
                    ("maker", Value::Order(*maker)),
                    ("taker", Value::Order(*taker)),
                    ("lots", Value::Number(5)),
                ];
                assert_eq!(words(&event(kind::FILL, [word, 5])).fields, expected);
            }
        }
        let fill = OrderId(7).0 ^ OrderId::own(3).0.rotate_left(32);
        assert_eq!(text(kind::FILL, [fill, 5]), "fill host=2 maker=flow-7 taker=child-3 lots=5");
    }
}
