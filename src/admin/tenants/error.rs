//! Reasons why a tenant is not dropped.

/// Reasons why a tenant is not dropped.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// The schema is not a tenant.
    #[error(
        "the schema is not a tenant: it has neither a migration history nor both tables, items and orders"
    )]
    NotATenant,
    /// The role lacks the right to drop the schema.
    #[error("only the owner of the schema can drop it; connect as {owner}")]
    NotOwner {
        /// The owner of the schema, quoted if SQL requires it.
        owner: String,
    },
    /// Users belong to the tenant.
    #[error("{} still {} to this tenant; move or delete them first, or pass --force",
        count_users(*users), if *users == 1 { "belongs" } else { "belong" })]
    HasUsers {
        /// Number of users.
        users: i64,
    },
    /// Objects outside the schema would be dropped or broken.
    #[error("objects outside the schema depend on it: {}; drop or change these first", objects.join(", "))]
    HasDependents {
        /// PostgreSQL's descriptions of the objects, or of the first ones.
        objects: Vec<String>,
    },
}

fn count_users(users: i64) -> String {
    format!("{users} user{}", if users == 1 { "" } else { "s" })
}
