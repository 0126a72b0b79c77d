//! What commands tell of tenants, as text.

use std::collections::HashMap;
use std::fmt::Write;

use console::{Alignment, measure_text_width, pad_str};
use indicatif::HumanBytes;

use crate::admin::check::CheckedTenant;
use crate::admin::shape::{Difference, DifferenceKind};
use crate::admin::tenants::drop::TenantContents;
use crate::admin::tenants::roles::RoleRemoval;
use crate::admin::tenants::{ListedTenant, TenantState};

/// Names that are told where there are many.
const NAMES_TOLD: usize = 5;
/// A name is not cut shorter than this.
const SHORTEST_NAME: usize = 8;

/// A name on one line, without what would move the cursor or turn the line around.
pub(super) fn shown(name: &str) -> String {
    let turns_around = |character| matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.chars()
        .map(|character| {
            if character.is_control() || turns_around(character) {
                character.escape_default().to_string()
            } else {
                character.to_string()
            }
        })
        .collect()
}

/// Some names, and how many more.
pub(super) fn names<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> String {
    let more = names.len().saturating_sub(NAMES_TOLD);
    let told: Vec<_> = names.take(NAMES_TOLD).map(shown).collect();
    match more {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

/// A line for each tenant. Names are cut short where they do not fit in `width`.
pub(super) fn table(tenants: &[ListedTenant], width: Option<usize>) -> String {
    const COLUMNS: [(&str, Alignment); 6] = [
        ("NAME", Alignment::Left),
        ("USERS", Alignment::Right),
        ("VERSION", Alignment::Right),
        ("STATE", Alignment::Left),
        ("SIZE", Alignment::Right),
        ("NODE", Alignment::Left),
    ];
    let mut lines = vec![COLUMNS.map(|(heading, _)| heading.to_owned()).to_vec()];
    lines.extend(tenants.iter().map(|tenant| cells(tenant).to_vec()));
    if tenants.iter().all(|tenant| tenant.node.is_none()) {
        for line in &mut lines {
            line.truncate(COLUMNS.len() - 1);
        }
    }
    let mut widths = vec![0; lines.first().map_or(0, Vec::len)];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = measure_text_width(cell).max(*width);
        }
    }
    if let (Some(width), [name, others @ ..]) = (width, widths.as_mut_slice()) {
        let others: usize = others.iter().map(|other| other + 2).sum();
        *name = (*name).min(width.saturating_sub(others).max(SHORTEST_NAME));
    }
    let mut table = String::new();
    for line in lines {
        let cells: Vec<_> = COLUMNS
            .iter()
            .zip(line.iter().zip(&widths))
            .map(|((_, alignment), (cell, width))| pad_str(cell, *width, *alignment, Some("…")))
            .collect();
        table.push_str(cells.join("  ").trim_end());
        table.push('\n');
    }
    table
}

fn cells(tenant: &ListedTenant) -> [String; 6] {
    [
        shown(&tenant.name),
        tenant.users.to_string(),
        or_dash(tenant.version),
        state(tenant.state).to_owned(),
        or_dash(tenant.size_bytes.map(size)),
        tenant.node.as_deref().map_or_else(|| "-".to_owned(), shown),
    ]
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn state(state: TenantState) -> &'static str {
    match state {
        TenantState::Current => "current",
        TenantState::Behind => "behind",
        TenantState::Ahead => "ahead",
        TenantState::Unadopted => "unadopted",
        TenantState::Broken => "broken",
        TenantState::Missing => "missing",
        TenantState::Misnamed => "misnamed",
    }
}

/// Describes the contents of a tenant that is dropped.
pub(super) fn contents(contents: &TenantContents) -> String {
    let names = names(contents.tables.iter().map(String::as_str));
    let tables = match contents.tables.len() {
        1 => format!("1 table ({names})"),
        count => format!("{count} tables ({names})"),
    };
    let mut parts = vec![tables];
    parts.extend(contents.size_bytes.map(|bytes| size(bytes).to_string()));
    parts.extend(
        contents
            .extensions
            .iter()
            .map(|name| format!("extension {}", shown(name))),
    );
    if contents.role == RoleRemoval::Dropped {
        parts.push("its role".to_owned());
    }
    parts.join(", ")
}

