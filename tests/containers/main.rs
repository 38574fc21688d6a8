//! In real containers: the compose project at work, the attacks on it and on a control project,
//! containers that are started badly on purpose, and pods.
//!
//! Needs root, an engine, and the image (`just image`). Without them the cases show as ignored,
//! with what is missing; with `CI=true` they fail.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a failed expectation fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod cluster;
mod control;
mod engine;
mod fetcher;
mod flaws;
mod inside;
mod pod;
mod project;
mod relay;
mod restart;
mod serving;
mod signature;
mod tcp_door;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if let Some(status) = inside::run_if_asked().or_else(relay::run_if_asked) {
        return status;
    }
    let mut arguments = Arguments::from_args();
    // Each waits for the engine most of the time; more at once would make the others' waits end.
    arguments.test_threads.get_or_insert(2);
    let docker = engine::missing_docker();
    let kubernetes = cluster::missing();
    let pods = docker.clone().or_else(pod::missing).or_else(|| kubernetes.clone());
    let compose_2 = docker.clone().or_else(|| {
        let missing = project::compose_2().is_none();
        missing.then(|| "takes COMPOSE_BIN".into())
    });
    let mut trials = vec![
        trial("pods_start_in_order_and_jobs_end", pods.as_ref(), pod::in_order),
        trial(
            "kubernetes_admits_the_manifests_and_vault_its_tokens",
            kubernetes.as_ref(),
            cluster::admission_and_login,
        ),
        trial(
            "compose_project_holds_against_the_attacks",
            docker.as_ref(),
            serving::compose_project,
        ),
        trial(
            "a_signature_of_vault_is_verified",
            signature::missing().as_ref(),
            signature::of_a_rotated_key,
        ),
        trial("one_command_brings_a_killed_sidecar_back", docker.as_ref(), restart::one_command),
        trial(
            "compose_2_brings_the_project_up_and_down",
            compose_2.as_ref(),
            restart::by_compose_2,
        ),
        trial(
            "a_new_sidecar_leaves_the_application_alone",
            docker.as_ref(),
            restart::sidecar_alone,
        ),
        trial("compose_project_holds_over_tcp", docker.as_ref(), tcp_door::attacked),
        trial("the_attacks_are_real", docker.as_ref(), control::attacked),
        trial("the_image_is_what_it_should_be", docker.as_ref(), serving::image),
        trial("serve_refuses_the_host_network", docker.as_ref(), flaws::host_network),
        trial("serve_insists_on_hardening", docker.as_ref(), flaws::insisting),
        trial("hardening_finds_a_shared_mount", docker.as_ref(), flaws::shared_mount),
        trial("hardening_finds_nothing_in_a_good_container", docker.as_ref(), flaws::none),
        trial("hardening_leaves_to_a_pods_operator_what_is_his", docker.as_ref(), flaws::of_a_pod),
        trial("the_image_trusts_nobody_by_itself", docker.as_ref(), flaws::no_authority),
    ];
    trials.extend(flaws::CASES.iter().map(|case| {
        let name = format!("hardening_finds_{}", case.name);
        trial(&name, docker.as_ref(), move || flaws::found(case))
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A case that needs what `missing` names.
fn trial(name: &str, missing: Option<&String>, run: impl FnOnce() + Send + 'static) -> Trial {
    let lacking = missing.cloned();
    let trial = Trial::test(name, move || {
        assert_eq!(lacking, None, "a component is missing");
        run();
        Ok(())
    });
    match missing {
        Some(missing) if !support::in_ci() => {
            trial.with_kind(missing.clone()).with_ignored_flag(true)
        }
        _ => trial,
    }
}
