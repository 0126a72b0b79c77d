//! Output of `tenants query`: a table, or JSON lines.

use super::{eprint_line, print, print_line};
use crate::admin::runner::TenantReport;
use crate::admin::tenants::{QueriedRows, TextRow};
use crate::cli::report::{self, escape};
use crate::error_chain;

/// Prints the rows of all tenants.
pub(in crate::cli) struct QueryOutput {
    json: bool,
    /// Names of the columns, in the order in which they first appear.
    columns: Vec<String>,
    /// Tenants and rows of the table. JSON is printed at once.
    rows: Vec<(String, TextRow)>,
}

impl QueryOutput {
    pub(in crate::cli) fn new(json: bool) -> Self {
        Self {
            json,
            columns: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Prints or adds the rows of one tenant, or prints its failure.
    pub(in crate::cli) fn report(&mut self, report: TenantReport<QueriedRows>) {
        let name = report.tenant.as_str();
        if let Some(error) = report.error {
            eprint_line(format_args!(
                "{}: error: {}",
                escape(name),
                error_chain::render(&error)
            ));
            return;
        }
        if self.json {
            // A string always serializes.
            let tenant = serde_json::to_string(name).unwrap_or_default();
            for row in report.outcome.json {
                let columns = row.trim_start_matches('{');
                let comma = if columns == "}" { "" } else { "," };
                print_line(format_args!("{{\"tenant\":{tenant}{comma}{columns}"));
            }
            return;
        }
        for row in report.outcome.text {
            for (column, _) in &row {
                if !self.columns.contains(column) {
                    self.columns.push(column.clone());
                }
            }
            self.rows.push((name.to_owned(), row));
        }
    }

    /// Prints the table, in the order of the tenants' names.
    pub(in crate::cli) fn end(mut self, width: Option<usize>) {
        if self.json {
            return;
        }
        self.rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        let columns = &self.columns;
        let rows = self.rows.into_iter().map(|(tenant, row)| {
            let cell = |column: &String| {
                let value = row.iter().find(|(name, _)| name == column);
                let value = value.and_then(|(_, value)| value.as_deref());
                value.map_or_else(|| "-".to_owned(), escape)
            };
            let cells = columns.iter().map(cell);
            std::iter::once(escape(&tenant)).chain(cells).collect()
        });
        print(&report::rows(columns, rows.collect(), width));
    }
}
