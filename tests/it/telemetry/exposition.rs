//! Parser for Prometheus' text format, version 0.0.4.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::Chars;

use crate::support::Answer;

/// A parsed response of `/metrics`.
pub(super) struct Exposition(Vec<Sample>);

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Exposition {
    pub(super) fn from_answer(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
        Self::parse(&answer.text())
    }

    fn parse(text: &str) -> Self {
        let lines = text
            .split('\n')
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let samples: Vec<_> = lines.map(parse_sample).collect();
        let mut series = BTreeSet::new();
        for Sample { name, labels, .. } in &samples {
            assert!(series.insert((name, labels)), "{name} {labels:?} is duplicated");
        }
        Self(samples)
    }

    /// Returns the value of the single series with these labels.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let values: Vec<_> = self.all(name, labels).map(|sample| sample.value).collect();
        let [value] = values[..] else {
            panic!("{name} {labels:?}: {values:?}");
        };
        value
    }

    /// Returns the sum of all series with these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(name, labels).map(|sample| sample.value).sum()
    }

    fn all<'e>(&'e self, name: &'e str, labels: &'e [(&str, &str)]) -> impl Iterator<Item = &'e Sample> {
        self.0.iter().filter(move |sample| {
            let has = |(name, value): &(&str, &str)| sample.labels.get(*name).is_some_and(|own| own == value);
            sample.name == name && labels.iter().all(has)
        })
    }

    /// Returns all values of a label.
    pub(super) fn values_of(&self, label: &str) -> BTreeSet<&str> {
        self.0
            .iter()
            .filter_map(|sample| sample.labels.get(label).map(String::as_str))
            .collect()
    }

    /// Returns the labels of a metric, or `None` if there is no such metric.
    pub(super) fn labels_of(&self, name: &str) -> Option<BTreeSet<&str>> {
        let mut series = self.0.iter().filter(|sample| sample.name == name).peekable();
        series.peek()?;
        Some(
            series
                .flat_map(|sample| sample.labels.keys().map(String::as_str))
                .collect(),
        )
    }

    /// Returns the number of series.
    pub(super) fn series_count(&self) -> usize {
        self.0.len()
    }
}

fn parse_sample(line: &str) -> Sample {
    let mut rest = line.chars().peekable();
    let name = read_until(&mut rest, |next| next == '{' || next == ' ');
    let mut labels = BTreeMap::new();
    if rest.next_if_eq(&'{').is_some() {
        while rest.next_if_eq(&'}').is_none() {
            let label = read_until(&mut rest, |next| next == '=');
            assert_eq!((rest.next(), rest.next()), (Some('='), Some('"')), "{line}");
            assert!(labels.insert(label, read_quoted(&mut rest)).is_none(), "{line}");
            rest.next_if_eq(&',');
        }
    }
    assert_eq!(rest.next(), Some(' '), "{line}");
    Sample {
        name,
        labels,
        value: rest.collect::<String>().parse().unwrap(),
    }
}

fn read_until(rest: &mut Peekable<Chars<'_>>, is_end: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| rest.next_if(|next| !is_end(*next))).collect()
}

/// Reads a quoted value up to the first unescaped quotation mark.
fn read_quoted(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut value = String::new();
    loop {
        match rest.next().unwrap() {
            '"' => return value,
            '\\' => value.push(match rest.next().unwrap() {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                other => panic!("\\{other}"),
            }),
            other => value.push(other),
        }
    }
}
