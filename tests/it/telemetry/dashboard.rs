//! The dashboard and the alert rules in `monitoring/` use existing metrics and labels.

use std::collections::BTreeSet;

use serde_json::Value;

use super::exposition::Exposition;
use crate::support::client;
use crate::support::{ServiceProcess, TestDatabase};

const DASHBOARD: &str = include_str!("../../../monitoring/grafana-dashboard.json");
const PROMETHEUS_RULE: &str = include_str!("../../../monitoring/prometheus-rule.yaml");
const ALERTS: &str = include_str!("../../../monitoring/alerts.yml");

/// Labels that Prometheus adds to each scraped series.
const SCRAPE_LABELS: [&str; 2] = ["instance", "job"];

/// Names in a query: each metric with the labels of its selector, and the labels of groupings.
#[derive(Default)]
struct QueryNames<'q> {
    metrics: Vec<(&'q str, Vec<&'q str>)>,
    grouped_by: Vec<&'q str>,
}

impl<'q> QueryNames<'q> {
    fn parse(text: &'q str) -> Self {
        let mut names = Self::default();
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
                    .and_then(selector_body)
                    .unwrap_or_default();
                names.metrics.push((name, labels_of_selector(selector)));
            } else if let ("by" | "on", Some(list)) = (name, behind.strip_prefix(" (")) {
                let list = list.split(')').next().unwrap();
                names.grouped_by.extend(list.split(',').map(str::trim));
            }
        }
        names
    }
}

/// Returns the text before the closing brace. Braces inside quotation marks are skipped.
fn selector_body(text: &str) -> Option<&str> {
    let mut is_quoted = false;
    let end = text.find(|character| {
        is_quoted ^= character == '"';
        character == '}' && !is_quoted
    })?;
    Some(&text[..end])
}

fn labels_of_selector(selector: &str) -> Vec<&str> {
    // Every second piece is outside quotation marks.
    let outside = selector.split('"').step_by(2);
    outside
        .map(|piece| piece.trim_matches([',', ' ', '=', '!', '~']))
        .filter(|label| !label.is_empty())
        .collect()
}

/// Returns all queries in the dashboard.
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

/// Returns the metrics of a service after each kind of request.
async fn metrics() -> Exposition {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::over(&database.url());
    let url = service.url();
    for path in ["/users/1/orders", "/readyz", "/metrics"] {
        client::get(format!("{url}{path}")).await.unwrap();
    }
    Exposition::from_answer(&client::get(format!("{url}/metrics")).await.unwrap())
}

fn assert_exists(query: &QueryNames<'_>, metrics: &Exposition) {
    let mut known = BTreeSet::from(SCRAPE_LABELS);
    for (name, labels) in &query.metrics {
        let own = metrics
            .labels_of(name)
            .unwrap_or_else(|| panic!("the metric {name} does not exist"));
        known.extend(&own);
        for label in labels {
            let is_known = own.contains(label) || SCRAPE_LABELS.contains(label);
            assert!(is_known, "{name} has no label {label}");
        }
    }
    for label in &query.grouped_by {
        assert!(
            known.contains(label),
            "{label} is not a label of {:?}",
            query.metrics
        );
    }
}

#[cfg(target_os = "linux")] // which has process metrics
#[tokio::test(flavor = "multi_thread")]
async fn dashboard_uses_existing_metrics() {
    let metrics = metrics().await;
    let dashboard = serde_json::from_str(DASHBOARD).unwrap();
    let mut names = BTreeSet::new();
    for expression in expressions(&dashboard) {
        let query = QueryNames::parse(expression);
        assert_exists(&query, &metrics);
        names.extend(query.metrics.into_iter().map(|(name, _)| name));
    }
    assert!(names.len() > 20, "{names:?}");
}

#[cfg(target_os = "linux")] // which has process metrics
#[tokio::test(flavor = "multi_thread")]
async fn alert_rules_use_existing_metrics() {
    let metrics = metrics().await;
    let rules: Vec<_> = ALERTS.split("- alert:").skip(1).collect();
    assert!(rules.len() > 10);
    for rule in rules {
        let query = QueryNames::parse(rule);
        assert!(!query.metrics.is_empty(), "{rule}");
        assert_exists(&query, &metrics);
    }
}

#[test]
fn prometheus_rule_has_the_alert_rules() {
    let (_, groups) = ALERTS.split_once("\ngroups:\n").unwrap();
    let (_, copied) = PROMETHEUS_RULE.split_once("\n  groups:\n").unwrap();
    for (line, copy) in groups.lines().zip(copied.lines()) {
        assert_eq!(copy.trim(), line.trim());
    }
    assert_eq!(groups.lines().count(), copied.lines().count());
}

#[test]
fn query_names_are_parsed() {
    let query = QueryNames::parse(
        r#"sum by (le, step) (rate(tenant_orders_a{b="{}", c!~"d,e"}[5m])) + process_f on (g) 1"#,
    );
    let expected = [("tenant_orders_a", vec!["b", "c"]), ("process_f", vec![])];
    assert_eq!(query.metrics, expected);
    assert_eq!(query.grouped_by, ["le", "step", "g"]);
}
