//! The judgement, over texts of the kernel.

use super::cgroup::Limits;
use super::{Inspection, Seen, Verdict, mounts, status};

/// As the project's own compose file starts it.
fn hardened() -> Seen {
    let text = |text: &str| Some(text.to_owned());
    Seen {
        status: status::tests::HARDENED.into(),
        mountinfo: mounts::tests::HARDENED.into(),
        limits: Limits {
            memory: text("67108864"),
            cpu_quota: text("50000 100000"),
            cpu_weight: text("100"),
            processes: text("64"),
            ..Limits::default()
        },
        ulimits: "Max locked memory         8388608              8388608              bytes     \n"
            .into(),
        core_pattern: text("core"),
        swaps: text("Filename Type Size Used Priority"),
        ptrace_scope: text("1"),
        namespaces: [("net", 1), ("pid", 2), ("ipc", 3), ("uts", 4), ("cgroup", 5)].into(),
        interfaces: vec!["eth0".into(), "lo".into()],
        devices: ["null", "zero", "random", "shm", "pts"].map(Into::into).to_vec(),
        processes: vec!["sidekey".into()],
        no_new_privileges: true,
        ..Seen::default()
    }
}

#[test]
fn a_hardened_container_has_no_flaw() {
    let inspection = Inspection::of(&hardened());
    assert!(inspection.in_container);
    assert_eq!(inspection.flaws(), Vec::<String>::new());
    assert!(inspection.count(Verdict::Ok) >= 18, "{}", inspection.report());
}

/// One flaw at a time, and exactly the item that it belongs to.
#[test]
fn each_flaw_is_found_and_named() {
    type Spoil = fn(&mut Seen);
    let status = |from: &str, to: &str| status::tests::HARDENED.replace(from, to);
    let with_status = |status: String| Seen { status, ..hardened() };
    let mount = |line: &str| Seen {
        mountinfo: format!("{}{line}\n", mounts::tests::HARDENED),
        ..hardened()
    };
    let cases: [(Seen, &str); 12] = [
        (with_status(status("Uid:\t65532\t65532", "Uid:\t0\t0")), "4.1"),
        (with_status(status("CapBnd:\t0000000000000000", "CapBnd:\t0000000000002000")), "5.4"),
        (with_status(status("Seccomp:\t2", "Seccomp:\t0")), "5.21"),
        (
            Seen { mountinfo: mounts::tests::HARDENED.replace("/ / ro", "/ / rw"), ..hardened() },
            "5.13",
        ),
        (mount("1 2 254:0 /etc /host ro - ext4 /dev/vda rw"), "5.6"),
        (mount("1 2 254:0 /srv/x /x ro shared:7 - ext4 /dev/vda rw"), "5.6"),
        (mount("1 2 254:0 /srv/x /x rw - ext4 /dev/vda rw"), "A1"),
        (Seen { engine_sockets: vec!["/x/docker.sock".into()], ..hardened() }, "5.31"),
        (Seen { first_network_setting: true, ..hardened() }, "5.10"),
        (Seen { shells: vec!["/bin/sh"], ..hardened() }, "4.3"),
        (Seen { mac: true, label: Some("unconfined".into()), ..hardened() }, "5.1"),
        (Seen { mac: true, label: Some("sidekey (complain)".into()), ..hardened() }, "5.1"),
    ];
    let spoils: [(Spoil, &str); 11] = [
        (
            |seen| {
                seen.swaps = Some("Filename Type Size\n/swap file 1048572\n".into());
                seen.limits.swap = Some("max".into());
            },
            "A7",
        ),
        (|seen| seen.no_new_privileges = false, "5.25"),
        (|seen| _ = seen.namespaces.insert("pid", 0xEFFF_FFFC), "5.16"),
        (|seen| _ = seen.namespaces.insert("ipc", 0xEFFF_FFFF), "5.17"),
        (|seen| _ = seen.namespaces.insert("uts", 0xEFFF_FFFE), "5.20"),
        (|seen| seen.devices.push("vda".into()), "5.18"),
        (|seen| seen.processes.push("sshd".into()), "5.3"),
        (|seen| seen.limits.memory = Some("max".into()), "5.11"),
        (|seen| seen.limits.cpu_quota = Some("max 100000".into()), "5.12"),
        (|seen| seen.limits.processes = Some("max".into()), "5.28"),
        (|seen| seen.ulimits = seen.ulimits.replace("8388608", "65536"), "5.19"),
    ];
    let spoiled = spoils.map(|(spoil, item)| {
        let mut seen = hardened();
        spoil(&mut seen);
        (seen, item)
    });
    for (seen, item) in cases.into_iter().chain(spoiled) {
        let flaws = Inspection::of(&seen).flaws();
        assert_eq!(flaws.len(), 1, "{item}: {flaws:?}");
        assert_eq!(flaws[0].split(' ').next(), Some(item));
    }
}

