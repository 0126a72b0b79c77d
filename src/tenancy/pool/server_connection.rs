//! A connection to the server with its prepared statements.

use std::sync::Arc;

use hashlink::LruCache;
use sqlx::PgConnection;

use crate::tenancy::SchemaName;
use crate::tenancy::id_type::IdTypes;

/// A connection to the server, and what was prepared on it.
pub(in crate::tenancy) struct ServerConnection {
    pub(super) connection: PgConnection,
    pub(super) prepared: PreparedStatements,
}

impl ServerConnection {
    pub(super) fn new(connection: PgConnection, statement_cache: usize) -> Self {
        Self {
            connection,
            prepared: PreparedStatements::new(statement_cache),
        }
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
    /// `true` if PostgreSQL has not prepared it yet.
    pub(in crate::tenancy) is_new: bool,
    /// The name of the statement that it replaces, which the message deallocates.
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

    /// Adds a statement over shared tables. Their ids have these types.
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
