//! Plots: latency distributions, throughput against payload, cost against the number of producers and consumers.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use crate::case::Bench;
use crate::results::{Kind, Results, Row};
use crate::statistics::Placement;
use crate::table;

const SIZE: (u32, u32) = (900, 520);
const FONT: &str = "sans-serif";
/// Points of a distribution's curve.
const QUANTILES: usize = 60;

/// A named curve.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// A plot's frame.
struct Frame<'a> {
    title: String,
    x: (&'a str, Range<f64>),
    y: &'a str,
    /// What stands at the places of the x axis.
    label: &'a dyn Fn(&f64) -> String,
}

/// Draws all plots for which there are results into a directory, and returns how many that were.
pub(crate) fn draw(results: &Results, directory: &Path) -> Result<usize> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {directory:?}"))?;
    let mut drawn = 0;
    for (bench, file) in [(Bench::RttSpin, "latency-spinning.svg"), (Bench::RttSleep, "latency-sleeping.svg")] {
        drawn += usize::from(latencies(results, bench, &directory.join(file))?);
    }
    for (bench, file) in [(Bench::OneWay, "throughput.svg"), (Bench::OneWayBatch, "throughput-batches.svg")] {
        drawn += usize::from(throughput(&results.rows, bench, &directory.join(file))?);
    }
    drawn += usize::from(actors(&results.rows, &directory.join("producers-and-consumers.svg"))?);
    Ok(drawn)
}

/// The placement of which there are most samples of a plot's own rows.
fn placement(rows: &[Row], holds: impl Fn(&Row) -> bool) -> Option<Placement> {
    table::most_common(&rows.iter().filter(|row| holds(row)).cloned().collect::<Vec<_>>())
}

/// One curve for each system, of the smallest payload: how long all but one in so many took, at most.
fn latencies(results: &Results, bench: Bench, path: &Path) -> Result<bool> {
    let Some(placement) = placement(&results.rows, |row| row.bench == bench.name()) else { return Ok(false) };
    let here = || results.latencies.iter().filter(|one| one.bench == bench && one.placement == placement);
    let Some(payload) = here().map(|one| one.payload).min() else { return Ok(false) };
    // From the median to one in 100,000, evenly in powers of ten.
    let rarest = 5.0;
    let powers = (0..=QUANTILES).map(|step| 0.3 + (rarest - 0.3) * step as f64 / QUANTILES as f64);
    let curve = |one: &crate::results::Latencies| Curve {
        name: one.system.clone(),
        points: powers
            .clone()
            .map(|power| (power, one.histogram.value_at_quantile(1.0 - 10_f64.powf(-power)) as f64))
            .collect(),
    };
    let curves: Vec<Curve> = here().filter(|one| one.payload == payload).map(curve).collect();
    let label = |power: &f64| {
        let digits = (power.ceil() as usize).saturating_sub(2);
        format!("{:.digits$} %", 100.0 - 10_f64.powf(2.0 - power))
    };
    let frame = Frame {
        title: format!("{}: {}, {}", bench.name(), table::bytes(payload), placement.name()),
        x: ("of all round trips", 0.3..rarest),
        y: "ns at most",
        label: &label,
    };
    chart(path, &frame, &curves)
}

/// Bytes a second against the payload.
fn throughput(rows: &[Row], bench: Bench, path: &Path) -> Result<bool> {
    let Some(placement) = placement(rows, |row| row.bench == bench.name()) else { return Ok(false) };
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows.iter().filter(|row| row.bench == bench.name() && row.placement == placement) {
        // Millions of messages a second, times bytes, in gigabytes a second.
        let point = ((row.payload as f64).log2(), row.median * row.payload as f64 / 1e3);
        match curves.iter_mut().find(|curve| curve.name == row.system) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { name: row.system.clone(), points: vec![point] }),
        }
    }
    let label = |power: &f64| table::bytes(power.exp2().round() as usize);
    let frame = Frame {
        title: format!("{}, {}", bench.name(), placement.name()),
        x: ("payload", 3.0..16.0),
        y: "GB/s",
        label: &label,
    };
    chart(path, &frame, &curves)
}

