//! Execution telemetry of a desk: a row an event, in columns that a desk's own logs already have (playbook: 4.3).

use std::collections::BTreeMap;

use numashock_sim::counters::instant;

use super::ImportError;
use crate::results::Side;

/// The columns, in the order in which `numashock run --telemetry` writes them, with what they hold.
pub const COLUMNS: [(&str, &str); 32] = [
    ("time_ns", "mandatory, or time: when, by the desk's clock; nanoseconds since 1970 or of the run"),
    ("event", "mandatory: decision, send, ack, fill, parent or heartbeat"),
    ("host", "name of the host; may be absent if there is one"),
    ("strategy", "segment: name of the strategy"),
    ("symbol_liquidity", "segment: liquidity bucket of the symbol"),
    ("session_phase", "segment: phase of the session"),
    ("id", "any name of the row; if given, no two rows may have the same"),
    ("parent", "name of the parent order"),
    ("child", "name of the child order"),
    ("request", "send: new, replace or cancel; each is a release"),
    ("latency_ns", "decision: from its beginning (its message was ready) to its end, which is time_ns"),
    ("queue_wait_ns", "decision: how long its message had waited in the dispatch queue"),
    ("round_trip_ns", "ack: from the request (new, or cancel/replace) to this row"),
    ("ahead_lots", "ack of a child that joined a queue: lots ahead of it"),
    ("lost_lots", "ack, from a simulator: how many more lots are ahead than if it had been on time"),
    ("on_time_lots", "ack, from a simulator: lots at its price, had it been on time"),
    ("delay_ns", "ack: how much later than its normal way it arrived; QDL is then an estimate"),
    ("queue_rate_lots_per_s", "ack: lots a second that join the queue at its price; or --queue-rate"),
    ("lots", "fill: lots"),
    ("markout_micro_bp", "fill: markout, 1e-6 basis points; positive is good"),
    ("arrival_ns", "parent: when its life began, by the desk's clock; the row's time is its end"),
    ("deadline_missed", "parent: 1 if the deadline passed with lots left, else 0"),
    ("side", "parent: buy or sell; NTU compares parents that are alike in this and in the four that follow"),
    ("quantity_lots", "parent: its size"),
    ("filled_lots", "parent: lots filled"),
    ("spread_ticks", "parent: the spread at its decision"),
    (
        "variation",
        "parent: the squared changes of the mid over the second before its decision, summed, half-ticks^2",
    ),
    ("is_micro_bp", "parent: implementation shortfall, 1e-6 basis points"),
    ("delay_micro_bp", "parent: its delay part"),
    ("impact_micro_bp", "parent: its impact part"),
    ("miss_micro_bp", "parent: its missed-quantity part"),
    ("host_time_ns", "heartbeat: the counters' clock, read at the same moment as time_ns"),
];
/// No lots and no cost of an order is larger, and their products over any file can be summed.
const MOST: u64 = 1_000_000_000_000_000;
/// A time as text, instead of `time_ns`.
const TIME: &str = "time";

/// What kind of event a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A decision ended.
    Decision {
        /// From its beginning to its end.
        latency_ns: Option<u64>,
        /// Its message's wait.
        queue_wait_ns: Option<u64>,
    },
    /// A request left for the gateway.
    Send,
    /// An order was acknowledged.
    Ack {
        /// From the request to here.
        round_trip_ns: Option<u64>,
        /// The queue it joined, if it did.
        passive: Option<Passive>,
    },
    /// A fill.
    Fill {
        /// Lots.
        lots: Option<u64>,
        /// Markout.
        markout_micro_bp: Option<i64>,
    },
    /// A parent ended.
    Parent(Ended),
    /// Both clocks were read.
    Heartbeat {
        /// The counters' clock.
        host_time_ns: i64,
    },
}

/// What is known of the queue that a child joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passive {
    /// Lots lost, and lots at the price on time: only a simulator knows.
    Measured {
        /// More lots ahead than on time.
        lost: i64,
        /// Lots at the price on time.
        queue: u64,
    },
    /// λ̂·delay: what joined while it was late.
    Estimated {
        /// Lots ahead at the acknowledgement.
        ahead: u64,
        /// How late it was.
        delay_ns: u64,
        /// Thousandths of a lot a second that join, if the row says so.
        rate_milli: Option<u64>,
    },
}

