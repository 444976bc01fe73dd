//! The picture of the shortfall's distribution, a line a choice, with its tail enlarged.

use std::ops::{Div, Range};

use numashock_experiment::results::SweepResults;
use plotters::prelude::*;

use crate::PictureError;
use crate::plot::{Area, GREY, draw_line, font, left_middle, line_style, padded, shorten};

const SIZE: (u32, u32) = (1_200, 700);
const SIDE_WIDTH: u32 = 430;
const TAIL_HEIGHT: u32 = 300;
const LEGEND_NAME: usize = 48;
/// Most steps drawn of a line, at even distances of probability: each is at most two pixels high.
const POINTS: usize = 400;

const MILLION: u64 = 1_000_000;

/// Draws the distribution of the implementation shortfall per choice, as SVG.
///
/// # Errors
/// If the plotter fails.
pub fn is_cdf(results: &SweepResults) -> Result<String, PictureError> {
    let curves: Vec<Curve> =
        (0..results.summary.choices.len()).map(|choice| Curve::new(results, choice)).collect();
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let root = root.margin(8, 0, 0, 0).titled(
            &format!("Implementation shortfall: {}", shorten(&results.summary.scenario, 60)),
            font(20, &BLACK),
        )?;
        let (main, side) = root.split_horizontally(SIZE.0 - SIDE_WIDTH);
        let (tail, legend) = side.split_vertically(TAIL_HEIGHT);
        draw_main(&main, &curves)?;
        draw_tail(&tail, &curves)?;
        draw_legend(&legend, results, &curves)?;
        root.present()?;
    }
    Ok(svg)
}

/// The sorted shortfalls of a choice, in basis points.
struct Curve {
    choice: usize,
    sorted: Vec<f64>,
}

impl Curve {
    fn new(results: &SweepResults, choice: usize) -> Curve {
        let rows = results.parents.iter().filter(|row| row.choice as usize == choice);
        let mut micro: Vec<i64> = rows.map(|row| row.is_micro_bp).collect();
        micro.sort_unstable();
        Curve { choice, sorted: micro.into_iter().map(|micro| micro as f64 / 1e6).collect() }
    }

    fn quantile(&self, ppm: u64) -> Option<f64> {
        let rank = share(self.sorted.len(), ppm, u64::div_ceil).max(1);
        self.sorted.get(rank - 1).copied()
    }

    /// The steps of the distribution between two probabilities (in ppm), at most [`POINTS`] of them.
    fn steps(&self, from: u64, to: u64) -> Vec<(f64, f64)> {
        let count = self.sorted.len();
        let (first, last) = (share(count, from, Div::div), share(count, to, u64::div_ceil));
        let stride = (last - first).div_ceil(POINTS).max(1);
        let mut steps = Vec::new();
        let mut below = first;
        while below < last {
            let reached = (below + stride).min(last);
            let value = self.sorted[reached - 1];
            steps.extend([below, reached].map(|rank| (value, rank as f64 / count as f64)));
            below = reached;
        }
        steps
    }
}

/// `ppm` millionths of `count`, divided as told.
fn share(count: usize, ppm: u64, divide: fn(u64, u64) -> u64) -> usize {
    usize::try_from(divide(count as u64 * ppm, MILLION)).expect("a share is at most the whole")
}

/// The range from the least to the greatest of one quantile each, over the choices that have parents.
fn value_range(curves: &[Curve], from: u64, to: u64) -> Range<f64> {
    let ends = |ppm| curves.iter().filter_map(move |curve| curve.quantile(ppm));
    match (ends(from).reduce(f64::min), ends(to).reduce(f64::max)) {
        (Some(lo), Some(hi)) => padded(lo, hi),
        _ => 0.0..1.0,
    }
}

fn draw_main(area: &Area<'_>, curves: &[Curve]) -> Result<(), PictureError> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d(value_range(curves, 5_000, 995_000), 0.0..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(font(13, &GREY))
        .axis_desc_style(font(14, &BLACK))
        .x_desc("basis points of quantity × decision mid (0.5 % to 99.5 % of the parents shown)")
        .y_desc("share of parents")
        .y_label_formatter(&|share| format!("{:.0} %", share * 100.0))
        .draw()?;
    draw_curves(&mut chart, curves, 0, MILLION)
}

