//! One number for all that a program must agree on with the one that wrote a trace.

use std::fmt::Write as _;
use std::sync::OnceLock;

use numashock_controller::{
    Actions, CancelReplace, CatchUp, Level, Observation, Regime, ScannerRequest, Telemetry,
};

use crate::codec;
use crate::frame::{Decided, End, Header, InputFile};

/// How events, checkpoints and the index are laid out. It changes whenever `columns`, `writer` or `index` write other bytes.
const COLUMNS: &str =
    "events: tags, runs, times, words by tag; checkpoint: events at hash; index: stride, places";

/// A hash over names and bytes of one full sample of each frame: a field that is added, renamed, moved or widened changes it.
pub(crate) fn hash() -> u64 {
    static HASH: OnceLock<u64> = OnceLock::new();
    *HASH.get_or_init(|| {
        text().bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        })
    })
}

/// The description that is hashed.
fn text() -> String {
    let mut text = String::from(COLUMNS);
    let mut add = |names: String, bytes: Vec<u8>| {
        write!(text, "\n{names} {bytes:02x?}").expect("a string takes every text");
    };
    let header = header();
    add(format!("{header:?}"), codec::encode(&header));
    for decided in decided() {
        add(format!("{decided:?}"), codec::encode(&decided));
    }
    let end = End { events: 1, at: 2, hash: 3 };
    add(format!("{end:?}"), codec::encode(&end));
    text
}

fn header() -> Header {
    Header {
        model_version: 1,
        name: "n".to_owned(),
        scenario: "s".to_owned(),
        inputs: vec![InputFile { name: "n".to_owned(), path: "p".to_owned(), bytes: 1, hash: 2 }],
        choice: "c".to_owned(),
        replication: 2,
        hosts: vec!["h".to_owned()],
        interval: 3,
    }
}

/// Every option is there, and every variant of every enum.
fn decided() -> [Decided; 4] {
    [0, 1, 2, 3].map(|number: u32| Decided {
        host: 1,
        bucket: number,
        seen: Observation {
            telemetry: [Telemetry::Fresh, Telemetry::Stale][number as usize % 2],
            rhf_ppm: Some(1),
            mcr_kib_per_s: Some(2),
            dcj_ppm: Some(3),
            qdl_ppm: Some(4),
            deadline_miss_ppm: Some(5),
        },
        regime: Regime::at(Level::ALL[number as usize]),
        actions: Actions {
            participation_cap_ppm: Some(1),
            child_spacing_ppm: 2,
            min_reprice_interval_ns: Some(3),
            cancel_replace: [
                CancelReplace::Normal,
                CancelReplace::OnlyIfPriceMoved,
                CancelReplace::Suppressed,
            ][number as usize % 3],
            catch_up: [CatchUp::Burst, CatchUp::Paced][number as usize % 2],
            scanner: Some(ScannerRequest { scan_delay_ms: 4, scan_size_mb: 5 }),
            ..Actions::NORMAL
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_every_field_and_is_the_same_each_time() {
        let text = text();
        for name in
            ["model_version", "deadline_miss_ppm", "blind", "scan_size_mb", "finer_telemetry", "hash: 3"]
        {
            assert!(text.contains(name), "{name} in {text}");
        }
        assert_eq!(super::text(), text);
    }
}
