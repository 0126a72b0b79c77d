//! The dashboard and the alert rules in `monitoring/`: they ask for what there is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::exposition::Exposition;
use crate::support::client;
use crate::support::{ServiceProcess, TestDatabase};

const DASHBOARD: &str = include_str!("../../../monitoring/grafana-dashboard.json");
const ALERTS: &str = include_str!("../../../monitoring/alerts.yml");

/// What Prometheus itself adds to each series that it scrapes.
const LABELS_OF_A_SCRAPE: [&str; 2] = ["instance", "job"];

/// What a query asks for: each metric with the labels that it is chosen by, and the labels that
/// results are grouped by.
#[derive(Default)]
struct Asked<'q> {
    metrics: Vec<(&'q str, Vec<&'q str>)>,
    grouped_by: Vec<&'q str>,
}

impl<'q> Asked<'q> {
    fn by(text: &'q str) -> Self {
        let mut asked = Self::default();
        let is_part_of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let mut rest = text;
        while let Some(start) = rest.find(is_part_of_name) {
            let from = &rest[start..];
            let end = from
                .find(|character| !is_part_of_name(character))
                .unwrap_or(from.len());
            let (name, behind) = from.split_at(end);
            rest = behind;
            if name.starts_with("tenant_orders_") || name.starts_with("process_") {
                let selector = behind
                    .strip_prefix('{')
                    .and_then(end_of_selector)
                    .unwrap_or_default();
                asked.metrics.push((name, labels_of_selector(selector)));
            } else if let ("by" | "on", Some(list)) = (name, behind.strip_prefix(" (")) {
                let list = list.split(')').next().unwrap();
                asked.grouped_by.extend(list.split(',').map(str::trim));
            }
        }
        asked
    }
}

/// What stands before the brace that closes, which may also stand inside quotation marks.
fn end_of_selector(text: &str) -> Option<&str> {
    let mut is_quoted = false;
    let end = text.find(|character| {
        is_quoted ^= character == '"';
        character == '}' && !is_quoted
    })?;
    Some(&text[..end])
}

fn labels_of_selector(selector: &str) -> Vec<&str> {
    // Every other piece is what stands outside quotation marks.
    let outside = selector.split('"').step_by(2);
    outside
        .map(|piece| piece.trim_matches([',', ' ', '=', '!', '~']))
        .filter(|label| !label.is_empty())
        .collect()
}

/// All queries in the dashboard.
fn expressions(dashboard: &Value) -> Vec<&str> {
    match dashboard {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value) {
                ("expr" | "query" | "definition", Value::String(text)) => vec![text.as_str()],
                _ => expressions(value),
            })
            .collect(),
        Value::Array(values) => values.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

/// The metrics of a service that has answered each kind of request.
async fn metrics() -> Exposition {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::over(&database.url());
    let url = service.url();
    for path in ["/users/1/orders", "/readyz", "/metrics"] {
        client::get(format!("{url}{path}")).await.unwrap();
    }
    Exposition::of(&client::get(format!("{url}/metrics")).await.unwrap())
}

fn assert_is_there(asked: &Asked<'_>, metrics: &Exposition) {
    let mut known = BTreeSet::from(LABELS_OF_A_SCRAPE);
    for (name, labels) in &asked.metrics {
        let own = metrics
            .labels_of(name)
            .unwrap_or_else(|| panic!("there is no {name}"));
        known.extend(&own);
        for label in labels {
            let is_known = own.contains(label) || LABELS_OF_A_SCRAPE.contains(label);
            assert!(is_known, "{name} has no label {label}");
        }
    }
    for label in &asked.grouped_by {
        assert!(
            known.contains(label),
            "{label} is no label of {:?}",
            asked.metrics
        );
    }
}

#[cfg(target_os = "linux")] // where there are metrics of the process
#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_asks_for_what_there_is() {
    let metrics = metrics().await;
    let dashboard = serde_json::from_str(DASHBOARD).unwrap();
    let mut names = BTreeSet::new();
    for expression in expressions(&dashboard) {
        let asked = Asked::by(expression);
        assert_is_there(&asked, &metrics);
        names.extend(asked.metrics.into_iter().map(|(name, _)| name));
    }
    assert!(names.len() > 20, "{names:?}");
}

#[cfg(target_os = "linux")] // where there are metrics of the process
#[tokio::test(flavor = "multi_thread")]
async fn the_alert_rules_ask_for_what_there_is() {
    let metrics = metrics().await;
    let rules: Vec<_> = ALERTS.split("- alert:").skip(1).collect();
    assert!(rules.len() > 10);
    for rule in rules {
        let asked = Asked::by(rule);
        assert!(!asked.metrics.is_empty(), "{rule}");
        assert_is_there(&asked, &metrics);
    }
}

#[test]
fn what_a_query_asks_for_is_found() {
    let asked =
        Asked::by(r#"sum by (le, step) (rate(tenant_orders_a{b="{}", c!~"d,e"}[5m])) + process_f on (g) 1"#);
    let expected = [("tenant_orders_a", vec!["b", "c"]), ("process_f", vec![])];
    assert_eq!(asked.metrics, expected);
    assert_eq!(asked.grouped_by, ["le", "step", "g"]);
}
