//! Databento's binary encoding of a venue's market by order, plain or compressed with zstd.
//!
//! A record adds an order, cancels some or all of one, modifies its price or size, or clears the book. Trades and fills
//! change nothing: the cancels that follow do. A cancel or a modification of an order that a fill has named in the same
//! event is an execution, so that own orders ahead of it are hit. One message of the venue may be several records; the
//! last one has a flag, and only after it the quotes are the market's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Cursor, Read};

use dbn::decode::DbnMetadata;
use dbn::decode::dbn::Decoder;
use dbn::{Action, MboMsg, Record, Schema, VersionUpgradePolicy};
use numashock_engine::Nanos;

use super::report::ReplayReport;
use super::rows::{Row, RowKind};
use super::source::{Tape, check};
use super::{Options, Problem};
use crate::{Lots, PRICE_MAX, Side};

/// Bytes before the metadata: magic, version, and the metadata's length.
const PREFIX: u64 = 8;
/// Metadata hold symbols and their mappings.
const METADATA_MAX: u64 = 1 << 28;
/// Of a record's length as it says itself, of its header, and what its length is a multiple of, in bytes.
const WORD: usize = 4;
const HEADER: usize = 16;
const ALIGNMENT: usize = 8;
/// Instruments that an error lists at most.
const LISTED: usize = 20;

/// Watches the stream: the decoder takes one that breaks off for its end, and does not bear a record whose length is
/// no multiple of its alignment.
struct Framed<R> {
    inner: R,
    /// Bytes to the next record.
    ahead: usize,
    error: Option<std::io::Error>,
}

impl<R: Read> Framed<R> {
    fn walk(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while let Some(words) = bytes.first() {
            if self.ahead == 0 {
                self.ahead = usize::from(*words) * WORD;
                if self.ahead < HEADER || self.ahead % ALIGNMENT != 0 {
                    let problem = format!("a record of {} bytes", self.ahead);
                    return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, problem));
                }
            }
            let step = self.ahead.min(bytes.len());
            self.ahead -= step;
            bytes = &bytes[step..];
        }
        Ok(())
    }
}

impl<R: Read> Read for Framed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let outcome = self.inner.read(buffer).and_then(|read| self.walk(&buffer[..read]).map(|()| read));
        outcome.map_err(|error| {
            let kind = error.kind();
            self.error = Some(error);
            kind.into()
        })
    }
}

/// Reads the records of one instrument.
pub(super) fn read(reader: impl Read, zstd: bool, options: &Options) -> Result<Tape, (u32, Problem)> {
    if !zstd {
        return records(reader, "DBN", options);
    }
    let unpacked = zstd::stream::read::Decoder::new(BufReader::new(reader));
    records(unpacked.map_err(|error| (1, Problem::Read(error)))?, "zstd", options)
}

fn records(mut reader: impl Read, kind: &'static str, options: &Options) -> Result<Tape, (u32, Problem)> {
    let broken = |error| Problem::Compressed { kind, error };
    let start = metadata(&mut reader, broken).map_err(|problem| (1, problem))?;
    let ahead = start.len();
    let framed = Framed { inner: Cursor::new(start).chain(reader), ahead, error: None };
    let decoder = Decoder::with_upgrade_policy(framed, VersionUpgradePolicy::AsIs);
    let mut decoder = decoder.map_err(|error| (1, foreign(&error)))?;
    if let Some(schema) = decoder.metadata().schema.filter(|schema| *schema != Schema::Mbo) {
        let problem = format!("the schema is {schema}, expected mbo: order the data as market by order");
        return Err((1, Problem::Databento(problem)));
    }
    let mut tape = Records::new(options);
    let mut record = 0u32;
    loop {
        record = record.saturating_add(1);
        match decoder.decode_ref() {
            Ok(None) => break,
            Ok(Some(found)) => {
                if found.has::<MboMsg>() && found.record_size() < size_of::<MboMsg>() {
                    let problem = format!("a record of {} bytes is no MBO record", found.record_size());
                    return Err((record, Problem::Databento(problem)));
                }
                if let Some(message) = found.get::<MboMsg>() {
                    tape.message(message, record).map_err(|problem| (record, problem))?;
                }
            }
            Err(error) => {
                let problem = foreign(&error);
                return Err((record, decoder.get_mut().error.take().map_or(problem, broken)));
            }
        }
    }
    let framed = decoder.get_mut();
    if let Some(error) = framed.error.take() {
        return Err((record, broken(error)));
    }
    if framed.ahead > 0 {
        return Err((record, Problem::Truncated));
    }
    tape.finish().map_err(|problem| (1, problem))
}

