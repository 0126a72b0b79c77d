//! An archive that is not what it was is refused, wherever the difference is, and leaves nothing.

use tenant_orders::admin::archive::ArchiveError;

use super::Random;
use crate::archive::{export, forget, import};
use crate::existing_database::everything;
use crate::support::TestDatabase;

/// Each attempt takes some statements.
const CASES_FEWER: usize = 2;

/// A database without the tenant that the archive is of.
async fn archive_of_what_is_gone() -> (TestDatabase, Vec<u8>) {
    let database = TestDatabase::demo().await;
    let (_, file) = export(&database, "client1").await.unwrap();
    forget(&database, "client1").await;
    (database, file)
}

#[tokio::test]
async fn any_byte_that_is_another_is_noticed() {
    let mut random = Random::new();
    let (database, file) = archive_of_what_is_gone().await;
    let before = everything(&database).await;
    for _ in 0..random.cases() / CASES_FEWER {
        let (position, flip) = (random.below(file.len()), random.value(1..=u8::MAX));
        let mut damaged = file.clone();
        damaged[position] ^= flip;
        match import(&database, &damaged).await {
            Err(ArchiveError::NotAnArchive | ArchiveError::Truncated | ArchiveError::Damaged(_)) => {}
            other => panic!("byte {position} by {flip}: {other:?}"),
        }
    }
    assert_eq!(everything(&database).await, before);
    import(&database, &file).await.unwrap();
}

#[tokio::test]
async fn any_end_that_is_missing_is_noticed() {
    let mut random = Random::new();
    let (database, file) = archive_of_what_is_gone().await;
    let before = everything(&database).await;
    let blocks = (0..file.len()).step_by(512);
    let anywhere: Vec<_> = (0..random.cases() / CASES_FEWER)
        .map(|_| random.below(file.len()))
        .collect();
    for length in blocks.chain(anywhere).chain([file.len() - 1]) {
        match import(&database, &file[..length]).await {
            Err(ArchiveError::Truncated) => {}
            other => panic!("{length} of {} bytes: {other:?}", file.len()),
        }
    }
    assert_eq!(everything(&database).await, before);
    import(&database, &file).await.unwrap();
}