/// Nanoseconds a message against how many send it or get it.
fn actors(rows: &[Row], path: &Path) -> Result<bool> {
    const PLACES: [(Bench, f64); 5] = [
        (Bench::Mpsc1, 0.0),
        (Bench::Mpsc2, 1.0),
        (Bench::Mpmc22, 2.0),
        (Bench::Broadcast1, 3.0),
        (Bench::Broadcast8, 4.0),
    ];
    // Sixty-four bytes, which all of them were measured with.
    let holds = |row: &Row| row.payload == 64 && PLACES.iter().any(|(bench, _)| bench.name() == row.bench);
    let Some(placement) = placement(rows, holds) else { return Ok(false) };
    let mut curves: Vec<Curve> = Vec::new();
    for (bench, place) in PLACES {
        let here = || rows.iter().filter(move |row| row.bench == bench.name() && row.placement == placement);
        for row in here().filter(|row| row.payload == 64) {
            let kind = if place < 3.0 { "" } else { " to all" };
            let name = format!("{}{kind}", row.system);
            let point = (place, 1e3 / row.median);
            match curves.iter_mut().find(|curve| curve.name == name) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { name, points: vec![point] }),
            }
        }
    }
    let label = |place: &f64| {
        let at = PLACES.iter().find(|(_, other)| (other - place).abs() < 0.01);
        at.map_or(String::new(), |(bench, _)| bench.name().to_owned())
    };
    let frame = Frame {
        title: format!("many producers and consumers: 64 B, {}", placement.name()),
        x: ("", -0.2..4.2),
        y: "ns a message",
        label: &label,
    };
    chart(path, &frame, &curves)
}

/// Whether there was anything to draw. The y axis is logarithmic.
fn chart(path: &Path, frame: &Frame<'_>, curves: &[Curve]) -> Result<bool> {
    let values = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1)).filter(|y| *y > 0.0);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if high <= 0.0 {
        return Ok(false);
    }
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw {path:?}: {error}");
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .caption(&frame.title, (FONT, 20))
        .margin(12)
        .margin_right(250)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d(frame.x.1.clone(), (low / 1.3..high * 1.3).log_scale())
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(frame.x.0)
        .y_desc(frame.y)
        .x_label_formatter(frame.label)
        .y_label_formatter(&|value| table::figure(*value))
        .label_style((FONT, 13))
        .draw()
        .map_err(|error| failed(&error))?;
    for (index, curve) in curves.iter().enumerate() {
        let (width, filled) = match Kind::of(&curve.name) {
            Kind::Ours { .. } => (4, true),
            Kind::Floor => (2, false),
            Kind::Rival { .. } => (1, true),
        };
        let color = match Kind::of(&curve.name) {
            Kind::Floor => RGBColor(120, 120, 120),
            _ => {
                let (red, green, blue) = Palette99::pick(index).rgb();
                RGBColor(red, green, blue)
            }
        };
        let style = ShapeStyle { color: color.to_rgba(), filled, stroke_width: width };
        chart.draw_series(LineSeries::new(curve.points.iter().copied(), style)).map_err(|error| failed(&error))?;
        if curve.points.len() < 8 {
            let dots = curve.points.iter().map(|point| Circle::new(*point, 3, color.filled()));
            chart.draw_series(dots).map_err(|error| failed(&error))?;
        }
        let at = (i32::try_from(SIZE.0)? - 240, 40 + 18 * i32::try_from(index)?);
        root.draw(&PathElement::new(vec![at, (at.0 + 22, at.1)], style)).map_err(|error| failed(&error))?;
        let text = Text::new(curve.name.clone(), (at.0 + 28, at.1 - 7), (FONT, 13));
        root.draw(&text).map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))?;
    Ok(true)
}
