//! Tenants with hostile names and distinguishable rows, and a table of users that checks the state of every
//! connection that reads it.

use std::fmt::Write;

use serde_json::{Value, json};
use tenant_orders::tenancy::SchemaName;

/// Valid identifiers that test quoting and escaping.
const HOSTILE_NAMES: [&str; 56] = [
    "Upper",
    "upper",
    "UPPER",
    "with-hyphen",
    "with.dot",
    "client1.items",
    "with space",
    " leading",
    "trailing ",
    " ",
    "single'quote",
    "''",
    "'; DROP SCHEMA client1 CASCADE; --",
    "double\"quote",
    "\"",
    "\"\"",
    "\", public, \"",
    "\"client1\"",
    "semi;colon",
    ";",
    "--comment",
    "--",
    "/*open",
    "close*/",
    "*/ SELECT 1; /*",
    "*/",
    "$$dollar$$",
    "$1",
    "$body$",
    "back\\slash",
    "\\",
    "E'\\x'",
    "\\\"",
    "Żółć",
    "名前",
    "\u{1F600}",
    "e\u{301}",
    "é",
    "\u{202E}rtl",
    "\u{A0}",
    "a\nb",
    "a\tb",
    "\r",
    "select",
    "default",
    "user",
    "PUBLIC",
    "Pg_catalog",
    "client1, public",
    "public, client1",
    "%s%d{}",
    "%2F..%2F",
    "u&\"x\"",
    "0",
    "x23456789012345678901234567890123456789012345678901234567890123",
    "ééééééééééééééééééééééééééééééé",
];

/// Invalid tenant names, and schemas that are not tenants.
const INVALID_TENANTS: [&str; 11] = [
    "missing",
    "half-built",
    "public",
    "pg_catalog",
    "pg_temp",
    "pg_toast",
    "information_schema",
    "$user",
    "",
    "canary",
    "x234567890123456789012345678901234567890123456789012345678901234", // 64 bytes
];

const USERS_OF_A_TENANT: usize = 3;
const ORDERS_OF_A_USER: usize = 5;
const ITEMS: usize = 2;

/// Expected state of a connection that reads the table of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// On a direct connection, outside a transaction.
    Plain,
    /// On a pooler's connection, in a transaction that sets everything.
    InTransaction,
}

impl Lookup {
    /// Returns the value of `DATABASE_POOLER` for this lookup.
    pub(crate) fn pooler(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::InTransaction => "transaction",
        }
    }

    /// Returns the expected `search_path` and `transaction_read_only` of the connection.
    fn expected(self) -> [&'static str; 2] {
        match self {
            Self::Plain => ["pg_catalog,pg_temp", "on"],
            Self::InTransaction => ["pg_catalog, pg_temp", "on"],
        }
    }
}

/// A tenant of the fleet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tenant {
    pub(crate) number: usize,
    pub(crate) name: &'static str,
}

/// Returns all tenants.
pub(crate) fn tenants() -> impl ExactSizeIterator<Item = Tenant> {
    HOSTILE_NAMES
        .into_iter()
        .enumerate()
        .map(|(number, name)| Tenant { number, name })
}

/// Returns the users with an organization that is not a tenant.
pub(crate) fn users_without_tenant() -> impl ExactSizeIterator<Item = String> {
    (0..INVALID_TENANTS.len()).map(|number| format!("tenantless-{number}"))
}

/// Id of the user that [`move_user`] moves between tenants.
pub(crate) const MOVING_USER: &str = "moving";

impl Tenant {
    pub(crate) fn quoted(self) -> String {
        SchemaName::parse(self.name).unwrap().quoted()
    }

    pub(crate) fn users(self) -> impl Iterator<Item = String> {
        (0..USERS_OF_A_TENANT).map(move |user| format!("t{}-u{user}", self.number))
    }

    /// Returns the price of an item in hundredths. Each tenant has different prices.
    fn price(self, item: usize) -> usize {
        (self.number + 1) * 1000 + item * 10 + 5
    }

    fn description(self, item: usize) -> String {
        format!("{item} of {}", self.name)
    }

    /// Returns the expected response for `user` without `next_cursor`: `limit` orders after the first `skip`.
    pub(crate) fn page(self, user: &str, skip: usize, limit: usize) -> Value {
        let orders: Vec<_> = (0..ORDERS_OF_A_USER)
            .skip(skip)
            .take(limit)
            .map(|order| {
                let (item, quantity) = (order % ITEMS, order + 1);
                json!({
                    "id": format!("{user}/{order}"),
                    "created_at": format!("2024-01-{:02}T00:00:00", 28 - order),
                    "item": { "id": item.to_string(), "description": self.description(item) },
                    "unit_price": money(self.price(item)),
                    "quantity": quantity,
                    "line_total": money(self.price(item) * quantity),
                })
            })
            .collect();
        let total_due = (0..ORDERS_OF_A_USER)
            .map(|order| self.price(order % ITEMS) * (order + 1))
            .sum();
        json!({
            "user": { "id": user, "name": null, "organization_id": self.name },
            "orders": orders,
            "total_due": money(total_due),
        })
    }
}

