//! The picture of where C_numa comes from: a bar a part, choice by choice.

use numashock_experiment::attribution::AttributionSummary;
use numashock_experiment::results::{Estimate, SweepResults};
use plotters::prelude::*;

use crate::PictureError;
use crate::plot::{Area, GREY, font, left_middle, line_style, padded, shorten};

const WIDTH: u32 = 1_200;
const HEAD: u32 = 90;
const ROW: u32 = 96;
const NAMES: [&str; 4] = ["hint fault", "migration copy", "dispatch jitter", "queue decay"];

/// Draws the mean of each part of C_numa with its interval by seed, and beside it the range over the orders of adding the
/// mechanisms, as SVG; `None` where no choice was attributed.
///
/// # Errors
/// If the plotter fails.
pub fn c_numa_parts(results: &SweepResults) -> Option<Result<String, PictureError>> {
    let rows: Vec<(&str, &AttributionSummary)> = results
        .summary
        .choices
        .iter()
        .filter_map(|choice| Some((choice.name.as_str(), choice.attribution.as_ref()?)))
        .collect();
    (!rows.is_empty()).then(|| draw(&results.summary.scenario, &rows))
}

fn draw(scenario: &str, rows: &[(&str, &AttributionSummary)]) -> Result<String, PictureError> {
    let height = HEAD + ROW * u32::try_from(rows.len()).expect("few choices");
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let title = format!("Where C_numa comes from: {}", shorten(scenario, 60));
        let root = root.margin(8, 0, 0, 0).titled(&title, font(20, &BLACK))?;
        draw_bars(&root, rows)?;
        root.present()?;
    }
    Ok(svg)
}

/// Choices from top to bottom, a unit of the vertical axis each; the four parts within it.
fn draw_bars(area: &Area<'_>, rows: &[(&str, &AttributionSummary)]) -> Result<(), PictureError> {
    let ends = rows.iter().flat_map(|(_, row)| {
        figures(row).into_iter().flat_map(|(mean, range)| {
            let mean = [mean.value, mean.lo, mean.hi].into_iter().flatten();
            mean.chain(range).collect::<Vec<f64>>()
        })
    });
    let (lo, hi) = ends.fold((0.0f64, 0.0f64), |(lo, hi), end| (lo.min(end), hi.max(end)));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .margin_left(360)
        .build_cartesian_2d(padded(lo, hi), 0.0..rows.len() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(font(13, &GREY))
        .axis_desc_style(font(14, &BLACK))
        .y_labels(0)
        .x_desc(
            "mean over parents, basis points (black: 95 % by seed; grey: least and most over the 24 orders)",
        )
        .draw()?;
    for (index, (name, row)) in rows.iter().enumerate() {
        let top = (rows.len() - index) as f64;
        for (part, (mean, range)) in figures(row).into_iter().enumerate() {
            let (y, half) = (top - 0.2 - 0.2 * part as f64, 0.08);
            let value = mean.value.unwrap_or(0.0);
            let colour = line_style(part + 1).0;
            let whole =
                Rectangle::new([(value.min(0.0), y - half), (value.max(0.0), y + half)], colour.filled());
            chart.draw_series([whole])?;
            let line = |x: [f64; 2], y: f64, colour: RGBColor| {
                PathElement::new(vec![(x[0], y), (x[1], y)], colour.stroke_width(2))
            };
            chart.draw_series([line(range, y - half, GREY)])?;
            if let Some((lo, hi)) = mean.lo.zip(mean.hi) {
                chart.draw_series([line([lo, hi], y, BLACK)])?;
            }
            let (_, pixel) = chart.backend_coord(&(0.0, y));
            let (_, origin) = area.get_base_pixel();
            let label = Text::new(NAMES[part], (230, pixel - origin), left_middle(13, &GREY));
            area.draw(&label)?;
            if part == 0 {
                let name = Text::new(shorten(name, 28), (12, pixel - origin), left_middle(14, &BLACK));
                area.draw(&name)?;
            }
        }
    }
    Ok(())
}

/// Mean and range of the four parts.
fn figures(row: &AttributionSummary) -> [(&Estimate, [f64; 2]); 4] {
    let (mean, range) = (&row.mean_bp, &row.order_range_bp);
    [
        (&mean.hint_fault, range.hint_fault),
        (&mean.migration_copy, range.migration_copy),
        (&mean.dispatch_jitter, range.dispatch_jitter),
        (&mean.queue_decay, range.queue_decay),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_choice_has_its_four_bars() {
        let mut results = sample::results(3, 25, 20);
        let svg = c_numa_parts(&results).unwrap().unwrap();
        for name in NAMES {
            assert_eq!(svg.matches(name).count(), 3, "{name}");
        }
        assert!(svg.contains("pinned, balancing off"));
        results.summary.choices.iter_mut().for_each(|choice| choice.attribution = None);
        assert!(c_numa_parts(&results).is_none());
    }
}
