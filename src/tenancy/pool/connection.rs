//! A connection of the pool: the guard that a request holds, and the prepared statements.

use std::sync::Arc;

use hashlink::LruCache;
use sqlx::{Connection, PgConnection};

use super::Pool;
use super::tenant_limit::TenantPermit;
use crate::tenancy::SchemaName;
use crate::tenancy::id_type::IdTypes;

/// A connection in use, with its slot of the pool.
///
/// [`PooledConnection::check_in`] returns it to the pool. Dropped in any other way, as after an error or a
/// cancellation, the connection is closed, and the slot and the tenant's permit stay taken until the server
/// has finished the statement: otherwise more statements would run than the pool has connections.
pub(in crate::tenancy) struct PooledConnection {
    connection: Option<ServerConnection>,
    slot: usize,
    is_home: bool,
    pool: Arc<Pool>,
    permit: Option<TenantPermit>,
}

/// A connection to the server, and what was prepared on it.
pub(in crate::tenancy) struct ServerConnection {
    pub(super) connection: PgConnection,
    prepared: PreparedStatements,
}

impl ServerConnection {
    pub(super) fn new(connection: PgConnection, statement_cache: usize) -> Self {
        Self {
            connection,
            prepared: PreparedStatements::new(statement_cache),
        }
    }
}

impl PooledConnection {
    pub(super) fn new(connection: ServerConnection, slot: usize, is_home: bool, pool: Arc<Pool>) -> Self {
        Self {
            connection: Some(connection),
            slot,
            is_home,
            pool,
            permit: None,
        }
    }

    /// Keeps `permit` for as long as the server works for this connection.
    pub(in crate::tenancy) fn with_permit(mut self, permit: Option<TenantPermit>) -> Self {
        self.permit = permit.map(TenantPermit::connected);
        self
    }

    /// Returns whether the tenant's statements are to be prepared on this connection.
    pub(in crate::tenancy) fn is_home(&self) -> bool {
        self.is_home
    }

    /// The connection and its prepared statements.
    #[expect(
        clippy::expect_used,
        reason = "only the methods that consume the guard take it out"
    )]
    pub(in crate::tenancy) fn parts(&mut self) -> (&mut PgConnection, &mut PreparedStatements) {
        let server = self.connection.as_mut().expect("the guard has a connection");
        (&mut server.connection, &mut server.prepared)
    }

    /// Returns the connection to the pool. Only for a connection whose last message was answered in full.
    pub(in crate::tenancy) fn check_in(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.check_in(self.slot, connection);
        }
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let Some(mut server) = self.connection.take() else {
            return;
        };
        let (pool, slot, permit) = (Arc::clone(&self.pool), self.slot, self.permit.take());
        tokio::spawn(async move {
            // PostgreSQL answers a ping once it has finished the message before.
            let finished = tokio::time::timeout(pool.close_timeout(), server.connection.ping()).await;
            if matches!(finished, Ok(Ok(()))) {
                let _ = server.connection.close().await;
            }
            drop(permit);
            pool.free(slot);
        });
    }
}

/// The prepared statements of a connection: one for each shared statement, and the most recently used of the
/// tenants.
pub(in crate::tenancy) struct PreparedStatements {
    shared: Vec<(&'static str, IdTypes)>,
    tenants: LruCache<(&'static str, Arc<SchemaName>, IdTypes), u64>,
    last_number: u64,
}

/// A prepared statement.
pub(in crate::tenancy) struct PreparedStatement {
    /// Its name.
    pub(in crate::tenancy) name: String,
    /// `true` if it is still to be prepared.
    pub(in crate::tenancy) is_new: bool,
    /// The name of the statement that it replaces, which is to be deallocated.
    pub(in crate::tenancy) evicted: Option<String>,
}

impl PreparedStatements {
    fn new(capacity: usize) -> Self {
        Self {
            shared: Vec::new(),
            tenants: LruCache::new(capacity.max(1)),
            last_number: 0,
        }
    }

    /// Adds a statement over shared tables, whose ids have these types.
    pub(in crate::tenancy) fn insert_shared(
        &mut self,
        name: &'static str,
        id_types: IdTypes,
    ) -> PreparedStatement {
        let key = (name, id_types);
        let position = self.shared.iter().position(|known| *known == key);
        if position.is_none() {
            self.shared.push(key);
        }
        PreparedStatement {
            name: format!("{name}_shared_{}", position.unwrap_or(self.shared.len() - 1)),
            is_new: position.is_none(),
            evicted: None,
        }
    }

    /// Adds a statement of a tenant whose ids have these types, in place of the least recently used one if there
    /// are too many.
    pub(in crate::tenancy) fn insert(
        &mut self,
        name: &'static str,
        tenant: &Arc<SchemaName>,
        id_types: IdTypes,
    ) -> PreparedStatement {
        let key = (name, Arc::clone(tenant), id_types);
        if let Some(number) = self.tenants.get(&key) {
            return PreparedStatement {
                name: format!("{name}_{number}"),
                is_new: false,
                evicted: None,
            };
        }
        let evicted = (self.tenants.len() == self.tenants.capacity())
            .then(|| self.tenants.remove_lru())
            .flatten()
            .map(|((name, ..), number)| format!("{name}_{number}"));
        self.last_number += 1;
        self.tenants.insert(key, self.last_number);
        PreparedStatement {
            name: format!("{name}_{}", self.last_number),
            is_new: true,
            evicted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_statement_is_evicted() {
        let mut prepared = PreparedStatements::new(2);
        let tenant = |name| Arc::new(SchemaName::parse(name).unwrap());
        let mut insert = |name| {
            let statement = prepared.insert("orders", &tenant(name), IdTypes::default());
            (statement.name, statement.is_new, statement.evicted)
        };
        assert_eq!(insert("a"), ("orders_1".to_owned(), true, None));
        assert_eq!(insert("b"), ("orders_2".to_owned(), true, None));
        assert_eq!(insert("a"), ("orders_1".to_owned(), false, None));
        assert_eq!(
            insert("c"),
            ("orders_3".to_owned(), true, Some("orders_2".to_owned()))
        );
        assert_eq!(
            insert("b"),
            ("orders_4".to_owned(), true, Some("orders_1".to_owned()))
        );
    }
}
