//! Tests of tables of tenants.

use super::*;
use crate::admin::tenants::TenantState;

fn tenant(name: &str, users: i64) -> ListedTenant {
    ListedTenant {
        name: name.to_owned(),
        users,
        version: Some(2),
        state: TenantState::Current,
        reason: None,
        size_bytes: Some(1 << 20),
        node: None,
    }
}

#[test]
fn table_fits_the_terminal() {
    let tenants = [
        tenant(&"x".repeat(63), 1),
        tenant("名前名前名前名前名前名前", 100),
        tenant("a\nb\u{202e}", 0),
    ];
    assert_eq!(
        table(&tenants, Some(48)),
        "NAME           USERS  VERSION  STATE        SIZE\n\
         xxxxxxxxxxxx…      1        2  current  1.00 MiB\n\
         名前名前名前…    100        2  current  1.00 MiB\n\
         a\\nb\\u{202e}       0        2  current  1.00 MiB\n"
    );
    let not_cut = table(&tenants, None);
    assert!(not_cut.contains(&"x".repeat(63)), "{not_cut}");
}
