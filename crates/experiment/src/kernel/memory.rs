//! How much of a node's memory balancing may still take: what admission leaves free (spec: 2.5).

use super::arguments::Args;
use super::trace::Run;
use super::workload::{MOST_MB, Result, bad};

/// `watermark_scale_factor`: the watermarks lie a thousandth of the memory apart.
const WATERMARK_PART: u64 = 1_000;
/// Bounds of `min_free_kbytes`.
const MIN_FREE_KB: core::ops::RangeInclusive<u64> = 128..=262_144;

/// A zone as it is just before the start, in pages.
#[derive(Clone, Copy, Debug)]
struct Zone {
    free: u64,
    low: u64,
    high: u64,
    /// Kept for allocations that cannot use a higher zone.
    protection: u64,
}

/// Pages of a node that a process may have that has `used` of them at the start.
pub(super) fn usable_pages(run: &Run, node: usize, used: u64) -> Result<u64> {
    let zones = zones(run, node);
    if !zones.is_empty() {
        return Ok(used + room(&zones));
    }
    let key = format!("nodes.node{node}.memfree_kb");
    let free = kilobytes(&key, &run.nodes[&format!("node{node}")].memfree_kb)?;
    let left = free.saturating_sub(ballast_kb(run, node as u64)?);
    Ok((left / 4).saturating_sub(high_watermark(run, node)?))
}

pub(super) fn kilobytes(key: &str, text: &str) -> Result<u64> {
    text.parse().map(|free: u64| free.min(MOST_MB << 10)).map_err(|_| bad(key, text, "kilobytes"))
}

/// Memory of a node that the sampler fills before the start, after the free memory was read.
pub(super) fn ballast_kb(run: &Run, node: u64) -> Result<u64> {
    let args = Args(run);
    let mb = args.within("ballast_mb", 0, 0..=MOST_MB)?;
    if mb == 0 {
        return Ok(0);
    }
    let on = args.within("ballast_node", 1, 0..=run.nodes.len() as u64 - 1)?;
    Ok(if on == node { mb << 10 } else { 0 })
}

/// The zones of a node, lowest first, where the recording tells.
fn zones(run: &Run, node: usize) -> Vec<Zone> {
    let of_node = format!("zone node={node} ");
    let lines = run.info.iter().filter_map(|line| line.strip_prefix(of_node.as_str()));
    let zone = |line: &str| {
        let number = |key: &str| {
            let value = |word: &str| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok();
            line.split_whitespace().find_map(value)
        };
        let (free, low, high) = (number("free")?, number("low")?, number("high")?);
        Some(Zone { free, low, high, protection: number("protection")? })
    };
    lines.filter_map(zone).collect()
}

/// Pages that migrations take before they are refused.
///
/// A migration is admitted while any zone has more free than its high watermark; its page then comes from the highest zone
/// that has more than its low one. So the lowest zone that admits ends at its high watermark, those above it at their low one.
/// Pages on per-CPU lists count as taken; which of them are used is not followed.
fn room(zones: &[Zone]) -> u64 {
    let above = |zone: &Zone, mark: u64| zone.free.saturating_sub(mark + zone.protection);
    let Some(last) = zones.iter().position(|zone| above(zone, zone.high) > 1) else { return 0 };
    let higher: u64 = zones[last + 1..].iter().map(|zone| above(zone, zone.low)).sum();
    above(&zones[last], zones[last].high) - 1 + higher
}

/// The high watermark of a node with one zone, in pages: where its zones are not recorded.
fn high_watermark(run: &Run, node: usize) -> Result<u64> {
    let total = |number: usize| {
        let name = format!("node{number}");
        let info = &run.nodes[&name];
        let text = info.memtotal_kb.as_ref().unwrap_or(&info.memfree_kb);
        kilobytes(&format!("nodes.{name}.memtotal_kb"), text)
    };
    let mut all = 0;
    for number in 0..run.nodes.len() {
        all += total(number)?;
    }
    let least = (16 * all).isqrt().clamp(*MIN_FREE_KB.start(), *MIN_FREE_KB.end());
    let own = total(node)?;
    let least = least * own / all.max(1);
    Ok((least + 2 * (least / 4).max(own / WATERMARK_PART)) / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_end_at_the_mark_that_stops_them() {
        let zone = |free| Zone { free, low: 50, high: 100, protection: 20 };
        let highest = |free| Zone { protection: 0, ..zone(free) };
        // The lower one admits until its high watermark; meanwhile the higher one is taken to its low one.
        assert_eq!(room(&[zone(1000), highest(500)]), 1000 - 100 - 20 - 1 + 450);
        // The lower one admits nothing: the higher one alone decides.
        assert_eq!(room(&[zone(100), highest(500)]), 500 - 100 - 1);
        assert_eq!(room(&[zone(100), highest(90)]), 0);
        assert_eq!(room(&[zone(1000), highest(30)]), 1000 - 100 - 20 - 1);
    }
}
