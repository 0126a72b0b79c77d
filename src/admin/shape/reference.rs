//! The shapes that the migrations make.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use sqlx::{Connection, PgConnection, raw_sql};

use super::Shape;
use crate::admin::schema;
use crate::admin::{AdminError, migrations};
use crate::tenancy::SchemaName;

/// What the migrations make of a tenant's schema, by the version.
pub(in crate::admin) struct References(BTreeMap<i64, Shape>);

impl References {
    /// Makes them, up to version `last`, by running the migrations in a schema that nobody gets to see:
    /// the transaction is rolled back. For as long as it lasts, some milliseconds, `public.users` is
    /// locked against writing, since a foreign key points at it. The search path is another afterwards.
    ///
    /// # Errors
    ///
    /// [`AdminError`] where our role may not create a schema, where `public.users` is none to be pointed
    /// at, or where somebody writes to it for longer than some seconds.
    pub(in crate::admin) async fn make(connection: &mut PgConnection, last: i64) -> Result<Self, AdminError> {
        let mut shapes = BTreeMap::from([(0, Shape::default())]);
        if last == 0 {
            return Ok(Self(shapes));
        }
        let schema = unused_name();
        let mut transaction = connection.begin().await?;
        // Where there is Citus, nothing of this is for its nodes.
        raw_sql("SET LOCAL lock_timeout TO '5s'; SET LOCAL citus.enable_ddl_propagation TO off")
            .execute(&mut *transaction)
            .await?;
        schema::create(&mut transaction, &schema).await?;
        for migration in migrations::TENANT
            .iter()
            .filter(|migration| migration.version <= last)
        {
            schema::set_search_path(&mut transaction, &schema).await?;
            raw_sql(migration.sql.clone()).execute(&mut *transaction).await?;
            let mut read = super::read(&mut transaction, std::slice::from_ref(&schema)).await?;
            shapes.insert(
                migration.version,
                read.remove(schema.as_str()).unwrap_or_default(),
            );
        }
        transaction.rollback().await?;
        Ok(Self(shapes))
    }

    /// What a schema at `version` should be; none where no migration has this version.
    pub(in crate::admin) fn at(&self, version: i64) -> Option<&Shape> {
        self.0.get(&version)
    }
}

/// A name that no schema has.
#[expect(clippy::expect_used, reason = "the name is short and not reserved")]
fn unused_name() -> SchemaName {
    let random = RandomState::new().build_hasher().finish();
    SchemaName::parse(&format!("tenant-orders reference {random:x}")).expect("a name for a schema")
}