/// Everything before the first record, whole, as the decoder does not bear less.
fn metadata(reader: &mut impl Read, broken: impl Fn(std::io::Error) -> Problem) -> Result<Vec<u8>, Problem> {
    let mut start = Vec::new();
    reader.take(PREFIX).read_to_end(&mut start).map_err(&broken)?;
    if start.len() as u64 == PREFIX && start.starts_with(b"DBN") {
        let length = start[4..].iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
        if length > METADATA_MAX {
            let problem =
                format!("the DBN metadata are {length} bytes long, at most {METADATA_MAX} are read");
            return Err(Problem::Databento(problem));
        }
        reader.take(length).read_to_end(&mut start).map_err(&broken)?;
        if start.len() as u64 == PREFIX + length {
            return Ok(start);
        }
        return Err(Problem::Truncated);
    }
    Err(Problem::Databento("this is no DBN file: give .dbn or .dbn.zst with market by order".to_owned()))
}

fn foreign(error: &dbn::Error) -> Problem {
    Problem::Databento(format!("the DBN file cannot be decoded ({error}): fetch the file again"))
}

struct Records<'a> {
    options: &'a Options,
    rows: Vec<Row>,
    report: ReplayReport,
    instruments: BTreeSet<u32>,
    chosen: Option<u32>,
    last: Nanos,
    /// Lots that fills of this event have taken and no cancel has taken off yet.
    filled: BTreeMap<u64, u64>,
    /// Whether any record has the flag that ends an event.
    flagged: bool,
}

