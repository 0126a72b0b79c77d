//! A user's orders: the story of one request, and what its answer is made of.

mod cursor;
mod money;
mod query;
mod timestamp;

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

pub use cursor::{Cursor, InvalidCursor};
pub use money::{InvalidMoney, Money};
pub use timestamp::{InvalidTimestamp, Timestamp};

use crate::error_chain;
use crate::tenancy::{Database, DatabaseError, InvalidSchemaName, RequestTimings, SchemaName, Step};
use crate::users;
use query::{Found, OrderRow, Selection};

/// So often is looked whose tenant a user belongs to, who may move between the look and the next step.
const MAX_LOOKUPS: usize = 3;

/// Which of a user's orders to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many.
    pub limit: u16,
    /// Those behind this one; from the newest on where there is none.
    pub after: Option<Cursor>,
}

/// Some of a user's orders, and what all of them come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrdersPage {
    /// Whose orders.
    pub user: User,
    /// Newest first; those without a timestamp last.
    pub orders: Vec<OrderLine>,
    /// The sum of all the user's line totals, on this page or not.
    pub total_due: Money,
    /// Where the next page starts, if there is one.
    pub next_cursor: Option<Cursor>,
}

/// A user, as far as this service reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Opaque text.
    pub id: String,
    /// The display name, where there is one.
    pub name: Option<String>,
    /// The name of the tenant's schema.
    pub organization_id: String,
}

/// One order, with its item's price at this tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OrderLine {
    /// Opaque text, unique within the tenant alone.
    pub id: String,
    /// When it was made, as the database has it: without a time zone.
    #[schema(required)]
    pub created_at: Option<Timestamp>,
    /// What was ordered.
    pub item: Item,
    /// The price of one.
    #[schema(required)]
    pub unit_price: Option<Money>,
    /// How many.
    #[schema(required)]
    pub quantity: Option<i64>,
    /// Unit price × quantity; none where either is unknown.
    #[schema(required)]
    pub line_total: Option<Money>,
}

/// What was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Item {
    /// Opaque text; none where the order names no item.
    #[schema(required)]
    pub id: Option<String>,
    /// The item's description; none where it has none or is gone.
    #[schema(required)]
    pub description: Option<String>,
}

