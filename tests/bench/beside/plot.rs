//! The same as a picture: for each row a bar for each subject, as many times as long as without a sandbox, on a logarithmic scale, with
//! a line from the least to the most.

use crate::beside::page::time;
use crate::beside::results::{Cell, Results, Row};
use crate::paired::Ratio;
use std::fmt::Write;

const LEFT: f64 = 240.0;
const WIDTH: f64 = 620.0;
const LINE: f64 = 16.0;
/// Of powers of two, from half as long to 256 times.
const SCALE: [f64; 2] = [-1.0, 8.0];

/// The picture.
pub fn svg(results: &Results) -> String {
    let mut body = String::new();
    let mut y = 24.0;
    for row in &results.rows {
        y = one_row(&mut body, row, y);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{y:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n",
        LEFT + WIDTH + 130.0
    )
}

fn one_row(body: &mut String, row: &Row, mut y: f64) -> f64 {
    let times: Vec<(&str, f64, &Ratio)> = row
        .cells
        .iter()
        .filter_map(|(name, cell)| match cell {
            Cell::Took { median, ratio, .. } => Some((name.as_str(), *median, ratio)),
            Cell::Holds { .. } | Cell::Cannot(_) => None,
        })
        .collect();
    if times.is_empty() {
        return y;
    }
    let title = escaped(&row.what);
    let _infallible = writeln!(
        body,
        "<text x=\"8\" y=\"{y:.0}\" font-weight=\"bold\">{title}, times as long as bare</text>"
    );
    let lines = times.len() as f64 * LINE;
    for power in SCALE[0] as i32..=SCALE[1] as i32 {
        let at = x(f64::from(power).exp2());
        let _infallible = writeln!(
            body,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.0}\" y2=\"{:.0}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{:.0}\" fill=\"#888\" text-anchor=\"middle\">{}</text>",
            y + 6.0,
            y + lines + 8.0,
            y + lines + 20.0,
            f64::from(power).exp2()
        );
    }
    for (name, median, ratio) in times {
        y += LINE;
        let colour = if name.starts_with("supervise") {
            "#2b6cb0"
        } else {
            "#a0aec0"
        };
        let (from, to) = (x(1.0), x(ratio.of_medians));
        let _infallible = writeln!(
            body,
            "<text x=\"{:.0}\" y=\"{y:.0}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{:.1}\" y=\"{:.0}\" width=\"{:.1}\" height=\"10\" fill=\"{colour}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.0}\" y2=\"{:.0}\" stroke=\"#333\"/>\
             <text x=\"{:.0}\" y=\"{y:.0}\">{:.2} ({})</text>",
            LEFT - 8.0,
            escaped(name),
            from.min(to),
            y - 9.0,
            (to - from).abs().max(1.0),
            x(ratio.low),
            x(ratio.high),
            y - 4.0,
            y - 4.0,
            LEFT + WIDTH + 8.0,
            ratio.of_medians,
            time(median)
        );
    }
    y + LINE + 32.0
}

fn x(times: f64) -> f64 {
    let at = times.log2().clamp(SCALE[0], SCALE[1]);
    LEFT + (at - SCALE[0]) / (SCALE[1] - SCALE[0]) * WIDTH
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
