//! The users of all tenants, and the way from a user to the tables of their tenant.

mod error;
mod tenant_cache;

use std::sync::Arc;

use serde::Serialize;
use sqlx::postgres::PgRow;
use utoipa::ToSchema;

use crate::config::{DatabaseUrl, PoolSettings};
use crate::connect::InvalidDatabaseUrl;
use crate::tenancy::{
    Database, DatabaseError, IdComparison, MessageError, Query, RequestTimings, SchemaName, Statement,
    TenantQuery, Value, is_true, read_text, select_id_type,
};
pub use error::UserError;
use tenant_cache::TenantCache;
pub(crate) use tenant_cache::TenantCacheCounts;

/// Maximum number of messages that look for the user's tenant; a user can be moved between two of them.
const MAX_LOOKUPS: usize = 4;

/// The organizations of the user `$1`: usually one, or several if `public.users` is a view of memberships. The
/// length of the name counts in the server's encoding, in which PostgreSQL truncates identifiers.
///
/// The condition uses an index on `id`. The last column compares byte for byte, whatever the column's collation.
const MEMBERSHIPS: Statement = Statement::new(
    "memberships",
    "SELECT COALESCE(organization_id::text, ''), \
            COALESCE(pg_catalog.octet_length(organization_id::text), 0), name::text, \
            id::text COLLATE \"C\" = $1 \
     FROM public.users WHERE id::text = $1",
)
.with_ids(
    concat!("SELECT ", select_id_type!("(NULL::public.users).id")),
    &[IdComparison {
        columns: &[0],
        of_texts: "WHERE id::text = $1",
        in_type: ["WHERE id", "$1"],
        value: Some(0),
    }],
);

const ORGANIZATIONS: Statement = Statement::new(
    "organizations",
    "SELECT organization_id::text FROM public.users WHERE id::text = $1",
);

const ANY_USER: Statement = Statement::new("any_user", "SELECT id::text FROM public.users LIMIT 1");

const COLUMNS: Statement = Statement::new(
    "columns",
    "SELECT id::text, name::text, organization_id::text FROM public.users LIMIT 0",
);

/// Returns the statement that looks up a user, with a user that does not exist.
pub(crate) fn lookup_statement() -> String {
    let values = &[Value::Text("")];
    let statement = &MEMBERSHIPS;
    Query { statement, values }.to_sql()
}

/// The users in `public.users`. Clones share the database and the tenant cache.
#[derive(Clone)]
pub struct UserDirectory {
    database: Database,
    tenant_cache: Arc<TenantCache>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct User {
    /// Opaque text.
    #[schema(example = "1")]
    pub id: String,
    /// The display name, if there is one.
    #[schema(required, example = "rich_dude")]
    pub name: Option<String>,
    /// The name of the tenant's schema.
    #[schema(example = "client1")]
    pub organization_id: String,
}

/// An organization that the user belongs to.
struct Membership {
    organization_id: String,
    /// The length of `organization_id` in the server's encoding.
    octet_length: i32,
    name: Option<String>,
}

impl UserDirectory {
    /// Opens the database. It connects when the first request needs it, so the database may be down. Must be
    /// called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`InvalidDatabaseUrl`].
    pub fn open(url: &DatabaseUrl, settings: &PoolSettings) -> Result<Self, InvalidDatabaseUrl> {
        Ok(Self {
            database: Database::open(url, settings)?,
            tenant_cache: Arc::new(TenantCache::new(settings.tenant_cache_size)),
        })
    }

    /// Returns the database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Returns the tenant cache's effect.
    pub(crate) fn tenant_cache_counts(&self) -> TenantCacheCounts {
        self.tenant_cache.counts()
    }

    /// Runs `query` in the schema of the user's tenant. Returns the user and the rows.
    ///
    /// The token's `organization`, or the tenant cache, is a first guess at the tenant. The message that reads
    /// the tenant reads the user's memberships too; if they name another tenant, the next message reads that
    /// one. If `organization` is given, the user has to belong to it, and the error does not reveal whether the
    /// user exists elsewhere.
    ///
    /// Dropping the future closes the connection that it uses.
    pub(crate) async fn query_tenant(
        &self,
        timings: &RequestTimings,
        user_id: &str,
        organization: Option<&str>,
        query: TenantQuery<'_>,
    ) -> Result<(User, Vec<PgRow>), UserError> {
        if user_id.contains('\0') {
            return Err(select(Vec::new(), organization)
                .err()
                .unwrap_or(UserError::NotFound));
        }
        let cached = match organization {
            Some(_) => None,
            None => self.tenant_cache.get(user_id),
        };
        let mut is_cached = cached.is_some();
        let mut guess = match organization {
            Some(organization) => SchemaName::parse(organization).ok().map(Arc::new),
            None => cached,
        };
        for _ in 0..MAX_LOOKUPS {
            let (memberships, rows) = self.read(timings, user_id, guess.as_ref(), query).await?;
            let membership = select(memberships, organization)?;
            let tenant = SchemaName::parse_measured(&membership.organization_id, membership.octet_length)?;
            if let Some(guess) = guess.filter(|guess| **guess == tenant) {
                let rows = rows.map_err(|source| UserError::Tenant {
                    tenant: tenant.as_str().to_owned(),
                    source,
                })?;
                if !is_cached && organization.is_none() {
                    self.tenant_cache.insert(user_id, &guess);
                }
                let user = User {
                    id: user_id.to_owned(),
                    name: membership.name,
                    organization_id: membership.organization_id,
                };
                return Ok((user, rows));
            }
            if std::mem::take(&mut is_cached) {
                self.tenant_cache.remove_stale(user_id);
            }
            guess = Some(Arc::new(tenant));
        }
        Err(UserError::TenantChanged)
    }

