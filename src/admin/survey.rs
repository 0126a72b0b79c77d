//! One look at the whole fleet: which tenants there are, and what their histories say.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sqlx::{Connection, PgConnection, Row, raw_sql};

use super::{AdminError, migrations};
use crate::admin::history::{self, MigratedSchema};
use crate::admin::{database::AdminDatabase, history::AppliedMigration};
use crate::error_chain;
use crate::tenancy::{DatabaseError, InvalidSchemaName, SchemaName};

/// Histories that one statement reads: few enough for the lock table, and for the parser's stack.
const HISTORIES_AT_ONCE: usize = 200;

/// Histories that one connection reads: its backend remembers each table that it has seen.
const HISTORIES_OF_A_CONNECTION: usize = 10 * HISTORIES_AT_ONCE;

/// What was seen of the fleet, in the order of the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Schemas that are tenants, or look like it, and those that users point at in vain.
    pub tenants: Vec<Tenant>,
    /// Where users point at what is no tenant's name.
    pub misnamed: Vec<Misnamed>,
}

/// A schema that is a tenant or looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub schema: SchemaName,
    /// Users that point at it.
    pub users: i64,
    /// Whether there is a table `items`.
    pub has_items: bool,
    /// Whether there is a table `orders`.
    pub has_orders: bool,
    /// What its history says.
    pub history: History,
}

/// What a schema's history says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// There is no such schema.
    NoSchema,
    /// There is nothing in the schema.
    Empty,
    /// The schema holds something, and has no history.
    None,
    /// There is one, and this is why it cannot be read.
    Unreadable(String),
    /// What was applied, in the order of the versions. Histories that say the same share it.
    Applied(Arc<[AppliedMigration]>),
}

/// Users point at what is no tenant's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misnamed {
    /// What is written in `organization_id`.
    pub name: String,
    /// How many users.
    pub users: i64,
    /// Why it is no tenant's name.
    pub reason: InvalidSchemaName,
}

impl Tenant {
    /// Whether it is a tenant beyond doubt: users point at it, or a history of ours is there. What merely
    /// has tables `items` and `orders` may be somebody else's.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        let is_ours = match &self.history {
            History::Applied(history) => {
                self.looks_like_one() || history.iter().any(|applied| migrations::TENANT.include(applied))
            }
            History::Unreadable(_) => self.looks_like_one(),
            History::NoSchema | History::Empty | History::None => false,
        };
        self.users > 0 || is_ours
    }

    /// The version that its history tells of, 0 where nothing was applied; none where there is no history
    /// to be read.
    #[must_use]
    pub fn version(&self) -> Option<i64> {
        match &self.history {
            History::Empty => Some(0),
            History::Applied(history) => Some(migrations::version(history)),
            History::NoSchema | History::None | History::Unreadable(_) => None,
        }
    }

    /// Whether it has all migrations.
    ///
    /// # Errors
    ///
    /// [`AdminError`] where no migration can be applied to it: the schema is missing or was made by
    /// others, or its history cannot be read or tells of other migrations than those of this program.
    pub fn is_current(&self) -> Result<bool, AdminError> {
        match &self.history {
            History::Applied(history) => Ok(migrations::TENANT.pending(history)?.is_empty()),
            History::Empty => Ok(false),
            History::NoSchema => Err(AdminError::NoSuchSchema),
            History::None => Err(AdminError::Unadopted),
            History::Unreadable(reason) => Err(AdminError::UnreadableHistory(reason.clone())),
        }
    }

    fn looks_like_one(&self) -> bool {
        self.has_items && self.has_orders
    }
}

/// Looks at all tenants, or at those that are named, which are then told of whatever they are.
///
/// It takes a fixed number of catalog queries, and one statement for each few hundred histories. A schema
/// that vanishes meanwhile, or a history that cannot be read, is told of as that. Dropped half-way it
/// leaves nothing behind.
///
/// # Errors
///
/// [`AdminError`] where the catalog or `public.users` cannot be read.
pub async fn survey(database: &AdminDatabase, only: &[SchemaName]) -> Result<Survey, AdminError> {
    let names: Vec<_> = only.iter().map(SchemaName::as_str).collect();
    let names = (!names.is_empty()).then_some(names);
    let mut connection = connect(database).await?;
    let mut users = users(&mut connection, names.as_deref()).await?;
    for name in names.iter().flatten() {
        users.entry((*name).to_owned()).or_default();
    }
    let mut survey = schemas(&mut connection, names.as_deref(), users).await?;
    read_ledgers(database, connection, &mut survey.tenants).await?;
    // Another program's, which sqlx serves too.
    survey
        .tenants
        .retain(|tenant| !only.is_empty() || tenant.is_certain() || tenant.looks_like_one());
    Ok(survey)
}