fn money(hundredths: usize) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Returns true if a page contains descriptions of another tenant than `own`.
pub(crate) fn shows_foreign_rows(page: &Value, own: Tenant) -> bool {
    let own: Vec<_> = (0..ITEMS).map(|item| own.description(item)).collect();
    let mut orders = page["orders"].as_array().into_iter().flatten();
    orders.any(|order| {
        order["item"]["description"]
            .as_str()
            .is_some_and(|description| !own.iter().any(|own| own == description))
    })
}

/// Returns the statements that create the fleet in an empty database.
///
/// Every tenant has orders of every user, so that a query in the wrong schema returns rows. The tables in
/// `public` must never be read. `public.users` is a view that fails on a connection with the state of an
/// earlier request.
pub(crate) fn statements(lookup: Lookup) -> String {
    let [path, read_only] = lookup.expected();
    let mut sql = format!(
        "CREATE SCHEMA canary;
         CREATE TABLE canary.users (id varchar PRIMARY KEY, creation_timestamp timestamp, name varchar,
                                    password varchar, mail varchar, organization_id varchar NOT NULL);
         CREATE FUNCTION canary.is_clean(organization varchar) RETURNS boolean LANGUAGE plpgsql AS $canary$
         DECLARE
             is_looked_up boolean := current_setting('search_path') = '{path}'
                                     AND current_setting('transaction_read_only') = '{read_only}';
             -- Commands read the users on connections of their own, which have this path.
             is_administration boolean := current_setting('search_path') = 'pg_catalog, pg_temp'
                                          AND current_setting('transaction_read_only') = 'off';
         BEGIN
             IF NOT (is_looked_up OR is_administration) OR current_user <> session_user
             THEN RAISE EXCEPTION 'POISONED: search path %, read only %, role %',
                  current_setting('search_path'), current_setting('transaction_read_only'), current_user;
             END IF;
             RETURN true;
         END $canary$;
         CREATE VIEW public.users AS SELECT * FROM canary.users WHERE canary.is_clean(organization_id);
         CREATE TABLE public.items (id varchar PRIMARY KEY, creation_timestamp timestamp, description varchar,
                                    price double precision);
         CREATE TABLE public.orders (id varchar PRIMARY KEY, creation_timestamp timestamp, quantity integer,
                                     user_id varchar, item_id varchar);
         CREATE SCHEMA \"half-built\"; CREATE TABLE \"half-built\".orders (LIKE public.orders);\n"
    );
    let mut insert_user = |id: &str, organization: &str| {
        let organization = organization.replace('\'', "''");
        writeln!(
            sql,
            "INSERT INTO canary.users (id, organization_id) VALUES ('{id}', '{organization}');"
        )
        .unwrap();
    };
    for tenant in tenants() {
        for user in tenant.users() {
            insert_user(&user, tenant.name);
        }
    }
    for (user, organization) in users_without_tenant().zip(INVALID_TENANTS) {
        insert_user(&user, organization);
    }
    insert_user(MOVING_USER, HOSTILE_NAMES[0]);
    writeln!(
        sql,
        "INSERT INTO public.items SELECT item, NULL, 'a trap', 1 FROM generate_series(0, {last_item}) item;
         INSERT INTO public.orders
         SELECT u.id || '/' || o, timestamp '2024-01-28' - o * interval '1 day', o + 1, u.id, o % {ITEMS}
         FROM canary.users u, generate_series(0, {last_order}) o;",
        last_item = ITEMS - 1,
        last_order = ORDERS_OF_A_USER - 1,
    )
    .unwrap();
    for tenant in tenants() {
        let schema = tenant.quoted();
        writeln!(
            sql,
            "CREATE SCHEMA {schema};
             CREATE TABLE {schema}.items (LIKE public.items INCLUDING ALL);
             CREATE TABLE {schema}.orders (LIKE public.orders INCLUDING ALL);
             INSERT INTO {schema}.orders SELECT * FROM public.orders;"
        )
        .unwrap();
        // Half of the tenants are migrated.
        if tenant.number % 2 == 0 {
            writeln!(
                sql,
                "ALTER TABLE {schema}.items ALTER price TYPE numeric;
                 CREATE INDEX ON {schema}.orders (user_id, creation_timestamp DESC NULLS LAST, id);"
            )
            .unwrap();
        }
        for item in 0..ITEMS {
            writeln!(
                sql,
                "INSERT INTO {schema}.items VALUES ('{item}', NULL, '{}', {});",
                tenant.description(item).replace('\'', "''"),
                money(tenant.price(item)),
            )
            .unwrap();
        }
    }
    sql
}

/// Returns the statement that moves the moving user to `tenant`.
pub(crate) fn move_user(tenant: Tenant) -> String {
    format!(
        "UPDATE canary.users SET organization_id = '{}' WHERE id = '{MOVING_USER}'",
        tenant.name.replace('\'', "''")
    )
}