#[test]
fn privileged_is_more_than_its_capabilities() {
    let status =
        status::tests::HARDENED.replace("CapBnd:\t0000000000000000", "CapBnd:\t0000003fffffffff");
    let flaws = Inspection::of(&Seen { status, ..hardened() }).flaws();
    assert_eq!(flaws, ["5.4 capabilities dropped", "5.5 not privileged"]);
}

#[test]
fn what_cannot_be_seen_is_no_flaw() {
    let inspection = Inspection::of(&Seen {
        limits: Limits::default(),
        ptrace_scope: None,
        swaps: None,
        ..hardened()
    });
    assert_eq!(inspection.flaws(), Vec::<String>::new());
    assert!(inspection.count(Verdict::Operator) > 6);
}

#[test]
fn swap_of_the_host_is_no_flaw_where_none_of_it_is_allowed() {
    let mut seen = hardened();
    seen.swaps = Some("Filename Type Size\n/swap file 1048572\n".into());
    for (memory_and_swap, kubernetes, verdict) in [
        (Some("67108864"), false, Verdict::Ok),
        (Some("134217728"), false, Verdict::Flaw),
        (Some("134217728"), true, Verdict::Operator),
        (None, false, Verdict::Operator),
    ] {
        seen.limits.memory_and_swap = memory_and_swap.map(str::to_owned);
        seen.kubernetes = kubernetes;
        let inspection = Inspection::of(&seen);
        let finding = inspection.findings.iter().find(|finding| finding.item == "A7").unwrap();
        assert_eq!(finding.verdict, verdict, "{memory_and_swap:?} {kubernetes}");
    }
}

/// No manifest can raise it, so that `require_hardening` has to let it pass.
#[test]
fn what_a_pod_cannot_say_is_the_operators() {
    let mut seen = hardened();
    seen.ulimits = seen.ulimits.replace("8388608", "65536");
    seen.limits.processes = Some("max".into());
    seen.limits.cpu_quota = Some("max 100000".into());
    for (kubernetes, verdict) in [(true, Verdict::Operator), (false, Verdict::Flaw)] {
        seen.kubernetes = kubernetes;
        let inspection = Inspection::of(&seen);
        for item in ["5.12", "5.19", "5.28"] {
            let finding = inspection.findings.iter().find(|finding| finding.item == item).unwrap();
            assert_eq!(finding.verdict, verdict, "{item}");
        }
    }
    seen.kubernetes = true;
    seen.limits.cpu_weight = Some("1".into());
    assert_eq!(Inspection::of(&seen).flaws(), ["5.12 CPU limit or share"], "nothing was requested");
}

/// Each line counts by itself; a filter that cannot be seen is no flaw.
#[test]
fn a_sandbox_that_imitates_the_kernel() {
    let inspection = Inspection::of(&Seen { status: status::tests::GVISOR.into(), ..hardened() });
    assert_eq!(inspection.flaws(), Vec::<String>::new());
    let verdict =
        |item| inspection.findings.iter().find(|finding| finding.item == item).unwrap().verdict;
    assert_eq!(["4.1", "5.21"].map(verdict), [Verdict::Operator; 2]);
    assert_eq!(["5.4", "5.5"].map(verdict), [Verdict::Ok; 2]);
    let status = status::tests::GVISOR.replace("CapBnd:\t0000000000000000", "CapBnd:\t1");
    let flaws = Inspection::of(&Seen { status, ..hardened() }).flaws();
    assert_eq!(flaws, ["5.4 capabilities dropped"]);
}

#[test]
fn the_users_of_the_host_are_named_and_no_flaw() {
    for (user, verdict) in [(0xEFFF_FFFD, Verdict::Operator), (7, Verdict::Ok)] {
        let mut seen = hardened();
        seen.namespaces.insert("user", user);
        let inspection = Inspection::of(&seen);
        let finding = inspection.findings.iter().find(|finding| finding.item == "5.30").unwrap();
        assert_eq!(finding.verdict, verdict);
    }
}

#[test]
fn the_report_has_each_item_once_and_a_remedy_for_each_flaw() {
    let mut seen = hardened();
    seen.limits.memory = Some("max".into());
    let report = Inspection::of(&seen).report();
    assert!(report.contains("\nFLAW 5.11  "), "{report}");
    assert!(report.contains("compose: mem_limit"), "{report}");
    assert!(report.find(" 5.4 ").unwrap() < report.find(" 5.13 ").unwrap(), "{report}");
    let items: Vec<_> = Inspection::of(&seen).findings.iter().map(|finding| finding.item).collect();
    let mut once = items.clone();
    once.dedup();
    assert_eq!(items, once);
}
