//! Plots of the sweep, as SVG.

use std::ops::Range;
use std::path::Path;

use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;

use crate::Outcome;
use crate::results::Sample;
use crate::sweep::Point;

const SIZE: (u32, u32) = (960, 460);
const PLOTTED_WIDTH: i32 = 730;
const LEGEND_TOP: i32 = 60;
const LEGEND_LEADING: usize = 24;
/// Told apart by those who see fewer colours as well.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0x77, 0x77, 0x77),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
];

/// One plot.
struct Plot {
    file: &'static str,
    title: &'static str,
    unit: &'static str,
    figure: fn(&Sample) -> Option<u64>,
}

const PLOTS: [Plot; 3] = [
    Plot {
        file: "throughput.svg",
        title: "Throughput against connections",
        unit: "answered with 2xx, per second",
        figure: |sample| Some(sample.per_second),
    },
    Plot {
        file: "latency-p50.svg",
        title: "Median latency against connections",
        unit: "p50, microseconds",
        figure: |sample| sample.p50_us,
    },
    Plot {
        file: "latency-p99.svg",
        title: "99th percentile of latency against connections",
        unit: "p99, microseconds",
        figure: |sample| sample.p99_us,
    },
];

/// Writes all plots into a directory. A point with errors is left out.
pub(crate) fn write(points: &[Point], directory: &Path) -> Outcome<()> {
    std::fs::create_dir_all(directory)?;
    for plot in &PLOTS {
        draw(plot, points, &directory.join(plot.file))?;
    }
    Ok(())
}

fn draw(plot: &Plot, points: &[Point], path: &Path) -> Outcome<()> {
    let series = series(plot, points);
    let all = || series.iter().flat_map(|(_, points)| points);
    let across = span(all().map(|(x, _)| *x));
    let up = decades(span(all().map(|(_, y)| *y)));
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (plotted, legend) = root.split_horizontally(PLOTTED_WIDTH);
    let mut chart = ChartBuilder::on(&plotted)
        .caption(plot.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(across.log_scale().base(4.0), up.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("connections (logarithmic)")
        .y_desc(plot.unit)
        .light_line_style(WHITE)
        .draw()?;
    // Beside the plot: within it some line is always in the way.
    let lines = (LEGEND_TOP..).step_by(LEGEND_LEADING);
    for (((name, points), colour), y) in series.iter().zip(COLOURS.iter().cycle()).zip(lines) {
        let style = colour.stroke_width(2);
        chart.draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?;
        legend.draw(&PathElement::new([(0, y), (18, y)], style))?;
        legend.draw(&Text::new(*name, (24, y - 6), ("sans-serif", 12)))?;
    }
    root.present()?;
    Ok(())
}

type Series = Vec<(&'static str, Vec<(u64, u64)>)>;

fn series(plot: &Plot, points: &[Point]) -> Series {
    let mut series: Series = Vec::new();
    for point in points.iter().filter(|point| point.sample.fault.is_none()) {
        let Some(figure) = (plot.figure)(&point.sample) else {
            continue;
        };
        let value = (u64::from(point.connections), figure.max(1));
        match series.iter_mut().find(|(name, _)| *name == point.series) {
            Some((_, values)) => values.push(value),
            None => series.push((point.series, vec![value])),
        }
    }
    series
}

/// From the smallest to the largest, never empty: a logarithmic axis has no zero.
fn span(values: impl Iterator<Item = u64> + Clone) -> Range<u64> {
    let least = values.clone().min().unwrap_or(1).max(1);
    let most = values.max().unwrap_or(1).max(least.saturating_mul(2));
    least..most
}

/// Widened to whole powers of ten, so that the axis has numbers at both of its ends.
fn decades(span: Range<u64>) -> Range<u64> {
    let below = 10_u64.saturating_pow(span.start.max(1).ilog10());
    let above = 10_u64.saturating_pow(span.end.max(1).ilog10().saturating_add(1));
    below..above
}
