//! The picture of one seed over time: the host's counters, the controller's regime, the gaps between releases.

use std::ops::Range;

use numashock_experiment::results::{BucketRow, Counters, Regime, ReleaseGap, SweepResults, Timeline};
use plotters::prelude::*;

use crate::PictureError;
use crate::plot::{Area, GREY, font, left_middle, shorten};

const SIZE: (u32, u32) = (1_280, 720);
const Y_LABELS: u32 = 66;
const LEGEND_HEIGHT: u32 = 64;
/// Gaps drawn of a choice one by one; beyond that an even sample, and always the longest of each slice of time.
const POINTS: usize = 1_500;
const SLICES: u64 = 240;

/// A counter drawn: label, colour, reading.
type Series = (&'static str, RGBColor, fn(&Counters) -> u64);

const SERIES: [Series; 3] = [
    ("PTE updates/s", RGBColor(86, 180, 233), |counters| counters.numa_pte_updates),
    ("hinting faults/s", RGBColor(0, 0, 0), |counters| counters.numa_hint_faults),
    ("pages migrated/s", RGBColor(213, 94, 0), |counters| counters.numa_pages_migrated),
];

/// From light to dark with caution, so that it reads without colour.
fn regime_colour(regime: Regime) -> RGBColor {
    match regime {
        Regime::NumaStable => RGBColor(222, 222, 222),
        Regime::NumaWatch => RGBColor(240, 190, 60),
        Regime::NumaShock => RGBColor(213, 94, 0),
        Regime::SafeNumaConservative => RGBColor(75, 30, 110),
    }
}

/// Draws the baseline and the choice with the best paired q95 (else the next one) over time, as SVG.
///
/// # Errors
/// If the plotter fails.
pub fn timeline(results: &SweepResults) -> Result<String, PictureError> {
    let shown: Vec<&Timeline> = shown(results);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let root = root.margin(8, 0, 0, 0);
        if shown.is_empty() {
            root.draw(&Text::new("no time line was recorded", (40, 40), left_middle(16, &GREY)))?;
        } else {
            let (charts, legend) = root.split_vertically(SIZE.1 - LEGEND_HEIGHT);
            let scales = Scales::of(&shown);
            for (area, line) in charts.split_evenly((1, shown.len())).iter().zip(&shown) {
                let name =
                    results.summary.choices.get(line.choice as usize).map_or("", |choice| &choice.name);
                draw_choice(area, line, &scales, &format!("{} (seed {})", shorten(name, 44), line.seed))?;
            }
            draw_legend(&legend)?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn shown(results: &SweepResults) -> Vec<&Timeline> {
    let improvement = |line: &&Timeline| {
        let choice = results.summary.choices.get(line.choice as usize)?;
        choice.paired.as_ref()?.q95.diff
    };
    let baseline = results.timelines.iter().find(|line| line.choice == 0);
    let others = || results.timelines.iter().filter(|line| line.choice != 0);
    let best = others()
        .filter(|line| improvement(line).is_some())
        .min_by(|a, b| improvement(a).unwrap_or(0.0).total_cmp(&improvement(b).unwrap_or(0.0)));
    baseline.into_iter().chain(best.or_else(|| others().next())).collect()
}

/// The ranges shared by the columns, so that they compare by eye.
struct Scales {
    seconds: Range<f64>,
    rate: Range<f64>,
    gap: Range<f64>,
}

impl Scales {
    fn of(lines: &[&Timeline]) -> Scales {
        let end = |line: &&Timeline| {
            let bucket = line.buckets.iter().map(|row| row.bucket_start_ns + row.bucket_length_ns).max();
            bucket.max(line.gaps.iter().map(|gap| gap.at_ns).max()).unwrap_or(0)
        };
        let start = |line: &&Timeline| {
            let bucket = line.buckets.iter().map(|row| row.bucket_start_ns).min();
            bucket.into_iter().chain(line.gaps.iter().map(|gap| gap.at_ns).min()).min().unwrap_or(0)
        };
        let seconds = lines.iter().map(start).min().unwrap_or(0) as f64 / 1e9
            ..lines.iter().map(end).max().unwrap_or(0) as f64 / 1e9;
        let rates = lines.iter().flat_map(|line| &line.buckets).flat_map(rates);
        let gaps = || lines.iter().flat_map(|line| &line.gaps).map(|gap| log_gap(gap.gap_ns));
        Scales {
            seconds: if seconds.is_empty() { 0.0..1.0 } else { seconds },
            rate: ZERO_RATE - 0.2..libm::ceil(rates.fold(1.0, f64::max)) + 0.1,
            gap: libm::floor(gaps().fold(3.0, f64::min))..libm::ceil(gaps().fold(6.0, f64::max)) + 0.1,
        }
    }
}

/// Where a rate of zero stands on the logarithmic axis.
const ZERO_RATE: f64 = -1.0;

fn rates(row: &BucketRow) -> [f64; 3] {
    SERIES.map(|(_, _, count)| {
        let per_second = count(&row.counters) as f64 * 1e9 / row.bucket_length_ns.max(1) as f64;
        if per_second > 0.0 { libm::log10(per_second).max(ZERO_RATE) } else { ZERO_RATE }
    })
}

fn log_gap(gap_ns: u64) -> f64 {
    libm::log10(gap_ns.max(1) as f64)
}

fn draw_choice(area: &Area<'_>, line: &Timeline, scales: &Scales, title: &str) -> Result<(), PictureError> {
    let area = area.titled(title, font(17, &BLACK))?;
    let height = area.dim_in_pixel().1;
    let (counters, rest) = area.split_vertically(height * 46 / 100);
    let (strip, gaps) = rest.split_vertically(36);
    draw_counters(&counters, line, scales)?;
    draw_regimes(&strip, line, scales)?;
    draw_gaps(&gaps, line, scales)
}

fn draw_counters(area: &Area<'_>, line: &Timeline, scales: &Scales) -> Result<(), PictureError> {
    let mut chart = ChartBuilder::on(area)
        .margin_left(8)
        .margin_right(18)
        .margin_top(6)
        .margin_bottom(6)
        .y_label_area_size(Y_LABELS)
        .build_cartesian_2d(scales.seconds.clone(), scales.rate.clone())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(font(12, &GREY))
        .axis_desc_style(font(13, &BLACK))
        .y_labels(decades(&scales.rate))
        .y_label_formatter(&|log| rate_label(*log))
        .y_desc("per second")
        .draw()?;
    for (index, (_, colour, _)) in SERIES.into_iter().enumerate() {
        let points = line.buckets.iter().flat_map(|row| {
            let (from, rate) = (row.bucket_start_ns as f64 / 1e9, rates(row)[index]);
            [(from, rate), (from + row.bucket_length_ns as f64 / 1e9, rate)]
        });
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
    }
    Ok(())
}

fn draw_regimes(area: &Area<'_>, line: &Timeline, scales: &Scales) -> Result<(), PictureError> {
    let mut chart = ChartBuilder::on(area)
        .margin_left(8)
        .margin_right(18)
        .margin_top(6)
        .margin_bottom(6)
        .y_label_area_size(Y_LABELS)
        .build_cartesian_2d(scales.seconds.clone(), 0.0..1.0)?;
    // Neighbours of one regime make one bar: seams between bars would look like changes.
    let runs = line.buckets.chunk_by(|a, b| a.regime == b.regime);
    chart.draw_series(runs.map(|run| {
        let last = &run[run.len() - 1];
        let (from, to) = (run[0].bucket_start_ns, last.bucket_start_ns + last.bucket_length_ns);
        Rectangle::new(
            [(from as f64 / 1e9, 0.0), (to as f64 / 1e9, 1.0)],
            regime_colour(run[0].regime).filled(),
        )
    }))?;
    area.draw(&Text::new("regime", (24, 18), left_middle(13, &BLACK)))?;
    Ok(())
}

fn draw_gaps(area: &Area<'_>, line: &Timeline, scales: &Scales) -> Result<(), PictureError> {
    let mut chart = ChartBuilder::on(area)
        .margin_left(8)
        .margin_right(18)
        .margin_top(6)
        .margin_bottom(4)
        .x_label_area_size(40)
        .y_label_area_size(Y_LABELS)
        .build_cartesian_2d(scales.seconds.clone(), scales.gap.clone())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(font(12, &GREY))
        .axis_desc_style(font(13, &BLACK))
        .y_labels(decades(&scales.gap))
        .y_label_formatter(&|log| gap_label(*log))
        .x_label_formatter(&|seconds| format!("{seconds} s"))
        .y_desc("gap between releases")
        .x_desc("simulated time")
        .draw()?;
    let point = |gap: &ReleaseGap| (gap.at_ns as f64 / 1e9, log_gap(gap.gap_ns));
    let stride = line.gaps.len().div_ceil(POINTS).max(1);
    let sampled = line.gaps.iter().step_by(stride).map(point);
    chart
        .draw_series(sampled.map(|point| Circle::new(point, 2, RGBColor(0, 114, 178).mix(0.35).filled())))?;
    let longest = longest(&line.gaps);
    chart.draw_series(longest.map(|gap| Circle::new(point(gap), 2, RGBColor(160, 50, 0).filled())))?;
    Ok(())
}

/// The longest gap of each slice of time.
fn longest(gaps: &[ReleaseGap]) -> impl Iterator<Item = &ReleaseGap> {
    let last = gaps.last().map_or(0, |gap| gap.at_ns);
    let slice = (last / SLICES).max(1);
    gaps.chunk_by(move |a, b| a.at_ns / slice == b.at_ns / slice)
        .filter_map(|slice| slice.iter().max_by_key(|gap| gap.gap_ns))
}

fn decades(range: &Range<f64>) -> usize {
    // The plotter takes the number of labels as a ceiling; one for each decade makes it choose whole decades.
    (range.end - range.start) as usize + 2
}

fn rate_label(log: f64) -> String {
    if log < -0.5 { "0".to_owned() } else { scaled_label(log, &["", "k", "M", "G", "T"]) }
}

fn gap_label(log: f64) -> String {
    scaled_label(log, &[" ns", " µs", " ms", " s", "000 s"])
}

/// A power of ten with a unit for each factor of a thousand; nothing between the powers.
fn scaled_label(log: f64, units: &[&str]) -> String {
    let power = libm::round(log);
    if libm::fabs(log - power) > 1e-6 || power < 0.0 {
        return String::new();
    }
    let power = power as usize;
    let unit = (power / 3).min(units.len() - 1);
    format!("1{}{}", "0".repeat(power - 3 * unit), units[unit])
}

fn draw_legend(area: &Area<'_>) -> Result<(), PictureError> {
    let text = left_middle(13, &BLACK);
    let mut across = 40;
    let mut next = |label: &str| {
        let start = across;
        across += 54 + 8 * label.chars().count() as i32;
        start
    };
    for (label, colour, _) in SERIES {
        let start = next(label);
        area.draw(&PathElement::new([(start, 18), (start + 28, 18)], colour.stroke_width(3)))?;
        area.draw(&Text::new(label, (start + 36, 18), text.clone()))?;
    }
    for (label, colour) in [
        ("gap", RGBColor(0, 114, 178).mix(0.35)),
        ("longest gap of a slice of time", RGBColor(160, 50, 0).mix(1.0)),
    ] {
        let start = next(label);
        area.draw(&Circle::new((start + 20, 18), 4, colour.filled()))?;
        area.draw(&Text::new(label, (start + 36, 18), text.clone()))?;
    }
    across = 40;
    for regime in Regime::ALL {
        let start = across;
        across += 54 + 10 * regime.name().len() as i32;
        area.draw(&Rectangle::new([(start, 37), (start + 28, 51)], regime_colour(regime).filled()))?;
        area.draw(&Text::new(regime.name(), (start + 36, 44), text.clone()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn labels_name_whole_decades_only() {
        let rates = [-1.0, 0.0, 2.0, 3.0, 5.0, 2.5].map(rate_label);
        assert_eq!(rates, ["0", "1", "100", "1k", "100k", ""]);
        assert_eq!([2.0, 4.0, 9.0].map(gap_label), ["100 ns", "10 µs", "1 s"]);
    }

    #[test]
    fn the_baseline_and_the_best_choice_are_drawn() {
        let results = sample::results(4, 25, 40);
        let svg = timeline(&results).unwrap();
        assert!(svg.contains("baseline (seed 0)"));
        assert!(svg.contains(&format!("{} (seed 0)", results.summary.choices[3].name)));
        assert!(!svg.contains(&results.summary.choices[1].name));
    }

    #[test]
    fn a_stall_is_never_sampled_away() {
        let mut gaps: Vec<ReleaseGap> =
            (1..=100_000).map(|index| ReleaseGap { at_ns: index * 1_000, gap_ns: 1_000 }).collect();
        gaps[77_777].gap_ns = 900_000;
        let kept: Vec<&ReleaseGap> = longest(&gaps).collect();
        assert!(kept.len() <= SLICES as usize + 1);
        assert!(kept.iter().any(|gap| gap.gap_ns == 900_000));
    }

    #[test]
    fn nothing_recorded_is_said() {
        assert!(timeline(&sample::results(1, 0, 0)).unwrap().contains("no time line was recorded"));
    }
}
