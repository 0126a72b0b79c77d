//! Objects of a schema that are compared as a whole: functions, triggers, sequences, policies, grants and owners.

use std::collections::BTreeMap;

use clap::ValueEnum;
use sqlx::{PgConnection, Row};

use super::definition::Definition;
use super::difference::DifferenceKind;
use crate::admin::migrations::history;
use crate::tenancy::DatabaseError;

/// The definitions of objects by kind and name. An owner is included only if it is not the schema's owner.
pub(in crate::admin) type Objects = BTreeMap<(DifferenceKind, String), Definition>;

/// Returns the objects of `schemas`, each with its schema's name.
pub(super) async fn read(
    connection: &mut PgConnection,
    schemas: &[&str],
) -> Result<Vec<(String, (DifferenceKind, String), Definition)>, DatabaseError> {
    let rows = sqlx::query(include_str!("objects.sql"))
        .bind(schemas)
        .bind(history::TABLES)
        .fetch_all(connection)
        .await?;
    let mut objects = Vec::new();
    for row in rows {
        let (schema, kind): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        let (object, definition): (&str, Option<&str>) = (row.try_get(2)?, row.try_get(3)?);
        // The object is NULL if it was dropped while the catalog was read.
        let (Ok(kind), Some(definition)) = (DifferenceKind::from_str(kind, false), definition) else {
            continue;
        };
        let object = Definition::new(object, schema).unqualified();
        objects.push((
            schema.to_owned(),
            (kind, object),
            Definition::new(definition, schema),
        ));
    }
    Ok(objects)
}
