//! Reads Prometheus' text format, version 0.0.4.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::Chars;

use crate::support::Answer;

/// What `/metrics` answered.
pub(super) struct Exposition(Vec<Sample>);

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Exposition {
    pub(super) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
        Self::parse(&answer.text())
    }

    fn parse(text: &str) -> Self {
        let lines = text
            .split('\n')
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let samples: Vec<_> = lines.map(sample).collect();
        let mut series = BTreeSet::new();
        for Sample { name, labels, .. } in &samples {
            assert!(series.insert((name, labels)), "{name} {labels:?} is there twice");
        }
        Self(samples)
    }

    /// The value of the one series that has these labels, among others.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self.all(name, labels).map(|sample| sample.value).collect();
        let [value] = found[..] else {
            panic!("{name} {labels:?}: {found:?}");
        };
        value
    }

    /// The sum of all series that have these labels, among others.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(name, labels).map(|sample| sample.value).sum()
    }

    fn all<'e>(&'e self, name: &'e str, labels: &'e [(&str, &str)]) -> impl Iterator<Item = &'e Sample> {
        self.0.iter().filter(move |sample| {
            let has = |(name, value): &(&str, &str)| sample.labels.get(*name).is_some_and(|own| own == value);
            sample.name == name && labels.iter().all(has)
        })
    }

    /// All values of a label, wherever it stands.
    pub(super) fn values_of(&self, label: &str) -> BTreeSet<&str> {
        self.0
            .iter()
            .filter_map(|sample| sample.labels.get(label).map(String::as_str))
            .collect()
    }

    /// The labels of a metric's series; none where there is no such metric.
    pub(super) fn labels_of(&self, name: &str) -> Option<BTreeSet<&str>> {
        let mut series = self.0.iter().filter(|sample| sample.name == name).peekable();
        series.peek()?;
        Some(
            series
                .flat_map(|sample| sample.labels.keys().map(String::as_str))
                .collect(),
        )
    }

    /// How many series there are.
    pub(super) fn series(&self) -> usize {
        self.0.len()
    }
}

fn sample(line: &str) -> Sample {
    let mut rest = line.chars().peekable();
    let name = until(&mut rest, |next| next == '{' || next == ' ');
    let mut labels = BTreeMap::new();
    if rest.next_if_eq(&'{').is_some() {
        while rest.next_if_eq(&'}').is_none() {
            let label = until(&mut rest, |next| next == '=');
            assert_eq!((rest.next(), rest.next()), (Some('='), Some('"')), "{line}");
            assert!(labels.insert(label, quoted(&mut rest)).is_none(), "{line}");
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

fn until(rest: &mut Peekable<Chars<'_>>, is_end: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| rest.next_if(|next| !is_end(*next))).collect()
}

/// The rest of a quoted value. It is over at the first quotation mark that is not escaped.
fn quoted(rest: &mut Peekable<Chars<'_>>) -> String {
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
