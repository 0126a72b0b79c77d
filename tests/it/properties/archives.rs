//! The import refuses a changed or truncated archive, and changes nothing.

use tenant_orders::admin::archive::ArchiveError;

use super::Random;
use crate::archive::{export, forget, import};
use crate::existing_database::everything;
use crate::support::TestDatabase;

/// Divisor of the number of cases, because each import takes several statements.
const CASES_DIVISOR: usize = 2;

/// Exports a tenant, drops it, and returns the database and the archive.
async fn archive_of_a_dropped_tenant() -> (TestDatabase, Vec<u8>) {
    let database = TestDatabase::demo().await;
    let (_, file) = export(&database, "client1").await.unwrap();
    forget(&database, "client1").await;
    (database, file)
}

#[tokio::test]
async fn changed_byte_in_an_archive_is_detected() {
    let mut random = Random::new();
    let (database, file) = archive_of_a_dropped_tenant().await;
    let before = everything(&database).await;
    for _ in 0..random.cases() / CASES_DIVISOR {
        let (position, flip) = (random.below(file.len()), random.value(1..=u8::MAX));
        let mut damaged = file.clone();
        damaged[position] ^= flip;
        match import(&database, &damaged).await {
            Err(ArchiveError::NotAnArchive | ArchiveError::Truncated | ArchiveError::Damaged(_)) => {}
            other => panic!("byte {position} XOR {flip}: {other:?}"),
        }
    }
    assert_eq!(everything(&database).await, before);
    import(&database, &file).await.unwrap();
}

#[tokio::test]
async fn truncated_archive_is_detected_at_any_length() {
    let mut random = Random::new();
    let (database, file) = archive_of_a_dropped_tenant().await;
    let before = everything(&database).await;
    let block_boundaries = (0..file.len()).step_by(512);
    let random_lengths: Vec<_> = (0..random.cases() / CASES_DIVISOR)
        .map(|_| random.below(file.len()))
        .collect();
    for length in block_boundaries.chain(random_lengths).chain([file.len() - 1]) {
        match import(&database, &file[..length]).await {
            Err(ArchiveError::Truncated) => {}
            other => panic!("{length} of {} bytes: {other:?}", file.len()),
        }
    }
    assert_eq!(everything(&database).await, before);
    import(&database, &file).await.unwrap();
}