impl<'a> Records<'a> {
    fn new(options: &'a Options) -> Records<'a> {
        Records {
            options,
            rows: Vec::new(),
            report: ReplayReport::default(),
            instruments: BTreeSet::new(),
            chosen: options.instrument,
            last: Nanos::ZERO,
            filled: BTreeMap::new(),
            flagged: false,
        }
    }

    fn message(&mut self, message: &MboMsg, record: u32) -> Result<(), Problem> {
        let instrument = message.hd.instrument_id;
        if self.instruments.len() < LISTED {
            self.instruments.insert(instrument);
        }
        if instrument != *self.chosen.get_or_insert(instrument) {
            return Ok(());
        }
        self.report.rows += 1;
        if message.flags.is_tob() || message.flags.is_mbp() {
            let problem = "this publisher gives prices and no orders: choose one with market by order";
            return Err(Problem::Databento(problem.to_owned()));
        }
        let at = self.time(message)?;
        let action = message.action().map_err(|_| {
            column("action", char::from(message.action as u8), "one of A, C, M, R, T, F and N")
        })?;
        match action {
            Action::Trade => self.report.trade_records += 1,
            Action::Fill => {
                self.report.trade_records += 1;
                *self.filled.entry(message.order_id).or_default() += u64::from(message.size);
            }
            Action::None => self.report.idle_records += 1,
            Action::Clear => self.push(RowKind::Clear, message, (at, Side::Buy, 0), record)?,
            Action::Add => self.order(RowKind::Limit, message, at, record)?,
            Action::Modify => self.order(RowKind::Modify, message, at, record)?,
            Action::Cancel => self.order(RowKind::Cancel, message, at, record)?,
        }
        if message.flags.is_last() {
            self.flagged = true;
            self.filled.clear();
            if let Some(row) = self.rows.last_mut() {
                row.last = true;
            }
        }
        Ok(())
    }

    fn time(&mut self, message: &MboMsg) -> Result<Nanos, Problem> {
        if message.ts_recv == dbn::UNDEF_TIMESTAMP {
            return Err(column("ts_recv", "undefined", "nanoseconds since 1970"));
        }
        let now = Nanos(message.ts_recv);
        if now < self.last && !message.flags.is_bad_ts_recv() {
            return Err(Problem::TimeOrder { before: self.last, now });
        }
        self.last = self.last.max(now);
        Ok(self.last)
    }

    /// A record about an order; what has been filled of it is executed.
    fn order(&mut self, kind: RowKind, message: &MboMsg, at: Nanos, record: u32) -> Result<(), Problem> {
        let side = match message.side().ok() {
            Some(dbn::Side::Bid) => Side::Buy,
            Some(dbn::Side::Ask) => Side::Sell,
            _ => return Err(column("side", char::from(message.side as u8), "A or B")),
        };
        if message.price == dbn::UNDEF_PRICE || message.price.unsigned_abs() > PRICE_MAX.unsigned_abs() {
            return Err(column("price", message.price, "a price within ±72,000,000"));
        }
        if message.size == 0 || message.size == dbn::UNDEF_ORDER_SIZE {
            return Err(column("size", message.size, "at least 1"));
        }
        let size = u64::from(message.size);
        let filled = self.filled.get(&message.order_id).copied().unwrap_or(0);
        let executed = match kind {
            RowKind::Cancel => filled.min(size),
            RowKind::Modify => filled,
            _ => 0,
        };
        if executed > 0 {
            self.filled.insert(message.order_id, filled - executed);
            self.push(RowKind::Execute, message, (at, side, executed), record)?;
        }
        if kind == RowKind::Cancel && executed == size {
            return Ok(());
        }
        let lots = if kind == RowKind::Cancel { size - executed } else { size };
        self.push(kind, message, (at, side, lots), record)
    }

    fn push(
        &mut self,
        kind: RowKind,
        message: &MboMsg,
        (at, side, lots): (Nanos, Side, u64),
        line: u32,
    ) -> Result<(), Problem> {
        let (id, price, snapshot) = (message.order_id, message.price, message.flags.is_snapshot());
        let row = Row { at, kind, id, lots: Lots(lots), price, side, line, last: false, snapshot };
        check(&row, self.rows.len(), self.options)?;
        self.rows.push(row);
        Ok(())
    }

    fn finish(mut self) -> Result<Tape, Problem> {
        let found: Vec<u32> = self.instruments.iter().copied().collect();
        let several = self.options.instrument.is_none() && found.len() > 1;
        if several {
            let chosen = "no instrument is chosen".to_owned();
            return Err(Problem::Instrument { chosen, found });
        }
        match self.options.instrument {
            Some(chosen) if self.report.rows == 0 && !found.is_empty() => {
                let chosen = format!("no record is of instrument {chosen}");
                return Err(Problem::Instrument { chosen, found });
            }
            _ if self.rows.is_empty() => return Err(Problem::Empty),
            _ => {}
        }
        if !self.flagged {
            // Without flags an event ends where the time changes.
            for row in 0..self.rows.len() {
                let next = self.rows.get(row + 1).map(|next| next.at);
                self.rows[row].last = next != Some(self.rows[row].at);
            }
        }
        Ok(Tape { rows: self.rows, report: self.report })
    }
}

fn column(column: &'static str, found: impl ToString, expected: &'static str) -> Problem {
    Problem::Column { column, found: found.to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::super::{Recording, parse};
    use super::*;
    use dbn::encode::{DbnEncodable, EncodeRecord};
    use dbn::flags::{BAD_TS_RECV, LAST, SNAPSHOT, TOB};
    use dbn::{FlagSet, MetadataBuilder, RecordHeader, SType, TradeMsg, rtype};
    use std::io::Write;

    const CENT: i64 = 10_000_000;

    /// A record of instrument 7: action, side, id, price in cents, size and flags, a microsecond after the one before.
    type Short = (u8, u8, u64, i64, u32, u8);

    fn message(number: usize, (action, side, order_id, cents, size, flags): Short) -> MboMsg {
        MboMsg {
            hd: RecordHeader::new::<MboMsg>(rtype::MBO, 1, 7, 0),
            order_id,
            price: cents * CENT,
            size,
            flags: FlagSet::new(flags),
            channel_id: 0,
            action: action as std::ffi::c_char,
            side: side as std::ffi::c_char,
            ts_recv: 1_700_000_000_000_000_000 + 1_000 * number as u64,
            ts_in_delta: 0,
            sequence: number as u32,
        }
    }

    fn file<T: DbnEncodable>(schema: Schema, records: &[T]) -> Vec<u8> {
        let metadata = MetadataBuilder::new()
            .dataset("XNAS.ITCH")
            .schema(Some(schema))
            .start(0)
            .stype_in(Some(SType::InstrumentId))
            .stype_out(SType::InstrumentId)
            .build();
        let mut bytes = Vec::new();
        let mut encoder = dbn::encode::dbn::Encoder::new(&mut bytes, &metadata).unwrap();
        records.iter().for_each(|record| encoder.encode_record(record).unwrap());
        bytes
    }

    fn mbo(records: &[Short]) -> Vec<u8> {
        let records: Vec<_> =
            records.iter().enumerate().map(|(number, short)| message(number, *short)).collect();
        file(Schema::Mbo, &records)
    }

    fn read(bytes: &[u8]) -> Recording {
        parse(bytes, "day.dbn", CENT as u64).unwrap()
    }

    fn refused(bytes: &[u8], options: impl Into<Options>) -> (u64, String) {
        let error = parse(bytes, "day.dbn", options).unwrap_err();
        (error.line, error.problem.to_string())
    }

    fn quotes(recording: &Recording) -> Vec<String> {
        let mut text = Vec::new();
        recording.write_quotes(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        text.lines().skip(1).map(|line| line.split_once(',').unwrap().1.to_owned()).collect()
    }

    /// A snapshot, an execution in two parts, a reduction that keeps its place, one that loses it, a clear.
    const DAY: [Short; 16] = [
        (b'R', b'N', 0, 0, 0, SNAPSHOT | BAD_TS_RECV),
        (b'A', b'B', 1, 100, 5, SNAPSHOT | BAD_TS_RECV),
        (b'A', b'A', 2, 102, 5, SNAPSHOT | BAD_TS_RECV | LAST),
        (b'A', b'B', 3, 100, 4, LAST),
        (b'T', b'A', 0, 100, 7, 0),
        (b'F', b'B', 1, 100, 5, 0),
        (b'F', b'B', 3, 100, 2, 0),
        (b'C', b'B', 1, 100, 5, 0),
        (b'C', b'B', 3, 100, 2, LAST),
        (b'A', b'B', 4, 100, 3, LAST),
        (b'M', b'B', 3, 100, 1, LAST),
        (b'M', b'B', 3, 100, 6, LAST),
        (b'M', b'A', 2, 101, 5, LAST),
        (b'N', b'N', 0, 0, 0, LAST),
        (b'C', b'B', 4, 100, 2, LAST),
        (b'R', b'N', 0, 0, 0, LAST),
    ];

    #[test]
    fn records_do_to_the_book_what_the_venue_did() {
        let recording = read(&mbo(&DAY));
        // Nothing is written in the middle of an event.
        let expected = [
            "100,5,102,5",
            "100,9,102,5",
            "100,2,102,5",
            "100,5,102,5",
            "100,4,102,5",
            "100,9,102,5",
            "100,9,101,5",
            "100,7,101,5",
            "-9999999999,0,9999999999,0",
        ];
        assert_eq!(quotes(&recording), expected);
        let report = *recording.report();
        assert_eq!((report.rows, report.limits, report.modifications, report.clears), (16, 4, 3, 2));
        assert_eq!((report.executions, report.executions_at_head, report.trade_records), (2, 2, 3));
        assert_eq!((report.reductions, report.deletions, report.idle_records), (1, 0, 1));
        assert_eq!((report.unknown_rows, report.crossed_rows), (0, 0));
        assert_eq!(recording.opening(), 2);
    }

    #[test]
    fn zstd_and_a_file_without_event_flags_are_read_alike() {
        let plain = mbo(&DAY);
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        assert_eq!(quotes(&read(&packed)), quotes(&read(&plain)));
        let bare =
            DAY.map(|(action, side, id, cents, size, flags)| (action, side, id, cents, size, flags & !LAST));
        assert_eq!(quotes(&read(&mbo(&bare))).len(), 11);
    }

    #[test]
    fn what_rested_before_the_file_is_recovered() {
        let recording = read(&mbo(&[(b'A', b'B', 10, 99, 5, LAST), (b'C', b'B', 3, 100, 4, LAST)]));
        assert_eq!(quotes(&recording), ["100,4,9999999999,0", "99,5,9999999999,0"]);
        assert_eq!(recording.report().opening_orders, 1);
    }

    #[test]
    fn an_instrument_is_chosen_where_there_are_several() {
        let mut records: Vec<_> = (0..2).map(|number| message(number, DAY[number + 1])).collect();
        records[1].hd.instrument_id = 9;
        let bytes = file(Schema::Mbo, &records);
        let (_, problem) = refused(&bytes, CENT as u64);
        assert!(problem.contains("instruments 7, 9: choose one"), "{problem}");
        let options = |instrument| Options { instrument: Some(instrument), ..Options::from(CENT as u64) };
        assert_eq!(parse(&bytes[..], "day.dbn", options(9)).unwrap().rows(), 1);
        let (_, problem) = refused(&bytes, options(8));
        assert!(problem.contains("no record is of instrument 8"), "{problem}");
        let (_, problem) = refused(b"1,1,7,10,5850000,1\n", options(8));
        assert!(problem.contains("one instrument"), "{problem}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_record() {
        let good = (b'A', b'B', 1, 100, 5, LAST);
        for (bad, expected) in [
            ((b'A', b'B', 1, 100, 5, LAST), "the id 1, which still rests"),
            ((b'A', b'B', 2, 100, 0, LAST), "column size is `0`"),
            ((b'A', b'N', 2, 100, 5, LAST), "column side is `N`"),
            ((b'X', b'B', 2, 100, 5, LAST), "column action is `X`"),
            ((b'A', b'B', 2, i64::MAX / CENT, 5, LAST), "column price"),
            ((b'A', b'B', 2, 100, 5, TOB), "prices and no orders"),
        ] {
            let (record, problem) = refused(&mbo(&[good, bad]), CENT as u64);
            assert_eq!(record, 2, "{problem}");
            assert!(problem.contains(expected), "{problem}");
        }
        let mut back = [message(5, good), message(4, DAY[3])];
        assert!(refused(&file(Schema::Mbo, &back), CENT as u64).1.contains("time runs back"));
        back[1] = message(6, DAY[3]);
        back[1].price += 1;
        assert!(refused(&file(Schema::Mbo, &back), CENT as u64).1.contains("no multiple of the tick"));
        let trades: [TradeMsg; 0] = [];
        assert!(refused(&file(Schema::Trades, &trades), CENT as u64).1.contains("expected mbo"));
        assert!(refused(&mbo(&[]), CENT as u64).1.contains("empty"));
    }

    proptest::proptest! {
        /// A damaged file is read or refused.
        #[test]
        fn any_damage_is_refused_or_read(place in proptest::prelude::any::<proptest::sample::Index>(), byte: u8) {
            let mut bytes = mbo(&DAY);
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let _ = parse(&bytes[..], "day.dbn", 1);
        }
    }

    #[test]
    fn a_file_that_breaks_off_is_refused() {
        let whole = mbo(&DAY);
        let (record, problem) = refused(&whole[..whole.len() - 20], CENT as u64);
        assert_eq!(record, 16);
        assert!(problem.contains("cut short"), "{problem}");
        let many: Vec<Short> = (0..10_000).map(|id| (b'A', b'B', id, 100, 1, LAST)).collect();
        let packed = zstd::encode_all(&mbo(&many)[..], 3).unwrap();
        let (record, problem) = refused(&packed[..packed.len() - 20], CENT as u64);
        assert!(
            record > 1 && problem.contains("the zstd stream is damaged or cut short"),
            "{record}: {problem}"
        );
        for length in 3..60 {
            assert!(parse(&whole[..length], "day.dbn", 1).is_err());
        }
        let mut long = zstd::Encoder::new(Vec::new(), 3).unwrap();
        long.write_all(b"no DBN").unwrap();
        assert!(refused(&long.finish().unwrap(), 1).1.contains("no DBN file"));
    }
}
