//! A difference between a tenant and what the migrations create.

use clap::ValueEnum;
use serde::Serialize;

/// A difference between a tenant and what the migrations create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    pub(crate) kind: DifferenceKind,
    /// Name of the object inside its schema.
    pub(crate) object: String,
    /// State that the migrations create; `None` if the object is unexpected.
    pub(crate) expected: Option<String>,
    /// Actual state; `None` if the object is missing.
    pub(crate) found: Option<String>,
    /// SQL that removes the difference, or fails and changes nothing. `None` if this needs a decision, because
    /// data could be lost or responses could become wrong.
    pub(crate) fix: Option<String>,
}

/// Kind of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DifferenceKind {
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
    /// Returns the name of the kind, as in `--only`.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns whether this is a difference in access, which matters for isolation if tenants have roles.
    pub(crate) fn is_access(self) -> bool {
        matches!(self, Self::Grant | Self::Owner)
    }
}

impl Difference {
    /// Returns the difference of a missing object, which needs a decision.
    pub(super) fn missing(kind: DifferenceKind, object: &str, expected: &str) -> Self {
        Self {
            kind,
            object: object.to_owned(),
            expected: Some(expected.to_owned()),
            found: None,
            fix: None,
        }
    }

    /// Describes an object that the migrations do not create.
    pub(in crate::admin) fn describe_found(&self) -> String {
        let found = self.found.as_deref().unwrap_or_default();
        match self.kind {
            DifferenceKind::Table => format!("{found} {}", self.object),
            DifferenceKind::Column => format!("column {} {found}", self.object),
            kind => format!("{} {}", kind.name(), self.object),
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
    pub(crate) fn is_drift(&self) -> bool {
        !matches!(self.kind, DifferenceKind::Users | DifferenceKind::SupportedType)
    }

    /// Returns whether the tenant has an object that the migrations do not create.
    pub(crate) fn is_extra(&self) -> bool {
        let is_property = matches!(
            self.kind,
            DifferenceKind::History | DifferenceKind::Default | DifferenceKind::Grant | DifferenceKind::Owner
        );
        self.expected.is_none() && !is_property
    }
}
