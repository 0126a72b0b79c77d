//! The one message that a request sends to PostgreSQL: its text, and the values in it.
//!
//! PostgreSQL runs the statements of a simple-query message as one transaction and ends that transaction at
//! the end of the message, also after an error (manual, section 55.2.2.1, "Multiple Statements in a Simple
//! Query"). So the search path, the role and the locks of a request end with its message.

use std::fmt::{self, Write};
use std::sync::Arc;

use super::SchemaName;
use super::pool::PreparedStatements;
use super::session_settings::SessionSettings;
use super::statement::{FormedQuery, MessageForm, Query, TenantQuery};

/// The forms of the two parts of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MessageForms {
    pub(super) shared: MessageForm,
    pub(super) tenant: MessageForm,
}

/// A message, and the positions of its statements, which assign its rows and errors.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) text: String,
    statements: usize,
    pub(super) shared: usize,
    pub(super) shared_id_types: Option<usize>,
    pub(super) role: Option<usize>,
    pub(super) lock: Option<usize>,
    pub(super) tenant_id_types: Option<usize>,
}

impl Message {
    /// A message that runs `shared` over shared tables, then `in_tenant` in the schema that it names.
    ///
    /// The order matters: the shared tables are read under the service's own role, before the tenant's role
    /// is set, so that role needs no privilege in `public`. The locks come before `EXECUTE`, because
    /// `EXECUTE` takes its snapshot before its plan takes locks: a statement that waits for a table rewrite
    /// would then read an empty table.
    pub(super) fn new(
        settings: &SessionSettings,
        forms: MessageForms,
        prepared: &mut PreparedStatements,
        shared: Query<'_>,
        in_tenant: Option<(&Arc<SchemaName>, TenantQuery<'_>)>,
    ) -> Self {
        let mut message = Self {
            text: String::with_capacity(512),
            statements: 0,
            shared: 0,
            shared_id_types: None,
            role: None,
            lock: None,
            tenant_id_types: None,
        };
        message.push(settings.begin());
        for setting in settings.message_settings() {
            message.push(setting);
        }
        let shared = FormedQuery(shared, forms.shared);
        message.shared = if forms.shared.is_inline {
            message.push(shared.inline())
        } else {
            let entry = prepared.insert_shared(shared.0.statement.name, forms.shared.id_types());
            if entry.is_new {
                message.push(shared.prepare(&entry.name));
            }
            message.push(shared.execute(&entry.name))
        };
        message.shared_id_types = message.push_id_types(shared);
        if let Some((tenant, query)) = in_tenant {
            message.push_tenant(settings, forms.tenant, prepared, tenant, query);
        }
        if let Some(end) = settings.end() {
            message.push(end);
        }
        message
    }

    fn push_tenant(
        &mut self,
        settings: &SessionSettings,
        form: MessageForm,
        prepared: &mut PreparedStatements,
        tenant: &Arc<SchemaName>,
        TenantQuery { tables, query }: TenantQuery<'_>,
    ) {
        // `pg_temp` is searched first unless the path names it (PostgreSQL manual, section 20.11.1).
        self.push(format_args!(
            "SET LOCAL search_path TO {}, pg_temp",
            tenant.quoted()
        ));
        if settings.has_roles() {
            self.role = Some(self.push(format_args!("SET LOCAL ROLE {}", tenant.quoted_role())));
        }
        let query = FormedQuery(query, form);
        if form.is_inline {
            self.push(query.inline());
        } else {
            self.lock = Some(self.push(format_args!("LOCK TABLE {tables} IN ACCESS SHARE MODE")));
            // Each tenant has its own prepared statement: PostgreSQL plans a prepared statement again if the search
            // path differs from that of its last run.
            let entry = prepared.insert(query.0.statement.name, tenant, form.id_types());
            if let Some(evicted) = &entry.evicted {
                self.push(format_args!("DEALLOCATE {evicted}"));
            }
            if entry.is_new {
                self.push(query.prepare(&entry.name));
            }
            self.push(query.execute(&entry.name));
        }
        // After the query: its error names a missing table.
        self.tenant_id_types = self.push_id_types(query);
    }

    /// Appends the statement that returns the types of the id columns, if they are not known.
    fn push_id_types(&mut self, FormedQuery(query, form): FormedQuery<'_>) -> Option<usize> {
        let statement = query.statement.select_id_types;
        let statement = statement.filter(|_| form.asks_for_id_types)?;
        Some(self.push(statement))
    }

    /// Appends a statement and returns its position.
    fn push(&mut self, statement: impl fmt::Display) -> usize {
        let separator = if self.statements == 0 { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{separator}{statement}");
        self.statements += 1;
        self.statements - 1
    }
}
