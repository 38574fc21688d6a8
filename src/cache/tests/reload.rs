//! What a reload keeps, replaces and drops.

use super::*;
use crate::config::KeyOrigin;

fn certificate(grace: Option<Duration>) -> CertificateSpec {
    CertificateSpec {
        mount: VaultPath::parse("pki").unwrap(),
        role: "web".into(),
        common_name: "app.example.io".into(),
        alt_names: Vec::new(),
        ip_sans: Vec::new(),
        uri_sans: Vec::new(),
        ttl: None,
        key: KeyOrigin::Vault,
        renew_at_percent: 67,
        required: true,
        revoke: true,
        revoke_replaced_after: grace,
    }
}

fn declared(spec: CertificateSpec) -> Declaration {
    Declaration::Certificate(Box::new(spec))
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_when_its_tuning_changes() {
    let vault = Vault::new(HOUR, HOUR * 24, None);
    let stage = Stage::with(vault, secret("database/creds/app", MINUTE)).await;
    let first = stage.text().await;
    let other = declarations(secret("database/creds/app", MINUTE * 2));
    stage.cache.redeclare(&other, Another::Neither).await;
    sleep(MINUTE).await;
    assert_eq!(stage.text().await, first);
    let vault = stage.vault();
    assert_eq!((vault.made(), vault.revoked.len(), vault.reads), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_new_tuning_is_in_force() {
    let vault = Vault::new(HOUR, HOUR, None);
    let stage = Stage::with(vault, secret("secret/data", HOUR * 24)).await;
    sleep(MINUTE).await;
    assert_eq!(stage.vault().reads, 1);
    let other = declarations(secret("secret/data", SECOND * 10));
    stage.cache.redeclare(&other, Another::Neither).await;
    sleep(MINUTE).await;
    let reads = stage.vault().reads;
    assert!((6..=10).contains(&reads), "{reads}");
    assert_eq!(stage.rotations(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_replaced_by_its_new_share_and_revoked_as_it_says_now() {
    let stage = Stage::with(Vault::new(HOUR, HOUR, None), declared(certificate(None))).await;
    let other = CertificateSpec { renew_at_percent: 20, revoke: false, ..certificate(None) };
    stage.cache.redeclare(&declarations(declared(other)), Another::Neither).await;
    assert_eq!(stage.vault().made(), 1);
    sleep(MINUTE * 13).await;
    assert_eq!((stage.vault().made(), stage.rotations()), (2, 1));
    assert!(stage.cache.stop_refreshing().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_stands_for_something_else_is_replaced_and_told_of() {
    let vault = Vault::new(HOUR, HOUR * 24, None);
    let stage = Stage::with(vault, secret("database/creds/app", MINUTE)).await;
    let (first, version) = (stage.text().await, stage.served().await.version);
    let other = declarations(secret("database/creds/other", MINUTE));
    stage.cache.redeclare(&other, Another::Neither).await;
    sleep(MINUTE).await;
    assert_ne!(stage.text().await, first);
    assert_eq!((stage.rotations(), stage.served().await.version), (1, version + 1));
    assert!(stage.vault().revoked.is_empty(), "the application may still use it");
    assert_eq!(stage.cache.stop_refreshing().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_for_another_name_leaves_the_former_its_grace() {
    let spec = certificate(Some(MINUTE));
    let stage = Stage::with(Vault::new(HOUR, HOUR, None), declared(spec.clone())).await;
    let other = CertificateSpec { common_name: "other.example.io".into(), ..spec };
    stage.cache.redeclare(&declarations(declared(other)), Another::Neither).await;
    sleep(SECOND * 50).await;
    assert_eq!(stage.vault().made(), 2);
    assert!(stage.vault().revoked.is_empty());
    sleep(SECOND * 20).await;
    assert_eq!(stage.vault().revoked.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_revoked_at_once() {
    let vault = Vault::new(HOUR, HOUR * 24, None);
    let stage = Stage::with(vault, secret("database/creds/app", MINUTE)).await;
    stage.cache.redeclare(&Declarations::new(), Another::Neither).await;
    sleep(SECOND).await;
    assert_eq!(stage.vault().revoked.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_repairs_the_way_to_vault_is_felt_at_once() {
    let stage = Stage::with(Vault::new(HOUR, HOUR, None), secret("secret/data", MINUTE)).await;
    let away = VaultError::new(Failure::Busy(429), "secret/data");
    stage.vault().away = Some(VaultError { retry_after: Some(MINUTE * 10), ..away });
    sleep(MINUTE * 2).await;
    assert_eq!(stage.served().await.freshness, Freshness::Stale);
    stage.vault().away = None;
    let same = declarations(secret("secret/data", MINUTE));
    stage.cache.redeclare(&same, Another::Vault).await;
    sleep(SECOND).await;
    assert_eq!(stage.served().await.freshness, Freshness::Fresh);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_the_vault_of_before_is_revoked_at_the_next() {
    let stage = Stage::with(Vault::new(HOUR, HOUR, None), declared(certificate(None))).await;
    sleep(MINUTE * 41).await;
    assert_eq!(stage.vault().made(), 2);
    stage.vault().log_in_again(None);
    let same = declarations(declared(certificate(None)));
    stage.cache.redeclare(&same, Another::Vault).await;
    sleep(SECOND * 31).await;
    assert_eq!(stage.vault().made(), 3);
    assert_eq!(stage.cache.stop_refreshing().await.len(), 1, "the new one alone");
}
