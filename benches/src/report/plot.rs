//! The percentile curves: x is log10(1 / (1 - p)), so that each step right is ten times rarer; y is
//! the time on a logarithmic axis. One curve a case.

use std::path::Path;

use hdrhistogram::Histogram;
use plotters::coord::ranged1d::{KeyPointHint, Ranged};
use plotters::prelude::*;

const SIZE_PX: (u32, u32) = (1_000, 640);
const STEPS_PER_DECADE: u32 = 20;
/// Beyond one sample in a million the machine's interrupts are all there is to see.
const MOST_DECADES: f64 = 6.0;

/// Decades of rarity and nanoseconds.
pub(super) type Point = (f64, f64);

/// The curve of one case, as far as its samples carry it.
pub(super) fn curve(histogram: &Histogram<u64>) -> Vec<Point> {
    let decades = (histogram.len() as f64).log10().min(MOST_DECADES);
    let steps = (decades * f64::from(STEPS_PER_DECADE)) as u32;
    let xs = (0..=steps).map(|step| f64::from(step) / f64::from(STEPS_PER_DECADE));
    let ns = |x: f64| histogram.value_at_quantile(1.0 - 10_f64.powf(-x)) as f64 / 1e3;
    // A logarithmic axis has no zero.
    xs.map(|x| (x, ns(x).max(1.0))).collect()
}

/// Draws all curves that have points; none make an empty plot.
pub(super) fn draw(path: &Path, curves: &[(&str, &[Point])]) -> Result<(), String> {
    draw_svg(path, curves).map_err(|error| error.to_string())
}

fn draw_svg(path: &Path, curves: &[(&str, &[Point])]) -> Result<(), Box<dyn std::error::Error>> {
    let ys = || curves.iter().flat_map(|(_, points)| points.iter()).map(|(_, y)| *y);
    let lowest = ys().fold(f64::INFINITY, f64::min).min(1e3);
    let highest = ys().fold(1e4, f64::max);
    let root = SVGBackend::new(path, SIZE_PX).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Round trips by percentile", ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(46)
        .y_label_area_size(76)
        .build_cartesian_2d(Decades, (lowest / 1.5..highest * 1.5).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("percentile")
        .y_desc("time")
        .x_label_formatter(&|x| percentile(*x))
        .y_label_formatter(&|ns| duration(*ns))
        .draw()?;
    let drawn = curves.iter().filter(|(_, points)| !points.is_empty());
    for (nth, (name, points)) in drawn.enumerate() {
        let style = Palette99::pick(nth).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    let labels = chart.configure_series_labels();
    { labels }
        // Curves only rise: there is room below their ends.
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK)
        .draw()?;
    Ok(root.present()?)
}

/// The x axis: whole decades are its only key points, because only they have names.
struct Decades;

impl Ranged for Decades {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (f64::from(to - from) * value / MOST_DECADES).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        (0..=MOST_DECADES as u32).map(f64::from).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        0.0..MOST_DECADES
    }
}

impl plotters::coord::ranged1d::ValueFormatter<f64> for Decades {
    fn format_ext(&self, value: &f64) -> String {
        percentile(*value)
    }
}

/// 1 is "90 %", 3 is "99.9 %".
fn percentile(decades: f64) -> String {
    let digits = (decades as usize).saturating_sub(2);
    format!("{:.digits$} %", 100.0 * (1.0 - 10_f64.powf(-decades)))
}

fn duration(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns => format!("{:.0} ms", ns / 1e6),
    }
}
