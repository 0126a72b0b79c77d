//! Objects of a schema that are compared as a whole: functions, triggers, sequences, policies, grants and owners.

use std::collections::BTreeMap;

use clap::ValueEnum;
use sqlx::PgConnection;

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
    let rows: Vec<(String, String, String, Option<String>)> = sqlx::query_as(include_str!("objects.sql"))
        .bind(schemas)
        .bind(history::TABLES)
        .fetch_all(connection)
        .await?;
    let mut objects = Vec::new();
    for (schema, kind, object, definition) in rows {
        // The object is NULL if it was dropped while the catalog was read.
        let (Ok(kind), Some(definition)) = (DifferenceKind::from_str(&kind, false), definition) else {
            continue;
        };
        let object = Definition::new(&object, &schema).unqualified();
        let definition = Definition::new(&definition, &schema);
        objects.push((schema, (kind, object), definition));
    }
    Ok(objects)
}
