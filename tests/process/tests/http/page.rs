//! A page of metrics, taken apart.

use std::collections::{BTreeMap, BTreeSet};

/// A page: families by name, samples by name and labels.
#[derive(Debug, Default)]
pub struct Page {
    pub families: BTreeMap<String, Family>,
    /// Every line but comments: all before the number, and the number.
    pub samples: BTreeMap<String, f64>,
}

/// What is said of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    pub help: String,
    pub kind: String,
    /// The names of the labels that its samples have.
    pub labels: BTreeSet<String>,
    /// The bounds of its buckets, as they are spelled.
    pub bounds: BTreeSet<String>,
}

impl Page {
    pub fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut last = String::new();
        for line in text.lines() {
            if let Some((name, help)) = comment(line, "# HELP ") {
                page.families.entry(name.to_owned()).or_default().help = help.to_owned();
                assert!(*last < *name, "families are ascending: {last}, {name}");
                last = name.to_owned();
            } else if let Some((name, kind)) = comment(line, "# TYPE ") {
                page.families.entry(name.to_owned()).or_default().kind = kind.to_owned();
            } else {
                page.take(line, &last);
            }
        }
        page
    }

    fn take(&mut self, line: &str, family: &str) {
        let (sample, number) = line.rsplit_once(' ').expect("a sample has a number");
        assert!(sample.starts_with(family), "{sample} is of {family}");
        let number = number.parse().unwrap_or_else(|_| panic!("{line}: no number"));
        let family = self.families.get_mut(family).expect("its help came before");
        let labels = sample.split_once('{').map_or("", |(_, labels)| labels);
        for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
            let (name, value) = label.split_once("=\"").expect("a label has a value");
            family.labels.insert(name.to_owned());
            if name == "le" {
                family.bounds.insert(value.trim_end_matches('"').to_owned());
            }
        }
        let twice = self.samples.insert(sample.to_owned(), number);
        assert!(twice.is_none(), "{sample} is there twice");
    }

    /// The samples whose names begin so, by all but the number.
    pub fn values(&self, names: &[&str]) -> BTreeMap<String, f64> {
        let wanted = |sample: &str| {
            let name = sample.split('{').next().unwrap_or_default();
            names.contains(&name)
        };
        let samples = self.samples.iter().filter(|(sample, _)| wanted(sample));
        samples.map(|(sample, number)| (sample.clone(), *number)).collect()
    }
}

fn comment<'a>(line: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(kind)?.split_once(' ')
}
