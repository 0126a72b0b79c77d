//! The effects of a migration's statements that can collide with the objects of a tenant.

use serde::Serialize;
use sqlx::migrate::Migration;
use squawk_syntax::SourceFile;
use squawk_syntax::ast::{self, AlterColumnOption, AlterTableAction, AstNode, Constraint, ParamMode, Stmt};

use crate::admin::sql_tokens::{tokenize, word};

/// A name that a statement creates, or a column that gets another type.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Effect {
    version: i64,
    kind: &'static str,
    /// The table of a column, constraint, trigger or policy.
    relation: Option<String>,
    name: String,
    /// The types of the arguments of a function or procedure.
    arguments: Vec<String>,
    /// Names that earlier statements drop or rename.
    removed: Vec<String>,
}

/// Collects the effects of migrations in their order.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) found: Vec<Effect>,
    removed: Vec<String>,
    /// `true` after a statement that may drop anything, such as `DO`: nothing can be predicted any more.
    is_opaque: bool,
    version: i64,
    /// A schema; names that it qualifies count as unqualified.
    schema: Option<&'static str>,
}

impl Effects {
    /// Starts with the names that are free although the schema has them.
    pub(super) fn new(freed: &[String], schema: Option<&'static str>) -> Self {
        Self {
            removed: freed.to_vec(),
            schema,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, migration: &Migration) {
        self.version = migration.version;
        for statement in SourceFile::parse(migration.sql.as_str()).tree().stmts() {
            if !self.is_opaque {
                self.add_statement(&statement);
            }
        }
    }

    fn add_statement(&mut self, statement: &Stmt) {
        let text = statement.syntax().text().to_string();
        let words = words(&text);
        let first = words.first().map(|word| word.to_lowercase());
        if matches!(first.as_deref(), Some("do" | "call" | "drop" | "alter")) {
            let is_cascade = words
                .last()
                .is_some_and(|word| word.eq_ignore_ascii_case("cascade"));
            self.is_opaque = is_cascade || matches!(first.as_deref(), Some("do" | "call"));
        }
        match statement {
            Stmt::CreateTable(table) if table.if_not_exists().is_none() => {
                self.create("table", table.table_name());
            }
            Stmt::CreateTableAs(table) if table.if_not_exists().is_none() => {
                self.create("table", table.table_name());
            }
            Stmt::CreateView(view) if view.or_replace().is_none() => self.create("table", view.view()),
            Stmt::CreateMaterializedView(view) if view.if_not_exists().is_none() => {
                self.create("table", view.view());
            }
            Stmt::CreateSequence(sequence) if sequence.if_not_exists().is_none() => {
                self.create("relation", sequence.sequence());
            }
            Stmt::CreateIndex(index) if index.if_not_exists().is_none() => {
                self.create("relation", index.index());
            }
            Stmt::CreateType(created) => self.create("type", created.type_name()),
            Stmt::CreateDomain(domain) => self.create("type", domain.domain()),
            Stmt::CreateTrigger(trigger) if trigger.or_replace().is_none() => {
                let relation = trigger.on_relation().and_then(|on| self.name(&on));
                self.create_in(relation, "trigger", trigger.trigger());
            }
            Stmt::CreatePolicy(policy) => {
                let relation = policy.on_table().and_then(|on| self.name(&on));
                self.create_in(relation, "policy", policy.policy());
            }
            Stmt::CreateFunction(function) if function.or_replace().is_none() => {
                self.create_routine(function.name(), function.param_list());
            }
            Stmt::CreateProcedure(procedure) if procedure.or_replace().is_none() => {
                self.create_routine(procedure.name(), procedure.param_list());
            }
            Stmt::AlterTable(table) => self.alter_table(table),
            _ if first
                .as_deref()
                .is_some_and(|first| matches!(first, "drop" | "alter")) =>
            {
                self.removed.extend(words);
            }
            _ => {}
        }
    }

    fn alter_table(&mut self, table: &ast::AlterTable) {
        let Some(relation) = table.table_relation_name().and_then(|name| self.name(&name)) else {
            return;
        };
        for action in table.actions() {
            let relation = Some(relation.clone());
            match &action {
                AlterTableAction::AddColumn(column) if column.if_not_exists().is_none() => {
                    self.create_in(relation, "column", column.column_name());
                }
                AlterTableAction::AddConstraint(added) => {
                    let Some(constraint) = added.constraint() else {
                        continue;
                    };
                    self.create_in(relation, "constraint", constraint.constraint_name());
                    if let Constraint::PrimaryKeyConstraint(_)
                    | Constraint::UniqueConstraint(_)
                    | Constraint::ExcludeConstraint(_) = constraint
                    {
                        self.create("relation", constraint.constraint_name());
                    }
                }
                AlterTableAction::AlterColumn(column) => {
                    let Some(AlterColumnOption::SetType(set_type)) = column.option() else {
                        continue;
                    };
                    if set_type.using_expr().is_some() {
                        self.create_in(relation.clone(), "conversion", column.column_name_ref());
                    }
                    self.create_in(relation, "type change", column.column_name_ref());
                }
                AlterTableAction::DropColumn(_)
                | AlterTableAction::DropConstraint(_)
                | AlterTableAction::RenameColumn(_)
                | AlterTableAction::RenameConstraint(_) => {
                    self.removed.extend(words(&action.syntax().text().to_string()));
                }
                AlterTableAction::TableRenameTo(_)
                | AlterTableAction::SetSchema(_)
                | AlterTableAction::DetachPartition(_)
                | AlterTableAction::NoInheritTable(_) => self.removed.extend(relation),
                _ => {}
            }
        }
    }

    fn create_routine(&mut self, name: Option<impl AstNode>, parameters: Option<ast::ParamList>) {
        let parameters = parameters.into_iter().flat_map(|list| list.params());
        let inputs = parameters.filter(|parameter| !matches!(parameter.mode(), Some(ParamMode::ParamOut(_))));
        let types = inputs.map(|parameter| Some(parameter.func_type()?.syntax().text().to_string()));
        // The type of a column, with a percent sign, is not looked up.
        let types = types.map(|name| name.filter(|name| !name.contains('%')));
        if let Some(arguments) = types.collect() {
            self.push(None, "function", name, arguments);
        }
    }

    fn create(&mut self, kind: &'static str, name: Option<impl AstNode>) {
        self.create_in(None, kind, name);
    }

    fn create_in(&mut self, relation: Option<String>, kind: &'static str, name: Option<impl AstNode>) {
        self.push(relation, kind, name, Vec::new());
    }

    fn push(
        &mut self,
        relation: Option<String>,
        kind: &'static str,
        name: Option<impl AstNode>,
        arguments: Vec<String>,
    ) {
        if let Some(name) = name.and_then(|name| self.name(&name)) {
            self.found.push(Effect {
                version: self.version,
                kind,
                relation,
                name,
                arguments,
                removed: self.removed.clone(),
            });
        }
    }

    /// Returns the name in `node`, or `None` if it is qualified by another schema.
    fn name(&self, node: &impl AstNode) -> Option<String> {
        let text = node.syntax().text().to_string();
        let mut words = words(&text);
        let name = words.pop()?;
        words.retain(|word| word != "on" && word != "only");
        match words.pop() {
            Some(schema) if Some(schema.as_str()) != self.schema => None,
            _ => Some(name),
        }
    }
}

/// Returns the words of a text: keywords, and identifiers as PostgreSQL stores them.
fn words(text: &str) -> Vec<String> {
    let tokens = tokenize(text).unwrap_or_default();
    tokens.iter().filter_map(|(token, _)| word(token)).collect()
}
