//! Rebuilds the crate when a migration is added: Cargo does not track the folders that `sqlx::migrate!` reads.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