/// A parent's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When its life began.
    pub arrival: Option<i64>,
    /// Whether its deadline was missed.
    pub missed: Option<bool>,
    /// Its side.
    pub side: Option<Side>,
    /// Its size.
    pub quantity_lots: Option<u64>,
    /// Lots filled.
    pub filled_lots: Option<u64>,
    /// Spread at the decision, ticks.
    pub spread_ticks: Option<u64>,
    /// Squared changes of the mid over the second before the decision, half-ticks².
    pub variation: Option<u64>,
    /// Its shortfall.
    pub is_micro_bp: Option<i64>,
    /// Delay, impact and missed quantity.
    pub parts_micro_bp: [Option<i64>; 3],
}

/// A row of execution telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Nanoseconds of the desk's clock.
    pub at: i64,
    /// The line it stands on.
    pub line: usize,
    /// Place in [`Telemetry::hosts`].
    pub host: usize,
    /// Place in [`Telemetry::segments`].
    pub segment: usize,
    /// Place in [`Telemetry::phases`].
    pub phase: usize,
    /// What happened.
    pub what: What,
}

/// Execution telemetry, in order of time for each host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// The file, as the caller named it.
    pub file: String,
    /// Names of hosts; empty where the file names none.
    pub hosts: Vec<String>,
    /// Strategy and liquidity bucket.
    pub segments: Vec<[String; 2]>,
    /// Names of phases.
    pub phases: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Telemetry {
    /// Reads a CSV with a header. Cells may be quoted as RFC 4180 has it, but hold no line end.
    ///
    /// # Errors
    /// The first line that cannot be read, is earlier than the host's line before, or repeats an id or a parent's end.
    pub fn parse(file: &str, text: &str) -> Result<Telemetry, ImportError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().enumerate();
        let error = |line, problem: &str| ImportError::new(file, line, "", problem);
        let (_, header) = lines.next().ok_or_else(|| error(1, "the file is empty; expected a header"))?;
        let header = cells(header).ok_or_else(|| error(1, "a quote is not closed; close it"))?;
        if !text.ends_with('\n') {
            let last = text.lines().count();
            return Err(error(
                last,
                "the last line has no end, so it may be cut short; complete or delete it",
            ));
        }
        let rows = lines.filter(|(_, line)| !line.is_empty()).map(|(index, line)| {
            let line = cells(line).ok_or_else(|| {
                error(index + 1, "a quote is not closed; close it, or take the line end out of the cell")
            });
            line.map(|cells| (index + 1, cells))
        });
        Telemetry::from_rows(file, &header, rows)
    }

    /// From cells by column, an empty text for one that is missing; `rows` gives them with the number of their line.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_rows(
        file: &str,
        header: &[String],
        rows: impl Iterator<Item = Result<(usize, Vec<String>), ImportError>>,
    ) -> Result<Telemetry, ImportError> {
        let mut reader = Reader::new(file, header)?;
        for row in rows {
            let (line, cells) = row?;
            reader.add(line, &cells)?;
        }
        if reader.telemetry.rows.is_empty() {
            return Err(ImportError::new(file, 1, "", "there is no row; expected one an event"));
        }
        Ok(reader.telemetry)
    }
}

/// Splits a line at its commas.
fn cells(line: &str) -> Option<Vec<String>> {
    if !line.contains('"') {
        return Some(line.split(',').map(|cell| cell.trim().to_owned()).collect());
    }
    let (mut all, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut cell).trim().to_owned()),
            other => cell.push(other),
        }
    }
    all.push(cell.trim().to_owned());
    (!quoted).then_some(all)
}

struct Reader<'a> {
    columns: BTreeMap<&'a str, usize>,
    width: usize,
    telemetry: Telemetry,
    /// Where each id and each ended parent stands.
    ids: BTreeMap<String, usize>,
    ended: BTreeMap<(usize, String), usize>,
    /// Time and line of each host's last row.
    last: Vec<(i64, usize)>,
}

/// The cells of one row.
struct Cells<'a> {
    file: &'a str,
    line: usize,
    columns: &'a BTreeMap<&'a str, usize>,
    values: &'a [String],
}

