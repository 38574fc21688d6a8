//! What counts as another value, and when it is seen.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_vault_rotates_is_news_when_it_does() {
    for refresh in [MINUTE, HOUR * 24] {
        let vault = Vault::new(HOUR, HOUR, None);
        let start = now();
        let stage = Stage::with(vault, secret("database/static", refresh)).await;
        let first = stage.text().await;
        for rotation in 1..4 {
            sleep(start + HOUR * rotation - SECOND - now()).await;
            assert_eq!(stage.rotations(), u64::from(rotation - 1), "nothing was rotated");
            sleep(SECOND * 4).await;
            assert_eq!(stage.rotations(), u64::from(rotation));
            assert_ne!(stage.text().await, first);
        }
        assert_eq!(stage.served().await.version, 4);
        let reads = stage.vault().reads;
        assert!(refresh == MINUTE || reads == 4, "{reads}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_that_is_left_is_served_as_it_was_read_last() {
    let vault = Vault::new(HOUR, HOUR, None);
    let stage = Stage::with(vault, secret("database/static", MINUTE)).await;
    let (first, etag) = (stage.text().await, *stage.served().await.secret.etag());
    sleep(MINUTE * 2).await;
    assert_ne!(stage.text().await, first);
    assert_eq!(*stage.served().await.secret.etag(), etag);
}

const EARLY: &str = "2026-01-01T00:00:01.5Z";
const LATE: &str = "2026-01-01T00:00:01.51Z";

async fn behind() -> Stage {
    let mut vault = Vault::new(HOUR, HOUR, None);
    vault.kv = (3, LATE);
    let stage = Stage::with(vault, secret("secret/data", SECOND * 10)).await;
    stage.vault().kv = (2, EARLY);
    stage
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_lags_behind_says_nothing_new() {
    let stage = behind().await;
    sleep(SECOND * 30).await;
    assert_eq!((stage.served().await.version, stage.rotations()), (3, 0));
    stage.vault().kv = (4, "2026-01-02T00:00:00Z");
    sleep(SECOND * 11).await;
    assert_eq!((stage.served().await.version, stage.rotations()), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_was_made_anew_is_news_at_once() {
    let stage = behind().await;
    stage.vault().kv = (1, "2026-01-02T00:00:00Z");
    sleep(SECOND * 11).await;
    assert_eq!((stage.served().await.version, stage.rotations()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_was_put_back_is_believed_after_a_minute() {
    let stage = behind().await;
    sleep(MINUTE).await;
    assert_eq!(stage.served().await.version, 3);
    sleep(SECOND * 31).await;
    assert_eq!((stage.served().await.version, stage.rotations()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_make_a_standby_believed() {
    let stage = behind().await;
    sleep(SECOND * 20).await;
    stage.vault().away = Some(VaultError::new(Failure::Sealed, "secret/data"));
    sleep(MINUTE).await;
    stage.vault().away = None;
    sleep(SECOND * 20).await;
    assert_eq!((stage.served().await.version, stage.rotations()), (3, 0));
}
