//! What one shape has that another lacks, and the SQL that mends what is harmless to mend.

use std::collections::BTreeMap;

use super::part::Part;
use super::{Column, Definition, Difference, DifferenceKind, Shape, Table};
use crate::tenancy::SchemaName;

/// Types that a looser one of the same kind can be made of without a look at the rows.
const LOOSE_TYPES: [&str; 3] = ["character varying", "numeric", "timestamp without time zone"];

/// How `found`, the shape of `schema`, differs from `expected`.
pub(in crate::admin) fn differences(expected: &Shape, found: &Shape, schema: &SchemaName) -> Vec<Difference> {
    let mut comparison = Comparison {
        schema,
        differences: Vec::new(),
    };
    for (name, table) in &expected.tables {
        match found.tables.get(name) {
            Some(found) if found.kind == table.kind => comparison.tables(name, table, found),
            found => {
                let (expected, found) = (Some(table.kind), found.map(|found| found.kind));
                comparison.add(DifferenceKind::Table, name, expected, found, None);
            }
        }
    }
    for (name, table) in beyond(&found.tables, &expected.tables) {
        comparison.add(DifferenceKind::Table, name, None, Some(table.kind), None);
    }
    comparison.differences
}

/// What `found` has and `expected` has not.
fn beyond<'f, T>(
    found: &'f BTreeMap<String, T>,
    expected: &BTreeMap<String, T>,
) -> impl Iterator<Item = (&'f String, &'f T)> {
    found.iter().filter(|(name, _)| !expected.contains_key(*name))
}

struct Comparison<'s> {
    schema: &'s SchemaName,
    differences: Vec<Difference>,
}

impl Comparison<'_> {
    fn add(
        &mut self,
        kind: DifferenceKind,
        object: &str,
        expected: Option<&str>,
        found: Option<&str>,
        fix: Option<String>,
    ) {
        self.differences.push(Difference {
            kind,
            object: object.to_owned(),
            expected: expected.map(str::to_owned),
            found: found.map(str::to_owned),
            fix,
        });
    }

    fn tables(&mut self, table: &str, expected: &Table, found: &Table) {
        for (name, column) in &expected.columns {
            let object = format!("{table}.{name}");
            if let Some(found) = found.columns.get(name) {
                let alter = format!("ALTER TABLE {}.{table} ALTER COLUMN {name}", self.schema.quoted());
                self.columns(&object, &alter, column, found);
            } else {
                let expected = column.data_type.unqualified();
                self.add(DifferenceKind::Column, &object, Some(&expected), None, None);
            }
        }
        for (name, column) in beyond(&found.columns, &expected.columns) {
            let found = column.data_type.unqualified();
            self.add(
                DifferenceKind::Column,
                &format!("{table}.{name}"),
                None,
                Some(&found),
                None,
            );
        }
        self.parts(Part::Constraint, table, &expected.constraints, &found.constraints);
        self.parts(Part::Index, table, &expected.indexes, &found.indexes);
    }

    fn columns(&mut self, object: &str, alter: &str, expected: &Column, found: &Column) {
        if expected.data_type != found.data_type {
            let [expected, found] = [expected, found].map(|column| column.data_type.unqualified());
            let fix = is_stricter(&found, &expected).then(|| format!("{alter} TYPE {expected};"));
            self.add(DifferenceKind::Type, object, Some(&expected), Some(&found), fix);
        }
        if expected.is_not_null != found.is_not_null {
            let action = if expected.is_not_null { "SET" } else { "DROP" };
            let [expected, found] =
                [expected, found].map(|column| if column.is_not_null { "NOT NULL" } else { "NULL" });
            let fix = format!("{alter} {action} NOT NULL;");
            self.add(
                DifferenceKind::Nullability,
                object,
                Some(expected),
                Some(found),
                Some(fix),
            );
        }
        if expected.default != found.default {
            let fix = self.default_fix(alter, expected, found);
            let [expected, found] =
                [expected, found].map(|column| column.default.as_ref().map(Definition::unqualified));
            self.add(
                DifferenceKind::Default,
                object,
                expected.as_deref(),
                found.as_deref(),
                fix,
            );
        }
    }

    fn default_fix(&self, alter: &str, expected: &Column, found: &Column) -> Option<String> {
        let generated = |column: &Column| column.default.as_ref().is_some_and(Definition::is_generated);
        if generated(expected) || generated(found) {
            return None;
        }
        match &expected.default {
            Some(default) => Some(format!(
                "{alter} SET DEFAULT {};",
                default.in_schema(self.schema)?
            )),
            None => Some(format!("{alter} DROP DEFAULT;")),
        }
    }

    /// Constraints or indexes. One that is there under another name is told of as that.
    fn parts(
        &mut self,
        part: Part,
        table: &str,
        expected: &BTreeMap<String, Definition>,
        found: &BTreeMap<String, Definition>,
    ) {
        let mut extra: BTreeMap<_, _> = beyond(found, expected).collect();
        for (name, definition) in expected {
            let there = match found.get(name) {
                Some(same) if same == definition => continue,
                Some(other) => Some((name, other)),
                None => extra
                    .iter()
                    .find(|(_, other)| **other == definition)
                    .map(|(name, other)| (*name, *other)),
            };
            let fix = match there {
                Some((other, _)) if other != name => {
                    extra.remove(other);
                    Some(part.rename(self.schema, table, other, name))
                }
                Some((_, other)) => part.validate(self.schema, table, name, definition, other),
                None => part.create(self.schema, table, name, definition),
            };
            let found = there.map(|(name, definition)| part.text(name, definition));
            let expected = Some(part.text(name, definition));
            let object = part.object(table, name);
            self.add(part.kind(), &object, expected.as_deref(), found.as_deref(), fix);
        }
        for (name, definition) in extra {
            let (object, found) = (part.object(table, name), part.text(name, definition));
            self.add(part.kind(), &object, None, Some(&found), None);
        }
    }
}

/// Whether a column of the type `found` can become one of the type `expected` at once, whatever its
/// rows are (PostgreSQL manual, ALTER TABLE, notes).
fn is_stricter(found: &str, expected: &str) -> bool {
    LOOSE_TYPES.contains(&expected)
        && (without_modifier(found) == expected || (found, expected) == ("text", "character varying"))
}

/// A type without its length or precision.
pub(in crate::admin) fn without_modifier(data_type: &str) -> String {
    match (data_type.find('('), data_type.find(')')) {
        (Some(from), Some(to)) if from < to => {
            let (before, behind) = (data_type.get(..from), data_type.get(to + 1..));
            [before, behind].into_iter().flatten().collect()
        }
        _ => data_type.to_owned(),
    }
}