impl<'a> Reader<'a> {
    fn new(file: &str, header: &'a [String]) -> Result<Reader<'a>, ImportError> {
        let mut columns = BTreeMap::new();
        let known = |name: &str| name == TIME || COLUMNS.iter().any(|(column, _)| *column == name);
        for (place, name) in header.iter().enumerate().filter(|(_, name)| known(name)) {
            if columns.insert(name.as_str(), place).is_some() {
                return Err(ImportError::new(file, 1, name, "twice in the header; remove or rename one"));
            }
        }
        let missing = |name: &str, way_out: &str| {
            Err(ImportError::new(file, 1, name, &format!("not in the header; {way_out}")))
        };
        if !columns.contains_key("time_ns") && !columns.contains_key(TIME) {
            return missing("time_ns", "expected it, or time (RFC 3339, or seconds); --columns lists all");
        }
        if !columns.contains_key("event") {
            return missing(
                "event",
                "expected decision, send, ack, fill, parent or heartbeat; --columns lists all",
            );
        }
        let telemetry = Telemetry { file: file.to_owned(), ..Telemetry::default() };
        let (ids, ended) = (BTreeMap::new(), BTreeMap::new());
        Ok(Reader { columns, width: header.len(), telemetry, ids, ended, last: Vec::new() })
    }

    fn add(&mut self, line: usize, values: &[String]) -> Result<(), ImportError> {
        let file = self.telemetry.file.clone();
        let cells = Cells { file: &file, line, columns: &self.columns, values };
        if values.len() != self.width {
            let problem = format!(
                "{} cells; expected {} as in the header; correct or delete the row",
                values.len(),
                self.width
            );
            return Err(cells.error("", &problem));
        }
        let at = cells.time()?;
        let what = cells.what()?;
        let host = place(&mut self.telemetry.hosts, cells.text("host").to_owned());
        let names = ["strategy", "symbol_liquidity"].map(|name| cells.text(name).to_owned());
        let segment = place(&mut self.telemetry.segments, names);
        let phase = place(&mut self.telemetry.phases, cells.text("session_phase").to_owned());
        if let Some(before) = Some(cells.text("id"))
            .filter(|id| !id.is_empty())
            .and_then(|id| self.ids.insert(id.to_owned(), line))
        {
            let problem = format!(
                "`{}` stands on line {before} already; expected each once; delete one",
                cells.text("id")
            );
            return Err(cells.error("id", &problem));
        }
        if matches!(what, What::Parent(_)) && !cells.text("parent").is_empty() {
            let parent = cells.text("parent");
            if let Some(before) = self.ended.insert((host, parent.to_owned()), line) {
                let problem =
                    format!("`{parent}` ended on line {before} already; expected each once; delete one");
                return Err(cells.error("parent", &problem));
            }
        }
        match self.last.get_mut(host) {
            None => self.last.push((at, line)),
            Some((before, line)) if at < *before => {
                let problem = format!(
                    "{} ns earlier than line {line} of the same host; expected rows in order of time; sort them, or split \
                     the file where the clock was set back",
                    before.abs_diff(at)
                );
                return Err(cells.error("", &problem));
            }
            Some(last) => *last = (at, line),
        }
        self.telemetry.rows.push(Row { at, line, host, segment, phase, what });
        Ok(())
    }
}

/// The place of a name in a list, to whose end it comes if it is new.
pub(super) fn place<T: PartialEq>(names: &mut Vec<T>, name: T) -> usize {
    names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

impl Cells<'_> {
    fn text(&self, column: &str) -> &str {
        self.columns.get(column).map_or("", |place| self.values[*place].as_str())
    }

    fn error(&self, column: &str, problem: &str) -> ImportError {
        ImportError::new(self.file, self.line, column, problem)
    }

    fn time(&self) -> Result<i64, ImportError> {
        let (column, at) = if self.columns.contains_key("time_ns") {
            ("time_ns", self.number("time_ns")?)
        } else {
            (TIME, instant(self.text(TIME)))
        };
        // Half the range, so that any two can be subtracted.
        let at = at.filter(|at| at.unsigned_abs() <= i64::MAX.unsigned_abs() / 2);
        at.ok_or_else(|| {
            let problem = format!(
                "found `{}`; expected a time (time_ns: whole nanoseconds; time: RFC 3339 or seconds); correct the cell",
                self.text(column)
            );
            self.error(column, &problem)
        })
    }

    fn number<T: std::str::FromStr>(&self, column: &str) -> Result<Option<T>, ImportError> {
        let cell = self.text(column);
        if cell.is_empty() {
            return Ok(None);
        }
        cell.parse().map(Some).map_err(|_| {
            let range = if std::any::type_name::<T>() == "u64" { " from 0" } else { "" };
            let problem =
                format!("found `{cell}`; expected a whole number{range}, or nothing; correct the cell");
            self.error(column, &problem)
        })
    }

    /// A number whose size is at most `most`.
    fn within<T: std::str::FromStr + Copy + Into<i128>>(
        &self,
        column: &str,
        most: u64,
    ) -> Result<Option<T>, ImportError> {
        let value: Option<T> = self.number(column)?;
        if value.is_some_and(|value| value.into().unsigned_abs() > u128::from(most)) {
            let problem = format!(
                "found `{}`; expected a number of at most {most} in size; correct the cell",
                self.text(column)
            );
            return Err(self.error(column, &problem));
        }
        Ok(value)
    }

    fn what(&self) -> Result<What, ImportError> {
        Ok(match self.text("event") {
            "decision" => What::Decision {
                latency_ns: self.number("latency_ns")?,
                queue_wait_ns: self.number("queue_wait_ns")?,
            },
            "send" => match self.text("request") {
                "" | "new" | "replace" | "cancel" => What::Send,
                other => {
                    let problem = format!("found `{other}`; expected new, replace, cancel or nothing");
                    return Err(self.error("request", &problem));
                }
            },
            "ack" => What::Ack { round_trip_ns: self.number("round_trip_ns")?, passive: self.passive()? },
            "fill" => {
                let markout_micro_bp = self.within("markout_micro_bp", MOST)?;
                What::Fill { lots: self.within("lots", MOST)?, markout_micro_bp }
            }
            "parent" => What::Parent(self.ended()?),
            "heartbeat" => What::Heartbeat {
                host_time_ns: self.number("host_time_ns")?.ok_or_else(|| {
                    self.error("host_time_ns", "empty; a heartbeat gives the counters' clock; fill it")
                })?,
            },
            other => {
                let problem =
                    format!("found `{other}`; expected decision, send, ack, fill, parent or heartbeat");
                return Err(self.error("event", &problem));
            }
        })
    }

    fn passive(&self) -> Result<Option<Passive>, ImportError> {
        let (lost, queue) = (self.number("lost_lots")?, self.number("on_time_lots")?);
        if let (Some(lost), Some(queue)) = (lost, queue) {
            return Ok(Some(Passive::Measured { lost, queue }));
        }
        if lost.is_some() || queue.is_some() {
            return Err(
                self.error("lost_lots", "lost_lots and on_time_lots belong together; fill both, or neither")
            );
        }
        let (Some(ahead), Some(delay_ns)) = (self.number("ahead_lots")?, self.number("delay_ns")?) else {
            return Ok(None);
        };
        let rate = self.text("queue_rate_lots_per_s");
        let rate_milli = (!rate.is_empty()).then(|| milli(rate)).map(|rate| {
            rate.ok_or_else(|| {
                self.error("queue_rate_lots_per_s", "expected lots a second, with at most three decimals")
            })
        });
        Ok(Some(Passive::Estimated { ahead, delay_ns, rate_milli: rate_milli.transpose()? }))
    }

    fn ended(&self) -> Result<Ended, ImportError> {
        let missed = match self.text("deadline_missed") {
            "" => None,
            "0" | "false" => Some(false),
            "1" | "true" => Some(true),
            other => {
                let problem = format!("found `{other}`; expected 0, 1 or nothing");
                return Err(self.error("deadline_missed", &problem));
            }
        };
        let side = match self.text("side") {
            "" => None,
            "buy" => Some(Side::Buy),
            "sell" => Some(Side::Sell),
            other => {
                let problem = format!("found `{other}`; expected buy, sell or nothing");
                return Err(self.error("side", &problem));
            }
        };
        Ok(Ended {
            arrival: self.within("arrival_ns", i64::MAX.unsigned_abs() / 2)?,
            missed,
            side,
            quantity_lots: self.number("quantity_lots")?,
            filled_lots: self.number("filled_lots")?,
            spread_ticks: self.number("spread_ticks")?,
            variation: self.number("variation")?,
            is_micro_bp: self.within("is_micro_bp", MOST)?,
            parts_micro_bp: [
                self.number("delay_micro_bp")?,
                self.number("impact_micro_bp")?,
                self.number("miss_micro_bp")?,
            ],
        })
    }
}

/// A number with at most three decimals, in thousandths.
#[must_use]
pub fn milli(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 3 || !digits(whole) || !digits(decimals) {
        return None;
    }
    let part: u64 = format!("{decimals:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(part)
}
