//! What the pictures share: colours, text, and the error.

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What the plotter said when a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PictureError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PictureError {
    fn from(error: DrawingAreaErrorKind<E>) -> PictureError {
        PictureError(error.to_string())
    }
}

/// A drawing area on an SVG picture.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// The colours of Okabe and Ito, which stay apart for colour-blind readers; their yellow, too pale on white, last.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(160, 145, 20),
];

/// The colour of a choice, and whether its line is dashed: colours come round again after eight.
pub(crate) fn line_style(choice: usize) -> (RGBColor, bool) {
    (COLOURS[choice % COLOURS.len()], choice / COLOURS.len() % 2 == 1)
}

pub(crate) const GREY: RGBColor = RGBColor(90, 90, 90);

/// The text style of all pictures.
pub(crate) fn font(size: u32, colour: &RGBColor) -> TextStyle<'static> {
    TextStyle { color: colour.to_backend_color(), ..TextStyle::from(("sans-serif", size).into_font()) }
}

/// The same, placed by the left end of its middle line.
pub(crate) fn left_middle(size: u32, colour: &RGBColor) -> TextStyle<'static> {
    font(size, colour).pos(Pos::new(HPos::Left, VPos::Center))
}

/// At most `limit` characters, the last an ellipsis where some are left out.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

/// A line through `points`, solid or dashed.
pub(crate) fn draw_line(
    area: &Area<'_>,
    points: Vec<(i32, i32)>,
    colour: RGBColor,
    dashed: bool,
) -> Result<(), PictureError> {
    let style = colour.stroke_width(2);
    if dashed {
        area.draw(&DashedPathElement::new(points, 7, 4, style))?;
    } else {
        area.draw(&PathElement::new(points, style))?;
    }
    Ok(())
}

/// A range with some room on both sides, never empty.
pub(crate) fn padded(lo: f64, hi: f64) -> std::ops::Range<f64> {
    let room = if hi > lo { (hi - lo) * 0.03 } else { 1.0 };
    lo - room..hi + room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_choices_look_different() {
        let mut styles: Vec<_> =
            (0..16).map(|choice| (line_style(choice).0.rgb(), line_style(choice).1)).collect();
        styles.sort();
        styles.dedup();
        assert_eq!(styles.len(), 16);
    }

    #[test]
    fn long_names_end_in_an_ellipsis() {
        assert_eq!(shorten("balancing", 9), "balancing");
        assert_eq!(shorten("balancing off", 9), "balancin…");
    }

    #[test]
    fn a_range_is_never_empty() {
        assert!(padded(2.0, 2.0).start < padded(2.0, 2.0).end);
        assert_eq!(padded(0.0, 100.0), -3.0..103.0);
    }
}