/// The tail, beside the whole: inside it, it would cover the distributions that are not skewed.
fn draw_tail(area: &Area<'_>, curves: &[Curve]) -> Result<(), PictureError> {
    let mut chart = ChartBuilder::on(area)
        .caption("the worst tenth, enlarged", font(14, &BLACK))
        .margin(12)
        .x_label_area_size(24)
        .y_label_area_size(44)
        .build_cartesian_2d(value_range(curves, 900_000, 999_000), 0.9..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(font(12, &GREY))
        .x_labels(6)
        .y_labels(6)
        .y_label_formatter(&|share| format!("{:.0} %", share * 100.0))
        .draw()?;
    draw_curves(&mut chart, curves, 900_000, MILLION)
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn draw_curves(chart: &mut Chart<'_, '_>, curves: &[Curve], from: u64, to: u64) -> Result<(), PictureError> {
    let (x, y) = (chart.x_range(), chart.y_range());
    let area = chart.plotting_area();
    let pixels = area.strip_coord_spec();
    let (left, top) = pixels.get_base_pixel();
    // Later choices first, so that the baseline lies on top.
    for curve in curves.iter().rev() {
        let inside = curve
            .steps(from, to)
            .into_iter()
            .filter(|(value, share)| x.contains(value) && y.start <= *share && *share <= y.end);
        let points: Vec<(i32, i32)> = inside
            .map(|point| {
                let (across, down) = area.map_coordinate(&point);
                (across - left, down - top)
            })
            .collect();
        let (colour, dashed) = line_style(curve.choice);
        draw_line(&pixels, points, colour, dashed)?;
    }
    Ok(())
}

fn draw_legend(area: &Area<'_>, results: &SweepResults, curves: &[Curve]) -> Result<(), PictureError> {
    let (name, detail) = (left_middle(14, &BLACK), left_middle(12, &GREY));
    let space = area.dim_in_pixel().1.saturating_sub(12);
    let step = (space / u32::try_from(curves.len().max(1)).unwrap_or(u32::MAX)).min(44) as i32;
    for (curve, choice) in curves.iter().zip(&results.summary.choices) {
        let middle = 20 + step * curve.choice as i32;
        let (colour, dashed) = line_style(curve.choice);
        draw_line(area, vec![(30, middle), (64, middle)], colour, dashed)?;
        area.draw(&Text::new(shorten(&choice.name, LEGEND_NAME), (72, middle), name.clone()))?;
        // With many choices the lines of figures would overlap the names.
        if step >= 36 {
            let figures = match [500_000, 950_000, 990_000].map(|ppm| curve.quantile(ppm)) {
                [Some(q50), Some(q95), Some(q99)] => {
                    format!("q50 {q50:.2} · q95 {q95:.2} · q99 {q99:.2} bp")
                }
                _ => "no parents".to_owned(),
            };
            area.draw(&Text::new(figures, (72, middle + 17), detail.clone()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn steps_are_few_and_climb_from_one_probability_to_the_other() {
        for count in [1, 7, 400, 401, 100_003] {
            let curve = Curve { choice: 0, sorted: (0..count).map(f64::from).collect() };
            for (from, to) in [(0, MILLION), (900_000, MILLION)] {
                let steps = curve.steps(from, to);
                assert!(steps.len() <= 2 * POINTS, "{count}: {}", steps.len());
                assert!(steps.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
                assert_eq!(*steps.last().unwrap(), (f64::from(count - 1), 1.0));
            }
        }
    }

    #[test]
    fn every_choice_is_named_and_markup_in_names_is_harmless() {
        let svg = is_cdf(&sample::results(9, 2, 40)).unwrap();
        assert!(svg.contains("pinned, balancing off"));
        assert!(svg.contains("hugetlb &amp; mlock"));
        assert!(!svg.contains("<would>"));
    }

    #[test]
    fn one_value_and_no_value_are_drawn() {
        assert!(is_cdf(&sample::results(1, 1, 1)).unwrap().ends_with("</svg>\n"));
        assert!(is_cdf(&sample::results(2, 0, 0)).unwrap().contains("no parents"));
    }
}
