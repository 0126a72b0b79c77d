//! A difference between a tenant and what the migrations create.

use clap::ValueEnum;
use serde::Serialize;

/// A difference between a tenant and what the migrations create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Kind of the difference.
    pub kind: DifferenceKind,
    /// Name of the object inside its schema.
    pub object: String,
    /// State that the migrations create; `None` if the object is unexpected.
    pub expected: Option<String>,
    /// Actual state; `None` if the object is missing.
    pub found: Option<String>,
    /// SQL that removes the difference, or fails and changes nothing. `None` if this needs a decision, because
    /// data could be lost or responses could become wrong.
    pub fix: Option<String>,
}

/// Kind of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Users belong to a schema that does not exist or cannot be a tenant.
    Schema,
    /// No users belong to the tenant. A tenant may be created before its users.
    Users,
    /// The migration history.
    History,
    /// A table or view.
    Table,
    /// A column.
    Column,
    /// Type of a column.
    Type,
    /// Type of a column that the service and the migrations support as well as the expected one.
    SupportedType,
    /// NOT NULL of a column.
    Nullability,
    /// Default or generation expression of a column.
    Default,
    /// A primary key, foreign key, unique, check or exclusion constraint.
    Constraint,
    /// An index that does not belong to a constraint.
    Index,
    /// A function or procedure.
    Function,
    /// A trigger.
    Trigger,
    /// A sequence.
    Sequence,
    /// A policy, or row-level security of a table.
    Policy,
    /// Privileges of a role other than the owner and the tenant's role.
    Grant,
    /// An owner other than that of the schema.
    Owner,
    /// A statement of the service, or a table or column that it reads.
    Service,
}

impl DifferenceKind {
    /// Returns whether this is a difference in access, which matters for isolation if tenants have roles.
    #[must_use]
    pub fn is_access(self) -> bool {
        matches!(self, Self::Grant | Self::Owner)
    }
}

impl Difference {
    /// Returns a difference that needs a decision.
    pub(super) fn without_fix(
        kind: DifferenceKind,
        object: &str,
        expected: Option<&str>,
        found: Option<&str>,
    ) -> Self {
        Self {
            kind,
            object: object.to_owned(),
            expected: expected.map(str::to_owned),
            found: found.map(str::to_owned),
            fix: None,
        }
    }

    /// Returns the difference of a tenant that cannot be served, for this reason.
    pub(super) fn not_servable(reason: &str) -> Self {
        Self::without_fix(DifferenceKind::Service, "orders", Some("readable"), Some(reason))
    }

    /// Returns the difference with SQL that removes it.
    pub(super) fn with_fix(self, fix: Option<String>) -> Self {
        Self { fix, ..self }
    }

    /// Describes an object that the migrations do not create.
    pub(in crate::admin) fn describe_found(&self) -> String {
        let found = self.found.as_deref().unwrap_or_default();
        match self.kind {
            DifferenceKind::Table => format!("{found} {}", self.object),
            DifferenceKind::Column => format!("column {} {found}", self.object),
            DifferenceKind::Index => format!("index {}", self.object),
            DifferenceKind::Function => format!("function {}", self.object),
            DifferenceKind::Trigger => format!("trigger {}", self.object),
            DifferenceKind::Sequence => format!("sequence {}", self.object),
            DifferenceKind::Policy => format!("policy {}", self.object),
            _ => format!("constraint {}", self.object),
        }
    }

    /// Describes an object that is missing or different.
    pub(in crate::admin) fn describe_missing(&self) -> String {
        let object = &self.object;
        match (self.expected.as_deref(), self.found.as_deref()) {
            (Some(expected), Some(found)) => format!("{object} is {found}, not {expected}"),
            (Some(expected), None) => format!("{object} is missing ({expected})"),
            (None, found) => format!("{object} has an unexpected {}", found.unwrap_or("part")),
        }
    }

    /// Returns `false` for a remark.
    #[must_use]
    pub fn is_drift(&self) -> bool {
        !matches!(self.kind, DifferenceKind::Users | DifferenceKind::SupportedType)
    }

    /// Returns whether the tenant has an object that the migrations do not create.
    #[must_use]
    pub fn is_extra(&self) -> bool {
        self.expected.is_none()
            && matches!(
                self.kind,
                DifferenceKind::Table
                    | DifferenceKind::Column
                    | DifferenceKind::Constraint
                    | DifferenceKind::Index
                    | DifferenceKind::Function
                    | DifferenceKind::Trigger
                    | DifferenceKind::Sequence
                    | DifferenceKind::Policy
            )
    }
}