/// Why a user's orders could not be told.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// No user has this id.
    #[error("no such user")]
    UserNotFound,
    /// The caller may ask for the users of one organization alone, and this is none of them.
    #[error("the user is none of the caller's organization")]
    OutsideOrganization,
    /// The lookup of the user failed.
    #[error("could not look up the user")]
    Lookup(#[source] DatabaseError),
    /// The user's `organization_id` names nothing that could be a tenant.
    #[error("the user's organization is no tenant")]
    InvalidTenantName(#[from] InvalidSchemaName),
    /// Reading the tenant's tables failed.
    #[error("could not read the orders of tenant {tenant:?}")]
    Tenant {
        /// The tenant's name, for the log.
        tenant: String,
        /// What went wrong.
        source: DatabaseError,
    },
    /// At each look the user belonged to another tenant.
    #[error("the user moves from tenant to tenant")]
    TenantChanged,
    /// A value of the tenant's cannot be represented exactly.
    #[error("could not tell the orders of tenant {tenant:?}")]
    Data {
        /// The tenant's name, for the log.
        tenant: String,
        /// What is wrong with it.
        source: InvalidTenantData,
    },
}

impl ListError {
    fn in_tenant(tenant: &SchemaName, source: DatabaseError) -> Self {
        Self::Tenant {
            tenant: tenant.as_str().to_owned(),
            source,
        }
    }

    fn is_retryable(&self) -> bool {
        match self {
            Self::Lookup(source) | Self::Tenant { source, .. } => source.is_retryable(),
            _ => false,
        }
    }
}

/// A tenant's data holds a value that cannot be represented exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenantData {
    /// A price, a line total or the total due.
    #[error(transparent)]
    Money(#[from] InvalidMoney),
    /// The time of an order.
    #[error(transparent)]
    Timestamp(#[from] InvalidTimestamp),
}

/// Tells the orders of `user_id`: finds out whose tenant they belong to, enters its schema, reads. Where
/// the server gives that up half-way, it is done once more, on another connection: nothing was written.
///
/// Dropping the future is safe: it closes the connection at work. What was done until then is in `trace`.
///
/// Where the caller may ask for the users of one `organization` alone, no other tenant is entered, and who
/// is in another is told from who is in none by nothing.
///
/// # Errors
///
/// [`ListError`].
pub async fn list_for_user(
    database: &Database,
    trace: &RequestTimings,
    user_id: &str,
    organization: Option<&str>,
    page: &PageRequest,
) -> Result<OrdersPage, ListError> {
    match try_list(database, trace, user_id, organization, page).await {
        Err(error) if error.is_retryable() => {
            let cause = error_chain::messages(&error).join(": ");
            tracing::info!(cause, "the database gave a request up: trying once more");
            // Seldom done, and large.
            Box::pin(try_list(database, trace, user_id, organization, page)).await
        }
        answer => answer,
    }
}

/// A hint at the tenant saves the look-up. The statement that reads the orders says itself whether the
/// user belongs to the tenant; where not, the hint was out of date, or the user moves just now, and all
/// begins anew without one.
async fn try_list(
    database: &Database,
    trace: &RequestTimings,
    user_id: &str,
    organization: Option<&str>,
    page: &PageRequest,
) -> Result<OrdersPage, ListError> {
    let may_enter = |tenant: &str| organization.is_none_or(|organization| organization == tenant);
    let hint = database.hinted_tenant(user_id);
    if let Some(tenant) = hint.filter(|tenant| may_enter(tenant.as_str())) {
        match select_in_tenant(database, trace, &tenant, user_id, page).await {
            Ok(Some(found)) => return OrdersPage::assemble(&tenant, user_id, found, page.limit),
            Ok(None) | Err(DatabaseError::SchemaMismatch(_) | DatabaseError::MissingRole(_)) => {
                database.forget_hint(user_id);
            }
            Err(source) => return Err(ListError::in_tenant(&tenant, source)),
        }
    }
    for _ in 0..MAX_LOOKUPS {
        let found = users::organization_of(database, trace, user_id)
            .await
            .map_err(ListError::Lookup)?;
        let name = match found {
            Some(name) if may_enter(&name) => name,
            None if organization.is_none() => return Err(ListError::UserNotFound),
            _ => return Err(ListError::OutsideOrganization),
        };
        let tenant = Arc::new(SchemaName::parse(&name)?);
        let found = select_in_tenant(database, trace, &tenant, user_id, page)
            .await
            .map_err(|source| ListError::in_tenant(&tenant, source))?;
        if let Some(found) = found {
            database.hint_at(user_id, &tenant);
            return OrdersPage::assemble(&tenant, user_id, found, page.limit);
        }
    }
    Err(ListError::TenantChanged)
}

/// What is found is of the tenant alone, and none where the user is not the tenant's.
async fn select_in_tenant(
    database: &Database,
    trace: &RequestTimings,
    tenant: &Arc<SchemaName>,
    user_id: &str,
    page: &PageRequest,
) -> Result<Option<Found>, DatabaseError> {
    trace.set_tenant(tenant);
    let mut transaction = database.begin_tenant(trace, tenant).await?;
    let found = trace
        .step(Step::Query, query::select(&mut transaction, user_id, page))
        .await?;
    transaction.end();
    Ok(found)
}

impl OrdersPage {
    fn assemble(tenant: &SchemaName, user_id: &str, found: Found, limit: u16) -> Result<Self, ListError> {
        let user = User {
            id: user_id.to_owned(),
            name: found.name,
            organization_id: tenant.as_str().to_owned(),
        };
        Self::of(user, found.selection, limit).map_err(|source| ListError::Data {
            tenant: tenant.as_str().to_owned(),
            source,
        })
    }

    fn of(user: User, selection: Selection, limit: u16) -> Result<Self, InvalidTenantData> {
        let (rows, total_due) = match selection {
            Selection::All(rows) => (rows, None),
            Selection::Page { rows, total_due } => (rows, Some(total_due)),
        };
        let has_more = rows.len() > usize::from(limit);
        let orders = rows
            .into_iter()
            .take(limit.into())
            .map(OrderLine::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        let total_due = match total_due {
            None => Money::sum(orders.iter().filter_map(|line| line.line_total))?,
            Some(None) => Money::ZERO, // there is nothing to pay for
            Some(Some(total_due)) => Money::parse(&total_due)?,
        };
        let next_cursor = orders
            .last()
            .filter(|_| has_more)
            .map(|line| Cursor(line.created_at, line.id.clone()));
        Ok(Self {
            user,
            orders,
            total_due,
            next_cursor,
        })
    }
}

impl TryFrom<OrderRow> for OrderLine {
    type Error = InvalidTenantData;

    fn try_from(row: OrderRow) -> Result<Self, Self::Error> {
        let unit_price = row.price.as_deref().map(Money::parse).transpose()?;
        let line_total = match (unit_price, row.quantity) {
            (Some(unit_price), Some(quantity)) => Some(unit_price.times(quantity)?),
            _ => None,
        };
        Ok(Self {
            id: row.id,
            created_at: row.creation_timestamp.map(Timestamp::from_postgres).transpose()?,
            item: Item {
                id: row.item_id,
                description: row.description,
            },
            unit_price,
            quantity: row.quantity,
            line_total,
        })
    }
}
