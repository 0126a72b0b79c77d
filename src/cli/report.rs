//! Text about tenants: tables, drift, names.

use std::collections::HashMap;
use std::fmt::{Display, Write};

use console::{Alignment, measure_text_width, pad_str};
use indicatif::HumanBytes;

use crate::admin::drift::{CheckedTenant, Difference, DifferenceKind};
use crate::admin::migrations::Hazard;
use crate::admin::tenants::ListedTenant;
use crate::admin::tenants::drop::TenantContents;
use crate::admin::tenants::roles::RoleRemoval;

/// Maximum number of names in a list.
const MAX_NAMES: usize = 5;
/// Minimum width of a truncated name.
const MIN_NAME_WIDTH: usize = 8;

/// Escapes control characters and bidirectional formatting.
pub(super) fn escape(name: &str) -> String {
    let is_bidirectional = |character| matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.chars()
        .map(|character| {
            if character.is_control() || is_bidirectional(character) {
                character.escape_default().to_string()
            } else {
                character.to_string()
            }
        })
        .collect()
}

/// Returns a count with its noun, in the plural unless it is 1.
pub(super) fn count(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Describes a hazard on one line.
pub(super) fn describe_hazard(hazard: &Hazard) -> String {
    let Hazard {
        version,
        description,
        line,
        effect,
        ..
    } = hazard;
    let mut text = format!(
        "{version}/{}, line {line}: {}",
        escape(description),
        escape(effect)
    );
    if let Some(table) = &hazard.table {
        let _ = write!(
            text,
            " (largest table: {}.{}, {})",
            escape(&table.schema),
            escape(&table.name),
            human_size(table.size_bytes)
        );
    }
    text
}

/// Lists the first names, and the number of further ones.
fn list_names<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> String {
    let more = names.len().saturating_sub(MAX_NAMES);
    let first: Vec<_> = names.take(MAX_NAMES).map(escape).collect();
    match more {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Renders a table of tenants. Names are truncated if they do not fit in `width`.
pub(super) fn table(tenants: &[ListedTenant], width: Option<usize>) -> String {
    const COLUMNS: [(&str, Alignment); 6] = [
        ("NAME", Alignment::Left),
        ("USERS", Alignment::Right),
        ("VERSION", Alignment::Right),
        ("STATE", Alignment::Left),
        ("SIZE", Alignment::Right),
        ("NODE", Alignment::Left),
    ];
    let mut rows = vec![COLUMNS.map(|(heading, _)| heading.to_owned()).to_vec()];
    rows.extend(tenants.iter().map(|tenant| cells(tenant).to_vec()));
    if tenants.iter().all(|tenant| tenant.node.is_none()) {
        for row in &mut rows {
            row.truncate(COLUMNS.len() - 1);
        }
    }
    align(&rows, &COLUMNS.map(|(_, alignment)| alignment), width)
}

/// Renders a row for each tenant. The first column is the tenant, `columns` are the others.
pub(super) fn rows(columns: &[String], rows: Vec<Vec<String>>, width: Option<usize>) -> String {
    let headings = columns.iter().map(|column| escape(column));
    let mut table = vec![std::iter::once("TENANT".to_owned()).chain(headings).collect()];
    table.extend(rows);
    align(&table, &vec![Alignment::Left; columns.len() + 1], width)
}

/// Aligns the cells of a table. The first column is truncated if the table does not fit in `width`.
fn align(rows: &[Vec<String>], alignments: &[Alignment], width: Option<usize>) -> String {
    let mut widths = vec![0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = measure_text_width(cell).max(*width);
        }
    }
    if let (Some(width), [name, others @ ..]) = (width, widths.as_mut_slice()) {
        let others: usize = others.iter().map(|other| other + 2).sum();
        *name = (*name).min(width.saturating_sub(others).max(MIN_NAME_WIDTH));
    }
    let mut table = String::new();
    for row in rows {
        let cells: Vec<_> = alignments
            .iter()
            .zip(row.iter().zip(&widths))
            .map(|(alignment, (cell, width))| pad_str(cell, *width, *alignment, Some("…")))
            .collect();
        table.push_str(cells.join("  ").trim_end());
        table.push('\n');
    }
    table
}

fn cells(tenant: &ListedTenant) -> [String; 6] {
    [
        escape(&tenant.name),
        tenant.users.to_string(),
        or_dash(tenant.version),
        tenant.state.to_string(),
        or_dash(tenant.size_bytes.map(human_size)),
        or_dash(tenant.node.as_deref().map(escape)),
    ]
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Describes the contents of a tenant that is dropped.
pub(super) fn contents(contents: &TenantContents) -> String {
    let names = list_names(contents.tables.iter().map(String::as_str));
    let mut parts = vec![format!("{} ({names})", count(contents.tables.len(), "table"))];
    parts.extend(contents.size_bytes.map(|bytes| human_size(bytes).to_string()));
    let extensions = contents.extensions.iter();
    parts.extend(extensions.map(|name| format!("extension {}", escape(name))));
    if contents.role == RoleRemoval::Dropped {
        parts.push("its role".to_owned());
    }
    parts.join(", ")
}

pub(super) fn human_size(bytes: i64) -> HumanBytes {
    HumanBytes(bytes.try_into().unwrap_or_default())
}

/// Describes the drift of tenants. Tenants with the same differences are grouped.
pub(super) fn drift(checked: &[CheckedTenant]) -> String {
    let mut groups: Vec<(String, Vec<&CheckedTenant>)> = Vec::new();
    let mut group_of = HashMap::new();
    for tenant in checked.iter().filter(|tenant| tenant.has_drifted()) {
        let differences = tenant
            .differences
            .iter()
            .filter(|difference| difference.is_drift());
        let text: String = differences.map(describe_difference).collect();
        let group = *group_of.entry(text.clone()).or_insert(groups.len());
        match groups.get_mut(group) {
            Some((_, tenants)) => tenants.push(tenant),
            None => groups.push((text, vec![tenant])),
        }
    }
    let mut report: String = groups
        .iter()
        .map(|(text, tenants)| describe_group(text, tenants))
        .collect();
    for (kind, remark) in [
        (
            DifferenceKind::SupportedType,
            "with other types that are supported",
        ),
        (DifferenceKind::Users, "without users"),
    ] {
        let has_remark = |tenant: &&CheckedTenant| tenant.differences.iter().any(|found| found.kind == kind);
        let tenants: Vec<_> = checked.iter().filter(has_remark).collect();
        if !tenants.is_empty() {
            let names = list_names(tenants.iter().map(|tenant| tenant.tenant.as_str()));
            let _ = writeln!(report, "{remark}: {names}");
        }
    }
    report
}

/// Describes tenants with the same differences, which are `text`, with the SQL for the first tenant.
fn describe_group(text: &str, tenants: &[&CheckedTenant]) -> String {
    let names = list_names(tenants.iter().map(|tenant| tenant.tenant.as_str()));
    let mut group = format!("{names}:\n{text}");
    let Some(first) = tenants.first() else {
        return group;
    };
    let fixes: Vec<_> = first
        .differences
        .iter()
        .filter_map(|difference| difference.fix.as_deref())
        .collect();
    if !fixes.is_empty() {
        group.push_str("  fix");
        if tenants.len() > 1 {
            let first = escape(&first.tenant);
            let _ = write!(group, " for {first} (--json prints it for each tenant)");
        }
        group.push_str(":\n");
    }
    for fix in fixes {
        let _ = writeln!(group, "    {fix}");
    }
    group
}

/// Describes a difference on one line.
fn describe_difference(difference: &Difference) -> String {
    let kind = match difference.kind {
        DifferenceKind::History => "migration history".to_owned(),
        DifferenceKind::SupportedType => "type of".to_owned(),
        kind @ (DifferenceKind::Type
        | DifferenceKind::Nullability
        | DifferenceKind::Default
        | DifferenceKind::Owner) => {
            format!("{} of", kind.name())
        }
        DifferenceKind::Grant => "grant on".to_owned(),
        DifferenceKind::Service => {
            let reason = difference.found.as_deref().unwrap_or_default();
            return format!("  cannot be served: {}\n", escape(reason));
        }
        kind => kind.name(),
    };
    let object = escape(&difference.object);
    let [expected, found] = [&difference.expected, &difference.found].map(|text| text.as_deref().map(escape));
    match (expected, found) {
        (Some(expected), Some(found)) => {
            format!("  {kind} {object}: expected {expected}, found {found}\n")
        }
        (Some(expected), None) => format!("  {kind} {object}: missing ({expected})\n"),
        (None, Some(found)) => format!("  {kind} {object}: unexpected ({found})\n"),
        (None, None) => format!("  {kind} {object}\n"),
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
