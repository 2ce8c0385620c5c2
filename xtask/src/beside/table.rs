//! Figures of a row as text.

use super::results::{self, Rate, Results, median};
use super::rows::{Row, Way};
use super::slow::DELAY;
use anyhow::Result;
use std::fmt::Write as _;

/// A table of the row's figures, and how many of them are not what they must be.
pub fn show(row: &Row, results: &Results) -> Result<(String, usize)> {
    let mut text = String::new();
    let (pairs, seconds) = (results.pairs.len(), results.seconds());
    writeln!(text, "\n{} {}: {}", row.line, row.name, row.title)?;
    write!(text, "{pairs} pairs of {seconds} s")?;
    if let Some(Rate { rate, kept, closed }) = results.rate {
        write!(
            text,
            ", {rate} a second: etcd keeps up with {kept}, and does {closed} if each client waits"
        )?;
    }
    if row.way == Way::SlowDisk {
        write!(text, ", every sync {} ms longer", DELAY.as_millis())?;
    }
    let [ours, theirs] = results.names();
    writeln!(text, "\n{:<32} {ours:>26} {theirs:>26} {:>12}", "median (least-most)", "ratio")?;
    let mut misses = 0;
    for figure in row.shown() {
        let figures = results.figures(figure.at)?;
        let column =
            |which: usize| spread(figures.iter().map(|pair| pair[which] / figure.unit).collect());
        let ratios = ratios(&figures);
        let ratio = median(&ratios);
        let each: Vec<String> = ratios.iter().copied().map(ratio_text).collect();
        let (title, ratio_word) = (figure.title, ratio_text(ratio));
        write!(text, "{title:<32} {:>26} {:>26} {ratio_word:>12}", column(0), column(1))?;
        if let Some(must) = figure.must {
            let reached = must.is_reached(ratio);
            misses += usize::from(!reached);
            write!(text, "  {must}: {}", if reached { "reached" } else { "MISSED" })?;
        }
        writeln!(text, "  [{}]", each.join(" "))?;
        if !results.ceilings.is_empty() {
            let all = results.ceilings.iter().map(|json| results::figure(json, figure.at));
            let all: Vec<f64> = all.collect::<Result<_>>()?;
            let column = spread(all.into_iter().map(|value| value / figure.unit).collect());
            writeln!(text, "{:>59}", format!("empty tonic: {column}"))?;
        }
    }
    for (name, which) in [(ours, 0), (theirs, 1)] {
        let failed = results.pairs.iter().filter_map(|pair| results::errors(&pair[which]));
        if let Some((count, why)) = failed.reduce(|(sum, why), (count, _)| (sum + count, why)) {
            writeln!(text, "{name}: {count} operations failed, such as: {why}")?;
        }
    }
    Ok((text, misses))
}

/// Ours by theirs, pair by pair.
pub fn ratios(figures: &[[f64; 2]]) -> Vec<f64> {
    figures.iter().map(|[ours, theirs]| ours / theirs).collect()
}

/// Nothing by nothing is no figure.
fn ratio_text(ratio: f64) -> String {
    if ratio.is_finite() { format!("{ratio:.3}") } else { "-".to_owned() }
}

/// The median, and from where to where.
fn spread(figures: Vec<f64>) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({}-{})", digits(median(&figures)), digits(least), digits(most))
}

/// Three digits at least.
pub fn digits(figure: f64) -> String {
    match figure.abs() {
        size if size < 10.0 => format!("{figure:.2}"),
        size if size < 100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([0.456, 12.34, 12_345.6].map(digits), ["0.46", "12.3", "12346"]);
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), "2.00 (1.00-3.00)");
    }

    #[test]
    fn nothing_by_nothing_is_no_figure() {
        assert_eq!(ratios(&[[1.0, 2.0]]), [0.5]);
        assert_eq!(ratio_text(ratios(&[[0.0, 0.0]])[0]), "-");
    }
}
