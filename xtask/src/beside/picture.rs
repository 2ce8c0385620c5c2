//! The picture: for every figure that must come to something, ours beside etcd's.
//!
//! etcd's bar is as long in every row: it is 1. Ours is as long as the median of the ratios says,
//! what is lost included, and a line across both is the bound. An SVG written here, with colours
//! for light and dark pages and the reader's own font; nothing in it moves or is loaded.

use super::figures::Must;
use super::results::{Results, median};
use super::rows::Row;
use super::table::{digits, ratios};
use super::{Options, file_of};
use crate::root;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// One pair of bars.
struct Bars {
    line: &'static str,
    what: String,
    ratio: f64,
    must: Must,
    /// Medians, ours and theirs, in the figure's unit.
    medians: [f64; 2],
}

/// Draws the rows that have been measured.
pub fn draw(rows: &[&Row], options: &Options, picture: &Path) -> Result<()> {
    let (mut bars, mut facts, mut names) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for row in rows {
        let musts = row.figures.iter().filter_map(|figure| Some((figure, figure.must?)));
        let Some((results, heading)) = Results::kept(file_of(row, options))? else {
            if musts.count() > 0 {
                println!("{} {} is not measured, and left out", row.line, row.name);
            }
            continue;
        };
        if musts.clone().count() > 0 {
            facts.insert(fact(&heading, &results));
            names.insert(results.names().map(str::to_owned));
        }
        for (figure, must) in musts {
            let pairs = results.figures(figure.at)?;
            ensure!(!pairs.is_empty(), "{} {} has no pair yet", row.line, row.name);
            let column = |which: usize| {
                let column: Vec<f64> = pairs.iter().map(|pair| pair[which] / figure.unit).collect();
                median(&column)
            };
            let what = format!("{}: {}", row.name, figure.title);
            let ratio = median(&ratios(&pairs));
            let medians = [column(0), column(1)];
            bars.push(Bars { line: row.line, what, ratio, must, medians });
        }
    }
    ensure!(
        !bars.is_empty(),
        "nothing that could be drawn is kept in {}",
        options.results.display()
    );
    ensure!(names.len() == 1, "different servers were measured: {names:?}");
    let names = names.pop_first().context("there is one")?;
    let facts: Vec<String> = facts.into_iter().collect();
    let file = root().join(picture);
    fs::write(&file, svg(&bars, &names, &facts)?)
        .with_context(|| format!("writing {}", file.display()))?;
    println!("{} figures of {} rows drawn: {}", bars.len(), rows.len(), picture.display());
    Ok(())
}

/// Where and when a row was measured.
fn fact(heading: &str, results: &Results) -> String {
    let value = |name: &str| {
        let line = heading.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("unknown", str::trim)
    };
    let date = value("date:").split(' ').next().unwrap_or_default();
    let (machine, commit) = (value("machine:"), value("commit:"));
    let (pairs, seconds) = (results.pairs.len(), results.seconds());
    format!("{pairs} pairs of {seconds} s, commit {commit}, {date}; {machine}")
}

/// Where things stand, in the picture's units.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 320.0;
/// How long etcd's bars are.
const ONE: f64 = 120.0;
/// Bars are not drawn longer than so many times etcd's.
const LONGEST: f64 = 2.8;
const HEAD: f64 = 64.0;
const ROW: f64 = 34.0;
const BAR: f64 = 10.0;
const NOTE: f64 = 16.0;

const STYLE: &str = "\
    svg{font-family:sans-serif;font-size:12px}\
    .page{fill:#ffffff}.text{fill:#1f2328}.quiet{fill:#59636e}\
    .ours{fill:#0969da}.theirs{fill:#afb8c1}.missed{fill:#cf222e}.bound{stroke:#1f2328}\
    .rule{stroke:#d1d9e0}\
    @media (prefers-color-scheme:dark){\
    .page{fill:#0d1117}.text{fill:#f0f6fc}.quiet{fill:#9198a1}\
    .ours{fill:#4493f8}.theirs{fill:#656c76}.missed{fill:#f85149}.bound{stroke:#f0f6fc}\
    .rule{stroke:#3d444d}}";

fn svg(bars: &[Bars], names: &[String; 2], facts: &[String]) -> Result<String> {
    let height = HEAD + ROW * bars.len() as f64 + NOTE * (facts.len() + 3) as f64;
    let mut svg = String::new();
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">"
    )?;
    let [ours, theirs] = names;
    writeln!(svg, "<title>{} beside {}</title>", escaped(ours), escaped(theirs))?;
    writeln!(svg, "<style>{STYLE}</style>")?;
    writeln!(svg, "<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>")?;
    legend(&mut svg, ours, theirs)?;
    for (number, bar) in bars.iter().enumerate() {
        row(&mut svg, HEAD + ROW * number as f64, bar)?;
    }
    let notes = facts.iter().map(|fact| format!("Medians of pairs in turns: {fact}"));
    let mut y = HEAD + ROW * bars.len() as f64 + NOTE;
    let shares =
        "Each figure as a share of etcd's. What must be >= is the better the longer it is.";
    for note in std::iter::once(shares.to_owned()).chain(notes) {
        text(&mut svg, "quiet", 16.0, y, "start", &note)?;
        y += NOTE;
    }
    svg += "</svg>\n";
    Ok(svg)
}