    /// Reads the user's memberships and, in the same message, runs `query` in the schema of `tenant`.
    async fn read(
        &self,
        timings: &RequestTimings,
        user_id: &str,
        tenant: Option<&Arc<SchemaName>>,
        query: TenantQuery<'_>,
    ) -> Result<(Vec<Membership>, Result<Vec<PgRow>, DatabaseError>), UserError> {
        let memberships = Query {
            statement: &MEMBERSHIPS,
            values: &[Value::Text(user_id)],
        };
        let (rows, in_tenant) = match tenant {
            None => {
                let rows = self.database.query_shared(timings, memberships).await;
                (rows, Ok(Vec::new()))
            }
            Some(tenant) => match self
                .database
                .query_tenant(timings, tenant, memberships, query)
                .await
            {
                Ok(reply) => (Ok(reply.shared), Ok(reply.tenant)),
                Err(MessageError {
                    shared: Some(rows),
                    source,
                    ..
                }) => (Ok(rows), Err(source)),
                // Only a message that was not sent fails for the tenant before the lookup.
                Err(error) if matches!(error.source, DatabaseError::TenantLimit) => {
                    return Err(UserError::Tenant {
                        tenant: tenant.as_str().to_owned(),
                        source: error.source,
                    });
                }
                Err(error) => (Err(error.source), Ok(Vec::new())),
            },
        };
        let rows = match rows {
            // The id has a character that the database's encoding lacks, so no user has it.
            Err(DatabaseError::Unencodable(_)) => Vec::new(),
            Err(error @ DatabaseError::InvalidData(_)) => {
                // PostgreSQL does not report which value is no text.
                let organizations = Query {
                    statement: &ORGANIZATIONS,
                    ..memberships
                };
                return Err(match self.database.query_shared(timings, organizations).await {
                    Err(error @ DatabaseError::InvalidData(_)) => UserError::InvalidOrganization(error),
                    _ => UserError::Lookup(error),
                });
            }
            rows => rows.map_err(UserError::Lookup)?,
        };
        let memberships = rows.iter().filter_map(|row| membership(row).transpose());
        let memberships = memberships.collect::<Result<_, _>>();
        let memberships = memberships.map_err(|error| UserError::Lookup(error.into()))?;
        Ok((memberships, in_tenant))
    }

    /// Returns whether there are no users.
    pub(crate) async fn is_empty(&self) -> Result<bool, DatabaseError> {
        Ok(self.read_users(&ANY_USER).await?.is_empty())
    }

    /// Checks that a connection works and that `public.users` is readable.
    pub(crate) async fn check(&self) -> Result<(), DatabaseError> {
        self.read_users(&COLUMNS).await?;
        Ok(())
    }

    async fn read_users(&self, statement: &'static Statement) -> Result<Vec<PgRow>, DatabaseError> {
        let query = Query {
            statement,
            values: &[],
        };
        self.database
            .query_shared(&RequestTimings::disabled(), query)
            .await
    }
}

/// Reads a row of [`MEMBERSHIPS`]. Returns `None` for a user whose id is only equal by its collation.
fn membership(row: &PgRow) -> Result<Option<Membership>, sqlx::Error> {
    if !is_true(row, 3)? {
        return Ok(None);
    }
    let octet_length = read_text(row, 1)?.and_then(|length| length.parse().ok());
    Ok(Some(Membership {
        organization_id: read_text(row, 0)?.unwrap_or_default().to_owned(),
        octet_length: octet_length.unwrap_or_default(),
        name: read_text(row, 2)?.map(str::to_owned),
    }))
}

/// Selects the membership that the request reads: that of the caller's organization, else the only one.
/// Organizations are compared byte for byte.
fn select(memberships: Vec<Membership>, organization: Option<&str>) -> Result<Membership, UserError> {
    let mut memberships = memberships.into_iter();
    if let Some(organization) = organization {
        return memberships
            .find(|membership| membership.organization_id == organization)
            .ok_or(UserError::OutsideOrganization);
    }
    let first = memberships.next().ok_or(UserError::NotFound)?;
    if memberships.any(|other| other.organization_id != first.organization_id) {
        return Err(UserError::SeveralOrganizations);
    }
    Ok(first)
}
