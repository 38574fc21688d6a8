//! How many leases are made, and when.

use super::*;
use crate::lease::{renew_after, replace_after};

/// Keeps a renewable token alive, as the session does.
async fn kept_alive(stage: &Stage, ttl: Duration) {
    loop {
        sleep(renew_after(ttl)).await;
        stage.vault().token.renewed(Some(ttl), now());
    }
}

async fn during<T>(time: Duration, work: impl Future<Output = T>) {
    let _ = tokio::time::timeout(time, work).await;
}

/// As with a token of 20 minutes, a lease of an hour and at most a day, over three days; all of it
/// a quarter as long.
#[tokio::test(start_paused = true)]
async fn a_lease_that_outlives_its_token_is_renewed_up_to_its_maximum_life() {
    let vault = Vault::new(MINUTE * 15, HOUR * 6, Some(MINUTE * 5));
    let stage = Stage::with(vault, secret("database/creds/app", MINUTE)).await;
    let ask = async {
        loop {
            sleep(MINUTE).await;
            let left = stage.served().await.expires_in.unwrap();
            assert!(left > MINUTE, "{left:?}");
        }
    };
    let life = async { tokio::join!(kept_alive(&stage, MINUTE * 5), ask) };
    during(MINUTE * 1050, life).await;
    let vault = stage.vault();
    assert_eq!(vault.made(), 3, "one for each maximum life, with a little less for the change");
    assert!((100..=120).contains(&vault.renewals), "{}", vault.renewals);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_renewed_is_replaced_by_its_own_life_alone() {
    let mut vault = Vault::new(HOUR, HOUR, Some(MINUTE * 20));
    vault.renewable = false;
    let stage = Stage::with(vault, secret("aws/creds/app", MINUTE)).await;
    during(HOUR * 8, kept_alive(&stage, MINUTE * 20)).await;
    let made = stage.vault().made();
    assert!((9..=10).contains(&made), "{made}");
}

#[tokio::test(start_paused = true)]
async fn each_token_that_takes_the_place_of_another_costs_one_lease() {
    let vault = Vault::new(HOUR * 24, HOUR * 24, Some(HOUR));
    let stage = Stage::with(vault, secret("database/creds/app", MINUTE)).await;
    for tokens in 2..8 {
        sleep(replace_after(HOUR)).await;
        stage.log_in_again(Some(HOUR));
        sleep(SECOND * 31).await;
        assert_eq!(stage.vault().made(), tokens);
    }
    assert_eq!(stage.vault().renewals, 0);
}

#[tokio::test(start_paused = true)]
async fn so_it_is_when_neither_lease_nor_token_is_renewed() {
    let mut vault = Vault::new(HOUR, HOUR, Some(HOUR));
    vault.renewable = false;
    vault.token.fix();
    let stage = Stage::with(vault, secret("aws/creds/app", MINUTE)).await;
    for tokens in 2..8 {
        sleep(replace_after(HOUR)).await;
        stage.log_in_again(Some(HOUR));
        stage.vault().token.fix();
        sleep(SECOND * 31).await;
        assert_eq!(stage.vault().made(), tokens);
    }
}

#[tokio::test(start_paused = true)]
async fn min_ttl_renews_and_makes_no_more_than_the_maximum_life_demands() {
    let vault = Vault::new(MINUTE * 10, HOUR * 4, None);
    let stage = Stage::with(vault, secret("database/creds/app", MINUTE)).await;
    let ask = async {
        loop {
            sleep(MINUTE * 2).await;
            stage.cache.get_living(&db(), MINUTE * 5).await.unwrap();
        }
    };
    during(MINUTE * 690, ask).await;
    assert_eq!(stage.vault().made(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_no_lease_under_the_token_can_have_is_refused_without_asking() {
    let vault = Vault::new(HOUR * 24, HOUR * 24, Some(HOUR));
    let stage = Stage::with(vault, secret("database/creds/app", MINUTE)).await;
    for _ in 0..50 {
        let refused = stage.cache.get_living(&db(), HOUR * 2).await;
        assert_eq!(refused.err(), Some(ReadError::MinTtlUnmet));
    }
    let vault = stage.vault();
    assert_eq!((vault.made(), vault.renewals), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_bucket_holds_also_when_there_is_no_value() {
    let vault = Vault::new(HOUR, HOUR * 24, None);
    let stage = Stage::with(vault, secret("database/creds/app", MINUTE)).await;
    for _ in 0..60 {
        // As when the lease was revoked by others.
        stage.cache.present(&db(), None).unwrap().wipe();
        let _ = stage.cache.refresh(&db()).await;
        sleep(Duration::from_millis(100)).await;
    }
    let made = stage.vault().made();
    assert!((20..=21).contains(&made), "{made}");
}

#[tokio::test(start_paused = true)]
async fn a_leased_path_has_no_versions_and_is_not_asked_for_them() {
    let vault = Vault::new(HOUR, HOUR * 24, None);
    let stage = Stage::with(vault, secret("database/creds/app", MINUTE)).await;
    for version in 1..100 {
        let refused = stage.cache.get(&db(), Some(version)).await;
        assert_eq!(refused.err(), Some(ReadError::NoSuchVersion));
        sleep(SECOND).await;
    }
    assert_eq!(stage.vault().made(), 1);
}