fn legend(svg: &mut String, ours: &str, theirs: &str) -> Result<()> {
    let y = 26.0;
    let mut x = LEFT;
    text(svg, "text", 16.0, y, "start", &format!("{ours} beside {theirs}"))?;
    for (class, word) in [("ours", ours), ("missed", "ours, bound missed"), ("theirs", theirs)] {
        writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{BAR}\" height=\"{BAR}\"/>",
            y - BAR
        )?;
        text(svg, "text", x + 16.0, y, "start", word)?;
        x += 30.0 + 7.0 * word.len() as f64;
    }
    across(svg, "bound", x + 4.0, y - 12.0, y + 2.0)?;
    text(svg, "text", x + 14.0, y, "start", "what ours must come to")?;
    text(svg, "quiet", LEFT + ONE, HEAD - 12.0, "middle", "1.0")
}

fn row(svg: &mut String, y: f64, bar: &Bars) -> Result<()> {
    writeln!(
        svg,
        "<line class=\"rule\" x1=\"16\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>",
        WIDTH - 16.0
    )?;
    let middle = y + ROW / 2.0;
    text(svg, "quiet", 16.0, middle + 4.0, "start", bar.line)?;
    text(svg, "text", 44.0, middle + 4.0, "start", &bar.what)?;
    let reached = bar.must.is_reached(bar.ratio);
    let long = bar.ratio.clamp(0.0, LONGEST);
    // A bar that would be no longer than a hair is drawn as one.
    let width = (long * ONE).max(1.0);
    let class = if reached { "ours" } else { "missed" };
    let top = middle - BAR - 1.0;
    writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" \
         height=\"{BAR}\"/>"
    )?;
    if bar.ratio > LONGEST {
        // It goes on: a cut near its end says so.
        let x = LEFT + width - 10.0;
        writeln!(
            svg,
            "<polygon class=\"page\" points=\"{x},{} {},{top} {},{top} {},{}\"/>",
            top + BAR,
            x + 5.0,
            x + 8.0,
            x + 3.0,
            top + BAR
        )?;
    }
    writeln!(
        svg,
        "<rect class=\"theirs\" x=\"{LEFT}\" y=\"{}\" width=\"{ONE}\" height=\"{BAR}\"/>",
        middle + 1.0
    )?;
    across(svg, "bound", LEFT + bar.must.bound().min(LONGEST) * ONE, y + 3.0, y + ROW - 3.0)?;
    let x = WIDTH - 16.0;
    let word = if reached { "" } else { ", missed" };
    let first = format!("{} of etcd's, must be {}{word}", ratio_text(bar.ratio), bar.must);
    text(svg, if reached { "text" } else { "missed" }, x, middle - 2.0, "end", &first)?;
    let second = format!("{} / {}", digits(bar.medians[0]), digits(bar.medians[1]));
    text(svg, "quiet", x, middle + 12.0, "end", &second)
}

/// Two digits that say something.
fn ratio_text(ratio: f64) -> String {
    let places = if ratio < 0.01 {
        5
    } else if ratio < 0.1 {
        3
    } else {
        2
    };
    format!("{ratio:.places$}")
}

fn across(svg: &mut String, class: &str, x: f64, from: f64, to: f64) -> Result<()> {
    writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from}\" y2=\"{to}\" \
         stroke-width=\"2\"/>"
    )?;
    Ok(())
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) -> Result<()> {
    let text = escaped(text);
    writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    )?;
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(ratio: f64, must: Must) -> Bars {
        Bars { line: "5.1", what: "a & b".to_owned(), ratio, must, medians: [ratio, 1.0] }
    }

    #[test]
    fn what_is_lost_is_drawn_as_lost() {
        let names = ["ours".to_owned(), "etcd".to_owned()];
        let facts = ["1 pair".to_owned()];
        let won = svg(&[bars(0.2, Must::AtMost(0.35))], &names, &facts).unwrap();
        assert!(won.contains("class=\"ours\" x=\"320\"") && won.contains("width=\"24.0\""));
        assert!(won.contains("a &amp; b") && won.contains("must be &lt;= 0.35"));
        assert!(!won.contains(", missed</text>"));
        // Longer than there is room: cut, and said.
        let lost = svg(&[bars(9.0, Must::AtMost(0.4))], &names, &facts).unwrap();
        assert!(lost.contains("width=\"336.0\"") && lost.contains("<polygon"));
        assert!(lost.contains("9.00 of etcd's, must be &lt;= 0.4, missed</text>"));
        let few = svg(&[bars(2.0, Must::AtLeast(2.5))], &names, &facts).unwrap();
        assert!(few.contains(", missed</text>"));
    }

    #[test]
    fn ratios_have_digits_that_say_something() {
        assert_eq!(
            [0.000_94, 0.0123, 0.155, 2.5].map(ratio_text),
            ["0.00094", "0.012", "0.15", "2.50"]
        );
    }
}