/// A connection that does not wait long for a table that is being dropped.
async fn connect(database: &AdminDatabase) -> Result<PgConnection, AdminError> {
    let mut connection = database.connect().await?;
    raw_sql("SET lock_timeout TO '2s'")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// How many users point at each name.
async fn users(
    connection: &mut PgConnection,
    names: Option<&[&str]>,
) -> Result<BTreeMap<String, i64>, AdminError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('public.users') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(
        "SELECT organization_id::text, count(*) FROM public.users
         WHERE organization_id IS NOT NULL AND ($1::text[] IS NULL OR organization_id::text = ANY ($1))
         GROUP BY 1",
    )
    .bind(names)
    .fetch_all(connection)
    .await?;
    let mut users = BTreeMap::new();
    for row in rows {
        users.insert(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(users)
}

/// The schemas that may be tenants, their histories not yet read.
async fn schemas(
    connection: &mut PgConnection,
    names: Option<&[&str]>,
    mut users: BTreeMap<String, i64>,
) -> Result<Survey, AdminError> {
    let rows = sqlx::query(
        "SELECT n.nspname::text, count(c.oid) = 0,
                COALESCE(bool_or(c.relname = 'items' AND c.relkind IN ('r', 'p', 'f', 'v', 'm')), false),
                COALESCE(bool_or(c.relname = 'orders' AND c.relkind IN ('r', 'p', 'f', 'v', 'm')), false),
                COALESCE(bool_or(c.relname = $2), false),
                COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                         AND bool_or(CASE WHEN c.relname = $2
                                     THEN pg_catalog.has_table_privilege(c.oid, 'SELECT') END), false)
         FROM pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
         WHERE $1::text[] IS NULL OR n.nspname::text = ANY ($1)
         GROUP BY n.oid, n.nspname",
    )
    .bind(names)
    .bind(history::TABLE)
    .fetch_all(connection)
    .await?;
    let mut tenants = Vec::new();
    for row in rows {
        let name: &str = row.try_get(0)?;
        let Ok(schema) = SchemaName::parse(name) else {
            continue;
        };
        let users = users.remove(name);
        let (has_items, has_orders) = (row.try_get(2)?, row.try_get(3)?);
        let (has_history, may_read): (bool, bool) = (row.try_get(4)?, row.try_get(5)?);
        if users.is_none() && !has_history && !(has_items && has_orders) {
            continue;
        }
        let history = if has_history && may_read {
            History::Applied(Arc::default())
        } else if has_history {
            History::Unreadable("permission denied".to_owned())
        } else if row.try_get(1)? {
            History::Empty
        } else {
            History::None
        };
        tenants.push(Tenant {
            schema,
            users: users.unwrap_or_default(),
            has_items,
            has_orders,
            history,
        });
    }
    let mut misnamed = Vec::new();
    for (name, users) in users {
        match SchemaName::parse(&name) {
            Ok(schema) => tenants.push(Tenant {
                schema,
                users,
                has_items: false,
                has_orders: false,
                history: History::NoSchema,
            }),
            Err(reason) => misnamed.push(Misnamed { name, users, reason }),
        }
    }
    tenants.sort_unstable_by(|one, other| one.schema.cmp(&other.schema));
    Ok(Survey { tenants, misnamed })
}

/// Reads all histories that are there.
async fn read_ledgers(
    database: &AdminDatabase,
    mut connection: PgConnection,
    tenants: &mut [Tenant],
) -> Result<(), AdminError> {
    let mut same = HashSet::new();
    let mut unread: Vec<_> = tenants
        .iter_mut()
        .filter(|tenant| matches!(tenant.history, History::Applied(_)))
        .collect();
    for (number, of_a_connection) in unread.chunks_mut(HISTORIES_OF_A_CONNECTION).enumerate() {
        if number > 0 {
            connection.close().await?;
            connection = connect(database).await?;
        }
        for batch in of_a_connection.chunks_mut(HISTORIES_AT_ONCE) {
            read_batch(&mut connection, batch, &mut same).await?;
        }
    }
    connection.close().await?;
    Ok(())
}

/// Reads the histories of `batch` at once, or, where one of them cannot be read, of each half of it.
async fn read_batch(
    connection: &mut PgConnection,
    batch: &mut [&mut Tenant],
    same: &mut HashSet<Arc<[AppliedMigration]>>,
) -> Result<(), AdminError> {
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        let schemas = part.iter().map(|tenant| MigratedSchema::Tenant(&tenant.schema));
        match (history::read(connection, schemas).await, part) {
            (Ok(histories), part) => {
                for (tenant, history) in part.iter_mut().zip(histories) {
                    let shared = same
                        .get(history.as_slice())
                        .cloned()
                        .unwrap_or_else(|| history.into());
                    same.insert(Arc::clone(&shared));
                    tenant.history = History::Applied(shared);
                }
            }
            (Err(DatabaseError::Unavailable(error)), _) if error.as_database_error().is_none() => {
                return Err(DatabaseError::Unavailable(error).into());
            }
            (Err(error), [tenant]) => {
                tenant.history = History::Unreadable(error_chain::messages(&error).join(": "));
            }
            (Err(_), part) => {
                let (one, other) = part.split_at_mut(part.len() / 2);
                parts.extend([one, other]);
            }
        }
    }
    Ok(())
}
