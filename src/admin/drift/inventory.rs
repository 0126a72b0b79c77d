//! The tenant inventory: all tenants of a database, with their users and migration histories.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::{FromRow, PgConnection, Row};

use super::histories;
use super::tenant_entry::{HistoryState, MisnamedTenant, TenantEntry};
use crate::admin::database::AdminDatabase;
use crate::admin::error::AdminError;
use crate::admin::migrations::history;
use crate::tenancy::{InvalidSchemaName, SchemaName};

/// The tenants of a database, in the order of their names.
#[derive(Debug)]
pub(crate) struct TenantInventory {
    /// Schemas that are tenants or look like one, and missing schemas that users belong to.
    pub(crate) tenants: Vec<TenantEntry>,
    /// Values of `organization_id` that cannot be names of schemas.
    pub(crate) misnamed: Vec<MisnamedTenant>,
}

/// Reads the inventory of all tenants, or of the schemas in `only`, which need not be tenants.
///
/// The number of statements is fixed, apart from one for each few hundred histories. A schema that is dropped
/// meanwhile and a history that cannot be read are returned as such. Cancel-safe.
pub(crate) async fn read(
    database: &AdminDatabase,
    only: &[SchemaName],
) -> Result<TenantInventory, AdminError> {
    let names: Vec<_> = only.iter().map(SchemaName::as_str).collect();
    let names = (!names.is_empty()).then_some(names);
    let mut connection = histories::connect(database).await?;
    let mut users = count_users(&mut connection, names.as_deref()).await?;
    for name in names.iter().flatten() {
        users.entry(name.as_bytes().to_owned()).or_default();
    }
    let mut inventory = read_schemas(&mut connection, names.as_deref(), users).await?;
    histories::read(database, connection, &mut inventory.tenants).await?;
    let migrations = &database.migrations().tenant;
    inventory
        .tenants
        .retain(|tenant| !only.is_empty() || tenant.is_certain(migrations) || tenant.has_tables);
    Ok(inventory)
}

/// Reads the tenants that a run works on: those in `only`, or all existing schemas that certainly are tenants.
pub(in crate::admin) async fn read_certain(
    database: &AdminDatabase,
    only: &[SchemaName],
) -> Result<Vec<TenantEntry>, AdminError> {
    let mut tenants = read(database, only).await?.tenants;
    let migrations = &database.migrations().tenant;
    tenants.retain(|tenant| !only.is_empty() || (tenant.exists() && tenant.is_certain(migrations)));
    Ok(tenants)
}

/// Renders an expression for the bytes of a name: in UTF-8, or as they are if the database has no encoding, in which
/// case the server would refuse to send a name that is not valid in UTF-8.
macro_rules! select_bytes {
    ($name:literal) => {
        concat!(
            "pg_catalog.convert_to(",
            $name,
            ", CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)"
        )
    };
}

/// The users of an organization.
#[derive(Debug, Default, FromRow)]
struct OrganizationUsers {
    count: i64,
    /// Length of the organization's name in the encoding of the database.
    octet_length: i32,
}

/// Counts the users of each organization. The names are bytes, because they may not be valid text.
async fn count_users(
    connection: &mut PgConnection,
    names: Option<&[&str]>,
) -> Result<BTreeMap<Vec<u8>, OrganizationUsers>, AdminError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('public.users') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(concat!(
        "SELECT ",
        select_bytes!("organization_id::text COLLATE \"C\""),
        ", count(*), octet_length(organization_id::text COLLATE \"C\")
         FROM public.users
         WHERE organization_id IS NOT NULL AND ($1::text[] IS NULL OR organization_id::text COLLATE \"C\" = ANY ($1))
         GROUP BY organization_id::text COLLATE \"C\""
    ))
    .bind(names)
    .fetch_all(connection)
    .await?;
    let users = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, OrganizationUsers::from_row(row)?)));
    users.collect()
}

/// Parses a name that has `octet_length` bytes in the server's encoding.
fn parse(name: &[u8], octet_length: i32) -> Result<SchemaName, InvalidSchemaName> {
    match str::from_utf8(name) {
        Ok(text) => SchemaName::parse_measured(text, octet_length),
        Err(_) => Err(InvalidSchemaName::NotText {
            bytes: name.escape_ascii().to_string(),
        }),
    }
}

/// A schema's name with its length, and whether it is empty, has both tables, has a history, and has a history that can be
/// read, with the current name or that of early versions.
type SchemaRow = (Vec<u8>, i32, bool, bool, bool, bool, bool);

/// Reads the schemas that may be tenants. Their histories are read later.
async fn read_schemas(
    connection: &mut PgConnection,
    names: Option<&[&str]>,
    mut users: BTreeMap<Vec<u8>, OrganizationUsers>,
) -> Result<TenantInventory, AdminError> {
    let rows: Vec<SchemaRow> = sqlx::query_as(concat!(
        "SELECT ",
        select_bytes!("n.nspname::text"),
        ", octet_length(n.nspname::text), count(c.oid) = 0,
                COALESCE(bool_or(c.relname = 'items' AND c.relkind IN ('r', 'p', 'f', 'v', 'm'))
                         AND bool_or(c.relname = 'orders' AND c.relkind IN ('r', 'p', 'f', 'v', 'm')), false),
                COALESCE(bool_or(c.relname = $2), false),
                COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                         AND bool_or(CASE WHEN c.relname = $2
                                     THEN pg_catalog.has_table_privilege(c.oid, 'SELECT') END), false),
                COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                         AND bool_or(CASE WHEN c.relname = $3
                                     THEN pg_catalog.has_table_privilege(c.oid, 'SELECT') END), false)
         FROM pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
         WHERE $1::text[] IS NULL OR n.nspname::text = ANY ($1)
         GROUP BY n.oid, n.nspname"
    ))
    .bind(names)
    .bind(history::TABLE)
    .bind(history::LEGACY_TABLE)
    .fetch_all(connection)
    .await?;
    let mut tenants = Vec::new();
    for (name, octet_length, is_empty, has_tables, has_history, may_read, may_read_legacy) in rows {
        let Ok(schema) = parse(&name, octet_length) else {
            continue;
        };
        let users = users.remove(&name);
        let has_legacy_history = !has_history && may_read_legacy;
        if users.is_none() && !has_history && !has_legacy_history && !has_tables {
            continue;
        }
        let history = if has_legacy_history || (has_history && may_read) {
            HistoryState::Applied(Arc::default())
        } else if has_history {
            HistoryState::Unreadable("permission denied".to_owned())
        } else if is_empty {
            HistoryState::Empty
        } else {
            HistoryState::None
        };
        tenants.push(TenantEntry {
            schema,
            users: users.unwrap_or_default().count,
            has_tables,
            history,
            has_legacy_history,
        });
    }
    let mut misnamed = Vec::new();
    for (name, users) in users {
        let parsed = parse(&name, users.octet_length);
        let users = users.count;
        match parsed {
            Ok(schema) => tenants.push(TenantEntry {
                schema,
                users,
                has_tables: false,
                history: HistoryState::NoSchema,
                has_legacy_history: false,
            }),
            Err(reason) => misnamed.push(MisnamedTenant {
                name: str::from_utf8(&name).map_or_else(|_| name.escape_ascii().to_string(), str::to_owned),
                users,
                reason,
            }),
        }
    }
    tenants.sort_unstable_by(|one, other| one.schema.cmp(&other.schema));
    Ok(TenantInventory { tenants, misnamed })
}
