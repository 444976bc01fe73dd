//! Parent orders from a CSV file.

use std::path::Path;

use numashock_book::{Lots, Side};
use numashock_engine::{Nanos, Span};
use numashock_execution::{ParentOrder, StrategyId, SymbolId};

use super::document::ScenarioError;
use super::units::parse_seconds;

const HEADER: &str = "arrival_s,side,quantity,horizon_s";

/// Parses `arrival_s,side,quantity,horizon_s` rows; each parent must end by `end`.
pub(super) fn parse(file: &Path, text: &str, end: Nanos) -> Result<Vec<ParentOrder>, ScenarioError> {
    let at = |line: usize, key: &str, problem: String| ScenarioError {
        file: file.to_owned(),
        line: Some(line),
        key: key.to_owned(),
        problem,
    };
    let mut lines = text.lines().map(|line| line.trim_end_matches('\r')).enumerate();
    let header = lines.next().map(|(_, line)| line.trim());
    if header != Some(HEADER) {
        return Err(at(1, "", format!("expected the header \"{HEADER}\"; add it as the first line")));
    }
    let mut parents: Vec<ParentOrder> = Vec::new();
    for (index, line) in lines {
        let line_number = index + 1;
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let [arrival, side, quantity, horizon] = cells[..] else {
            let problem =
                format!("has {} columns, expected 4 ({HEADER}); is the file truncated?", cells.len());
            return Err(at(line_number, "", problem));
        };
        let seconds =
            |key: &str, cell: &str| parse_seconds(cell).map_err(|problem| at(line_number, key, problem));
        let parent = ParentOrder {
            arrival: Nanos(seconds("arrival_s", arrival)?),
            side: match side {
                "buy" => Side::Buy,
                "sell" => Side::Sell,
                _ => {
                    return Err(at(line_number, "side", format!("\"{side}\": expected \"buy\" or \"sell\"")));
                }
            },
            quantity: match quantity.parse::<u64>() {
                Ok(lots @ 1..=1_000_000_000) => Lots(lots),
                _ => {
                    return Err(at(
                        line_number,
                        "quantity",
                        format!("\"{quantity}\": expected 1 to 10⁹ whole lots"),
                    ));
                }
            },
            horizon: Span(seconds("horizon_s", horizon)?),
            symbol: SymbolId::default(),
            strategy: StrategyId::default(),
        };
        if parent.horizon == Span::ZERO || parent.arrival.0.saturating_add(parent.horizon.0) > end.0 {
            let problem = format!(
                "the parent must end after it arrives and within run.duration ({end}); lengthen the run"
            );
            return Err(at(line_number, "horizon_s", problem));
        }
        if parents.last().is_some_and(|last| parent.arrival < last.arrival) {
            return Err(at(
                line_number,
                "arrival_s",
                "lies before the row above; sort the file by arrival".to_owned(),
            ));
        }
        parents.push(parent);
    }
    if parents.is_empty() {
        return Err(at(2, "", format!("no parent orders; add rows of {HEADER}")));
    }
    Ok(parents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Vec<ParentOrder>, String> {
        parse(Path::new("p.csv"), text, Nanos(60_000_000_000)).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_become_parents() {
        let parents =
            parse_text("arrival_s,side,quantity,horizon_s\r\n0.5,buy,100,10\r\n1,sell,7,2.25\r\n").unwrap();
        assert_eq!((parents[0].arrival, parents[0].quantity), (Nanos(500_000_000), Lots(100)));
        assert_eq!((parents[1].side, parents[1].horizon), (Side::Sell, Span(2_250_000_000)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let header = "arrival_s,side,quantity,horizon_s\n";
        for (text, problem) in [
            ("", "p.csv:1: expected the header"),
            (header, "p.csv:2: no parent orders"),
            (&format!("{header}1,buy,5"), "p.csv:2: has 3 columns"),
            (&format!("{header}1,long,5,1\n"), "p.csv:2: side: \"long\""),
            (&format!("{header}1,buy,-5,1\n"), "p.csv:2: quantity: \"-5\""),
            (&format!("{header}x,buy,5,1\n"), "p.csv:2: arrival_s: \"x\""),
            (&format!("{header}59,buy,5,2\n"), "p.csv:2: horizon_s: the parent must end"),
            (&format!("{header}5,buy,5,2\n4,buy,5,2\n"), "p.csv:3: arrival_s: lies before"),
        ] {
            let message = parse_text(text).unwrap_err();
            assert!(message.starts_with(problem), "{message}");
        }
    }
}
