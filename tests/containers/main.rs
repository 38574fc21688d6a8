//! In real containers: the compose project at work, the attacks on it and on a control project,
//! containers that are started badly on purpose, and pods.
//!
//! Needs root, an engine, and the image (`just image`). Without them the cases show as ignored,
//! with what is missing; with `CI=true` they fail.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

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

use libtest_mimic::Arguments;
use support::trials::{self, trial, trial_lacking};

fn main() -> ExitCode {
    if let Some(status) = inside::run_if_asked().or_else(relay::run_if_asked) {
        return status;
    }
    let mut arguments = Arguments::from_args();
    // Each waits for the engine most of the time; more at once would make the others' waits end.
    arguments.test_threads.get_or_insert(2);
    let docker = engine::missing_docker();
    let kubernetes = trials::missing(&cluster::NEEDS);
    let pods = docker.clone().or_else(|| trials::missing(&pod::NEEDS)).or(kubernetes.clone());
    let with_docker = |name: &str, run: fn()| trial_lacking(name, docker.clone(), run);
    let compose_2 = docker.clone().or_else(|| project::COMPOSE_2.missing());
    let mut trials = vec![
        trial_lacking("pods_start_in_order_and_jobs_end", pods, pod::in_order),
        trial_lacking(
            "kubernetes_admits_the_manifests_and_vault_its_tokens",
            kubernetes,
            cluster::admission_and_login,
        ),
        with_docker("compose_project_holds_against_the_attacks", serving::compose_project),
        trial("a_signature_of_vault_is_verified", &signature::NEEDS, signature::of_a_rotated_key),
        with_docker("one_command_brings_a_killed_sidecar_back", restart::one_command),
        trial_lacking("compose_2_brings_the_project_up_and_down", compose_2, restart::by_compose_2),
        with_docker("a_new_sidecar_leaves_the_application_alone", restart::sidecar_alone),
        with_docker("compose_project_holds_over_tcp", tcp_door::attacked),
        with_docker("the_attacks_are_real", control::attacked),
        with_docker("the_image_is_what_it_should_be", serving::image),
        with_docker("serve_refuses_the_host_network", flaws::host_network),
        with_docker("serve_insists_on_hardening", flaws::insisting),
        with_docker("hardening_finds_a_shared_mount", flaws::shared_mount),
        with_docker("hardening_finds_nothing_in_a_good_container", flaws::none),
        with_docker("hardening_leaves_to_a_pods_operator_what_is_his", flaws::of_a_pod),
        with_docker("the_image_trusts_nobody_by_itself", flaws::no_authority),
    ];
    trials.extend(flaws::CASES.iter().map(|case| {
        let name = format!("hardening_finds_{}", case.name);
        trial_lacking(&name, docker.clone(), move || flaws::found(case))
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}
