//! One way in which a tenant is not what the migrations make of it.

use serde::Serialize;

/// One way in which a tenant is not what the migrations make of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What differs.
    pub kind: DifferenceKind,
    /// Of which object, named as inside of the schema.
    pub object: String,
    /// What the migrations make; none where they make no such thing.
    pub expected: Option<String>,
    /// What is there; none where it is missing.
    pub found: Option<String>,
    /// SQL that mends it, or fails and changes nothing. None where mending takes a decision: where data
    /// could be lost, or an answer become wrong.
    pub fix: Option<String>,
}

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The schema itself: users point at it, and there is none, or none that may be a tenant's.
    Schema,
    /// The users: nobody points at it. A tenant may well be made before its users are.
    Users,
    /// The migration history.
    History,
    /// A table or view as a whole.
    Table,
    /// A column as a whole.
    Column,
    /// A column's type.
    Type,
    /// Whether a column may be NULL.
    Nullability,
    /// A column's default, or how it is generated.
    Default,
    /// A primary key, foreign key, unique, check or exclusion constraint.
    Constraint,
    /// An index that no constraint made.
    Index,
}

impl Difference {
    /// Whether it is drift, and not a mere remark.
    #[must_use]
    pub fn is_drift(&self) -> bool {
        self.kind != DifferenceKind::Users
    }

    /// Whether there is more than the migrations make.
    #[must_use]
    pub fn is_extra(&self) -> bool {
        self.expected.is_none()
            && matches!(
                self.kind,
                DifferenceKind::Table
                    | DifferenceKind::Column
                    | DifferenceKind::Constraint
                    | DifferenceKind::Index
            )
    }
}
