//! Builds again when a migration is added: `sqlx::migrate!` reads folders that cargo does not watch.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