fn size(bytes: i64) -> HumanBytes {
    HumanBytes(bytes.try_into().unwrap_or_default())
}

/// In what tenants differ. Those that differ in the same are told of together.
pub(super) fn drift(checked: &[CheckedTenant]) -> String {
    let mut groups: Vec<(String, Vec<&CheckedTenant>)> = Vec::new();
    let mut group_of = HashMap::new();
    for tenant in checked.iter().filter(|tenant| tenant.has_drifted()) {
        let differences = tenant
            .differences
            .iter()
            .filter(|difference| difference.is_drift());
        let text: String = differences.map(line).collect();
        let group = *group_of.entry(text.clone()).or_insert(groups.len());
        match groups.get_mut(group) {
            Some((_, tenants)) => tenants.push(tenant),
            None => groups.push((text, vec![tenant])),
        }
    }
    let mut report = String::new();
    for (text, tenants) in &groups {
        group(text, tenants, &mut report);
    }
    let unused: Vec<_> = checked
        .iter()
        .filter(|tenant| tenant.differences.iter().any(|difference| !difference.is_drift()))
        .map(|tenant| tenant.tenant.as_str())
        .collect();
    if !unused.is_empty() {
        let _ = writeln!(report, "no user points at {}", names(unused.iter().copied()));
    }
    report
}

// What is written to a String is never refused.
fn group(text: &str, tenants: &[&CheckedTenant], report: &mut String) {
    let told = names(tenants.iter().map(|tenant| tenant.tenant.as_str()));
    let _ = write!(report, "{told}:\n{text}");
    let Some(first) = tenants.first() else { return };
    let fixes: Vec<_> = first
        .differences
        .iter()
        .filter_map(|difference| difference.fix.as_deref())
        .collect();
    if fixes.is_empty() {
        return;
    }
    match tenants.len() {
        1 => report.push_str("  to mend it:\n"),
        _ => {
            let _ = writeln!(
                report,
                "  to mend {}, and likewise the others (--json has it for all):",
                shown(&first.tenant)
            );
        }
    }
    for fix in fixes {
        let _ = writeln!(report, "    {fix}");
    }
}

fn line(difference: &Difference) -> String {
    let kind = match difference.kind {
        DifferenceKind::Schema => "schema",
        DifferenceKind::Users => "users",
        DifferenceKind::History => "history",
        DifferenceKind::Table => "table",
        DifferenceKind::Column => "column",
        DifferenceKind::Type => "type of",
        DifferenceKind::Nullability => "nullability of",
        DifferenceKind::Default => "default of",
        DifferenceKind::Constraint => "constraint",
        DifferenceKind::Index => "index",
    };
    let object = shown(&difference.object);
    let told = |text: &Option<String>| text.as_deref().map_or_else(|| "nothing".to_owned(), shown);
    format!(
        "  {kind} {object}: expected {}, found {}\n",
        told(&difference.expected),
        told(&difference.found)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str, users: i64) -> ListedTenant {
        ListedTenant {
            name: name.to_owned(),
            users,
            version: Some(2),
            state: TenantState::Current,
            size_bytes: Some(1 << 20),
            node: None,
        }
    }

    #[test]
    fn a_table_fits_the_terminal_whatever_the_names_are() {
        let tenants = [
            tenant(&"x".repeat(63), 1),
            tenant("名前名前名前名前名前名前", 100),
            tenant("a\nb\u{202e}", 0),
        ];
        assert_eq!(
            table(&tenants, Some(48)),
            "NAME           USERS  VERSION  STATE        SIZE\n\
             xxxxxxxxxxxx…      1        2  current  1.00 MiB\n\
             名前名前名前…    100        2  current  1.00 MiB\n\
             a\\nb\\u{202e}       0        2  current  1.00 MiB\n"
        );
        let not_cut = table(&tenants, None);
        assert!(not_cut.contains(&"x".repeat(63)), "{not_cut}");
    }
}
