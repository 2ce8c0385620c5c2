//! The text that Prometheus reads.
//!
//! Families are ascending by name, samples by their labels, and numbers are written as Go writes
//! them: the bound of a bucket is a label, and queries over members of both kinds must find it
//! spelled in one way.
//!
//! Source: the text format, version 0.0.4; Go's `strconv.FormatFloat(x, 'g', -1, 64)`.

use server::metrics::Histogram;
use std::fmt::Write as _;

/// A page being made.
#[derive(Debug, Default)]
pub(in crate::metrics) struct Page {
    families: Vec<(&'static str, String)>,
}

/// A family being made: all samples of one name.
#[derive(Debug)]
pub(in crate::metrics) struct Family {
    name: &'static str,
    /// Labels and lines of each sample.
    samples: Vec<(String, String)>,
}

impl Page {
    /// A family; one without samples is left out.
    pub(in crate::metrics) fn family(
        &mut self,
        name: &'static str,
        kind: &str,
        help: &str,
        fill: impl FnOnce(&mut Family),
    ) {
        let mut family = Family { name, samples: Vec::new() };
        fill(&mut family);
        if family.samples.is_empty() {
            return;
        }
        family.samples.sort();
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let mut text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        text.extend(family.samples.into_iter().map(|(_, lines)| lines));
        self.families.push((name, text));
    }

    /// A counter without labels.
    #[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
    pub(in crate::metrics) fn counter(&mut self, name: &'static str, help: &str, number: u64) {
        self.family(name, "counter", help, |family| family.sample(&[], number as f64));
    }

    /// A gauge without labels.
    pub(in crate::metrics) fn gauge(&mut self, name: &'static str, help: &str, number: f64) {
        self.family(name, "gauge", help, |family| family.sample(&[], number));
    }

    /// A histogram without labels.
    pub(in crate::metrics) fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        histogram: &Histogram,
    ) {
        self.family(name, "histogram", help, |family| family.histogram(&[], histogram));
    }

    pub(in crate::metrics) fn finish(mut self) -> String {
        self.families.sort();
        self.families.into_iter().map(|(_, text)| text).collect()
    }
}

impl Family {
    /// One number. Labels are ascending by name.
    pub(in crate::metrics) fn sample(&mut self, labels: &[(&str, &str)], number: f64) {
        let labels = inner(labels);
        let line = format!("{}{} {}\n", self.name, braced(&labels), float(number));
        self.samples.push((labels, line));
    }

    /// One number of a name that goes on.
    pub(in crate::metrics) fn part(&mut self, suffix: &str, labels: &[(&str, &str)], number: f64) {
        let labels = inner(labels);
        let line = format!("{}{suffix}{} {}\n", self.name, braced(&labels), float(number));
        // Behind what has labels, as a summary's sum and count are.
        self.samples.push((format!("~{suffix}{labels}"), line));
    }

    /// One histogram.
    #[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
    pub(in crate::metrics) fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let (name, labels, reading) = (self.name, inner(labels), histogram.read());
        let comma = if labels.is_empty() { "" } else { "," };
        let mut lines = String::new();
        let bounds = reading.buckets.iter().map(|(bound, count)| (float(*bound), *count));
        for (bound, count) in bounds.chain([("+Inf".to_owned(), reading.count)]) {
            let count = float(count as f64);
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        let braced = braced(&labels);
        let sum = float(reading.sum);
        let count = float(reading.count as f64);
        let _ = writeln!(lines, "{name}_sum{braced} {sum}\n{name}_count{braced} {count}");
        self.samples.push((labels, lines));
    }
}

fn inner(labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    labels.join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The exponent from which on it is written.
const EXPONENT_FROM: i32 = 6;

fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let shortest = format!("{number:e}");
    let (digits, exponent) = shortest.split_once('e').expect("the form has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    if (-4..EXPONENT_FROM).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn numbers_as_go_writes_them() {
        let check = |number: f64, want: &str| assert_eq!(float(number), want);
        check(0.0, "0");
        check(-1.0, "-1");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(819_200.0, "819200");
        check(1_048_576.0, "1.048576e+06");
        check(1e6, "1e+06");
        check(2_147_483_648.0, "2.147483648e+09");
        check(9_223_372_036_854_775_807.0, "9.223372036854776e+18");
        check(f64::INFINITY, "+Inf");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn a_page() {
        let mut page = Page::default();
        let histogram = Histogram::seconds(Duration::from_millis(1), 2);
        histogram.took(Duration::from_millis(3));
        page.family("b", "histogram", "Of b.", |family| {
            family.histogram(&[("x", "1\"")], &histogram);
        });
        page.family("c", "counter", "Of c.", |_| {});
        page.family("a", "gauge", "Of a.", |family| {
            family.sample(&[("x", "2")], 2.0);
            family.sample(&[("x", "1")], 1.0);
        });
        let want = "# HELP a Of a.\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 2\n\
                    # HELP b Of b.\n# TYPE b histogram\n\
                    b_bucket{x=\"1\\\"\",le=\"0.001\"} 0\n\
                    b_bucket{x=\"1\\\"\",le=\"0.002\"} 0\n\
                    b_bucket{x=\"1\\\"\",le=\"+Inf\"} 1\n\
                    b_sum{x=\"1\\\"\"} 0.003\nb_count{x=\"1\\\"\"} 1\n";
        assert_eq!(page.finish(), want);
    }
}
