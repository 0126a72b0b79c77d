//! The schema diff: differences between a snapshot and the expected schema.

use std::collections::BTreeMap;

use super::definition::Definition;
use super::difference::{Difference, DifferenceKind};
use super::fixes::{ColumnFixes, TablePart};
use super::snapshot::{ColumnSnapshot, Objects, SchemaSnapshot, TableSnapshot};
use crate::tenancy::SchemaName;

/// Returns the differences between `expected` and `found`, the snapshot of `schema`.
pub(in crate::admin) fn diff(
    expected: &SchemaSnapshot,
    found: &SchemaSnapshot,
    schema: &SchemaName,
) -> Vec<Difference> {
    let mut diff = Diff {
        schema,
        differences: Vec::new(),
    };
    for (name, table) in &expected.tables {
        match found.tables.get(name) {
            Some(found) if found.kind == table.kind => diff.compare_tables(name, table, found),
            found => {
                let (expected, found) = (Some(table.kind), found.map(|found| found.kind));
                diff.add(DifferenceKind::Table, name, expected, found, None);
            }
        }
    }
    for (name, table) in extras(&found.tables, &expected.tables) {
        diff.add(DifferenceKind::Table, name, None, Some(table.kind), None);
    }
    diff.compare_objects(&expected.objects, &found.objects);
    diff.differences
}

/// Returns the entries of `found` that are not in `expected`.
fn extras<'f, T>(
    found: &'f BTreeMap<String, T>,
    expected: &BTreeMap<String, T>,
) -> impl Iterator<Item = (&'f String, &'f T)> {
    found.iter().filter(|(name, _)| !expected.contains_key(*name))
}

struct Diff<'s> {
    schema: &'s SchemaName,
    differences: Vec<Difference>,
}

impl Diff<'_> {
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

    fn compare_objects(&mut self, expected: &Objects, found: &Objects) {
        for ((kind, name), definition) in expected {
            let other = found.get(&(*kind, name.clone()));
            if other != Some(definition) {
                let definitions = [Some(definition), other].map(|text| text.map(Definition::unqualified));
                let [expected, found] = definitions.each_ref().map(Option::as_deref);
                self.add(*kind, name, expected, found, None);
            }
        }
        let is_extra = |object: &(&(DifferenceKind, String), _)| !expected.contains_key(object.0);
        for ((kind, name), definition) in found.iter().filter(is_extra) {
            self.add(*kind, name, None, Some(&definition.unqualified()), None);
        }
    }

    fn compare_tables(&mut self, table: &str, expected: &TableSnapshot, found: &TableSnapshot) {
        for (name, column) in &expected.columns {
            if let Some(found) = found.columns.get(name) {
                self.compare_columns(table, name, column, found);
            } else {
                let data_type = column.data_type.unqualified();
                let object = format!("{table}.{name}");
                self.add(DifferenceKind::Column, &object, Some(&data_type), None, None);
            }
        }
        for (name, column) in extras(&found.columns, &expected.columns) {
            let data_type = column.data_type.unqualified();
            let object = format!("{table}.{name}");
            self.add(DifferenceKind::Column, &object, None, Some(&data_type), None);
        }
        self.compare_parts(
            TablePart::Constraint,
            table,
            &expected.constraints,
            &found.constraints,
        );
        self.compare_parts(TablePart::Index, table, &expected.indexes, &found.indexes);
    }

    fn compare_columns(
        &mut self,
        table: &str,
        name: &str,
        expected: &ColumnSnapshot,
        found: &ColumnSnapshot,
    ) {
        let object = format!("{table}.{name}");
        let fixes = ColumnFixes::new(self.schema, table, name);
        if expected.data_type != found.data_type {
            let types = [expected, found].map(|column| column.data_type.unqualified());
            let [expected, found] = types.each_ref().map(String::as_str);
            let fix = fixes.set_type(expected, found);
            self.add(DifferenceKind::Type, &object, Some(expected), Some(found), fix);
        }
        if expected.is_not_null != found.is_not_null {
            let fix = fixes.set_nullability(expected.is_not_null);
            let [expected, found] =
                [expected, found].map(|column| Some(if column.is_not_null { "NOT NULL" } else { "NULL" }));
            self.add(DifferenceKind::Nullability, &object, expected, found, Some(fix));
        }
        if expected.default != found.default {
            let fix = fixes.set_default(self.schema, expected, found);
            let defaults =
                [expected, found].map(|column| column.default.as_ref().map(Definition::unqualified));
            let [expected, found] = defaults.each_ref().map(Option::as_deref);
            self.add(DifferenceKind::Default, &object, expected, found, fix);
        }
    }

    /// Compares constraints or indexes. A part with the expected definition and another name is a renamed one.
    fn compare_parts(
        &mut self,
        part: TablePart,
        table: &str,
        expected: &BTreeMap<String, Definition>,
        found: &BTreeMap<String, Definition>,
    ) {
        let mut extra: BTreeMap<_, _> = extras(found, expected).collect();
        for (name, definition) in expected {
            let existing = match found.get(name) {
                Some(same) if same == definition => continue,
                Some(other) => Some((name, other)),
                None => extra
                    .iter()
                    .find(|(_, other)| **other == definition)
                    .map(|(name, other)| (*name, *other)),
            };
            let fix = match existing {
                Some((other, _)) if other != name => {
                    extra.remove(other);
                    Some(part.rename(self.schema, table, other, name))
                }
                Some((_, other)) => part.validate(self.schema, table, name, definition, other),
                None => part.create(self.schema, table, name, definition),
            };
            let found = existing.map(|(name, definition)| part.describe(name, definition));
            let expected = part.describe(name, definition);
            let object = part.object(table, name);
            self.add(part.kind(), &object, Some(&expected), found.as_deref(), fix);
        }
        for (name, definition) in extra {
            let (object, found) = (part.object(table, name), part.describe(name, definition));
            self.add(part.kind(), &object, None, Some(&found), None);
        }
    }
}
