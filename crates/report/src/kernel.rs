//! The picture of model over recorded kernel: a panel a run, cumulative counters above, scan periods below.

use numashock_experiment::kernel::{COUNTERS, KernelReport, Row, RunReport};
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use crate::PictureError;
use crate::plot::{Area, GREY, font, left_middle, shorten};

const PANEL: (u32, u32) = (520, 330);
const LONE_PANEL: (u32, u32) = (1_000, 620);
const COLUMNS: usize = 3;
const LEGEND_HEIGHT: u32 = 44;
const Y_LABELS: u32 = 52;
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
];
/// Colours of the threads' scan periods.
const THREADS: [RGBColor; 4] =
    [RGBColor(0, 0, 0), RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];

/// Draws every modelled run of a report as small multiples, as SVG.
///
/// # Errors
/// If the plotter fails.
pub fn kernel_runs(report: &KernelReport) -> Result<String, PictureError> {
    let runs: Vec<&RunReport> = report.runs.iter().filter(|run| run.modelled).collect();
    let columns = runs.len().clamp(1, COLUMNS);
    draw(&runs, columns, PANEL)
}

/// Draws one run, as SVG.
///
/// # Errors
/// If the plotter fails.
pub fn kernel_run(run: &RunReport) -> Result<String, PictureError> {
    draw(&[run], 1, LONE_PANEL)
}

fn draw(runs: &[&RunReport], columns: usize, panel: (u32, u32)) -> Result<String, PictureError> {
    let rows = runs.len().div_ceil(columns).max(1);
    let size = ((panel.0 * columns as u32).max(LONE_PANEL.0), panel.1 * rows as u32 + LEGEND_HEIGHT);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (legend, panels) = root.split_vertically(LEGEND_HEIGHT);
        draw_legend(&legend)?;
        for (area, run) in panels.split_evenly((rows, columns)).iter().zip(runs) {
            draw_run(area, run)?;
        }
        if runs.is_empty() {
            root.draw(&Text::new("no run is modelled", (40, 60), left_middle(16, &GREY)))?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn draw_legend(area: &Area<'_>) -> Result<(), PictureError> {
    let text = left_middle(13, &BLACK);
    let mut across = 16;
    for (name, colour) in COUNTERS.iter().zip(COLOURS) {
        area.draw(&PathElement::new([(across, 20), (across + 24, 20)], colour.stroke_width(3)))?;
        area.draw(&Text::new(*name, (across + 30, 20), text.clone()))?;
        across += 48 + 7 * name.len() as i32;
    }
    area.draw(&PathElement::new([(16, 36), (40, 36)], BLACK.mix(0.3).stroke_width(5)))?;
    area.draw(&Text::new("kernel (wide, pale)", (46, 36), text.clone()))?;
    area.draw(&DashedPathElement::new([(200, 36), (224, 36)], 5, 3, BLACK.stroke_width(2)))?;
    area.draw(&Text::new("model (thin, dashed)", (230, 36), text.clone()))?;
    area.draw(&Text::new("below each: scan period, a colour a thread", (400, 36), text))?;
    Ok(())
}

fn draw_run(area: &Area<'_>, run: &RunReport) -> Result<(), PictureError> {
    let word = run.verdict.split(':').next().unwrap_or_default();
    let agrees = word.starts_with("agrees");
    let colour = if agrees { BLACK } else { RGBColor(190, 30, 30) };
    let area = area.margin(4, 2, 6, 10);
    let area = area.titled(&format!("{}: {word}", shorten(&run.name, 40)), font(15, &colour))?;
    let height = area.dim_in_pixel().1;
    let (counters, periods) = area.split_vertically(height * 60 / 100);
    draw_counters(&counters, run)?;
    draw_periods(&periods, run)
}

fn seconds(rows: &[Row]) -> std::ops::Range<f64> {
    0.0..rows.last().map_or(1.0, |row| (row.time_ms / 1000.0).max(0.1))
}

fn draw_counters(area: &Area<'_>, run: &RunReport) -> Result<(), PictureError> {
    let rows = || run.model_rows.iter().chain(&run.kernel_rows);
    let most = rows().flat_map(|row| row.counters).max().unwrap_or(0).max(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .y_label_area_size(Y_LABELS)
        .margin_top(4)
        .build_cartesian_2d(seconds(&run.model_rows), 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(font(11, &GREY))
        .axis_desc_style(font(12, &BLACK))
        .x_labels(0)
        .y_labels(5)
        .y_label_formatter(&|count| count_label(*count))
        .y_desc("pages, faults")
        .draw()?;
    for (counter, colour) in COLOURS.into_iter().enumerate() {
        let line = |rows: &[Row]| -> Vec<(f64, f64)> {
            rows.iter().map(|row| (row.time_ms / 1000.0, row.counters[counter] as f64)).collect()
        };
        chart.draw_series(LineSeries::new(
            thinned(line(&run.kernel_rows)),
            colour.mix(0.35).stroke_width(5),
        ))?;
        chart.draw_series(DashedLineSeries::new(
            thinned(line(&run.model_rows)),
            5,
            3,
            colour.stroke_width(2),
        ))?;
    }
    Ok(())
}

fn draw_periods(area: &Area<'_>, run: &RunReport) -> Result<(), PictureError> {
    let all = || run.scan_periods.iter().chain(&run.kernel_scan_periods).flatten();
    let longest = all().map(|change| change.1).max().unwrap_or(1).max(1) as f64;
    let shortest = all().map(|change| change.1).min().unwrap_or(1).max(1) as f64;
    let range = seconds(&run.model_rows);
    let end = range.end;
    let mut chart = ChartBuilder::on(area)
        .x_label_area_size(32)
        .y_label_area_size(Y_LABELS)
        .margin_top(6)
        .build_cartesian_2d(range, (shortest * 0.7..longest * 1.5).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(font(11, &GREY))
        .axis_desc_style(font(12, &BLACK))
        .y_labels(4)
        .y_label_formatter(&|period| format!("{period:.0}"))
        .x_label_formatter(&|seconds| format!("{seconds} s"))
        .y_desc("period ms")
        .draw()?;
    for (thread, (model, kernel)) in run.scan_periods.iter().zip(&run.kernel_scan_periods).enumerate() {
        let colour = THREADS[thread % THREADS.len()];
        chart.draw_series(LineSeries::new(steps(kernel, end), colour.mix(0.3).stroke_width(5)))?;
        chart.draw_series(DashedLineSeries::new(steps(model, end), 5, 3, colour.stroke_width(2)))?;
    }
    Ok(())
}

/// A series of changes as a staircase up to the end.
fn steps(changes: &[(f64, u64)], end: f64) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for (index, (at, period)) in changes.iter().enumerate() {
        let until = changes.get(index + 1).map_or(end, |next| next.0 / 1000.0);
        points.extend([((at / 1000.0).max(0.0), *period as f64), (until, *period as f64)]);
    }
    points
}

/// The points without those on a level stretch: a line through the rest is the same.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let level = |index: usize| {
        index > 0
            && index + 1 < points.len()
            && points[index - 1].1 == points[index].1
            && points[index + 1].1 == points[index].1
    };
    (0..points.len()).filter(|index| !level(*index)).map(|index| points[index]).collect()
}

fn count_label(count: f64) -> String {
    if count >= 1e6 {
        format!("{:.1}M", count / 1e6)
    } else if count >= 1e3 {
        format!("{:.0}k", count / 1e3)
    } else {
        format!("{count:.0}")
    }
}
