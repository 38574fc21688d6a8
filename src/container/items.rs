//! The items about the process itself, those that only an operator can see to, and the list of
//! all.

use super::status::{self, Status};
use super::{Finding, Remedy, Seen, Verdict, isolation, resources};

/// `SYS_MODULE`, `SYS_RAWIO` and `SYS_ADMIN`: nobody grants all three one by one.
const PRIVILEGED: u64 = 1 << 16 | 1 << 17 | 1 << 21;

/// Every item, in the order of their numbers.
pub(super) fn all(seen: &Seen) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(of_the_process(&status::parse(&seen.status), seen));
    findings.extend(isolation::all(seen));
    findings.extend(resources::all(seen));
    findings.extend(out_of_sight());
    findings.sort_by_key(|finding| order(finding.item));
    findings
}

/// An item that is either as it should be or not.
pub(super) fn judged(
    item: &'static str,
    title: &'static str,
    good: bool,
    found: impl Into<String>,
    remedy: Remedy,
) -> Finding {
    let verdict = if good { Verdict::Ok } else { Verdict::Flaw };
    Finding { item, title, verdict, found: found.into(), remedy }
}

/// An item that is out of sight.
pub(super) fn operators(item: &'static str, title: &'static str, remedy: Remedy) -> Finding {
    let found = "not to be seen from here".into();
    Finding { item, title, verdict: Verdict::Operator, found, remedy }
}

/// Up to five names, and how many more there are.
pub(super) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<_> = names.iter().take(5).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    if shown.is_empty() { "none".into() } else { format!("{}{more}", shown.join(", ")) }
}

fn of_the_process(status: &Status, seen: &Seen) -> Vec<Finding> {
    let packages = judged(
        "4.3",
        "nothing in the image that is not needed",
        seen.shells.is_empty(),
        listed(&seen.shells),
        Remedy {
            compose: "image: the one of compose/Dockerfile, which holds one file",
            manifest: "image: the one of compose/Dockerfile, which holds one file",
        },
    );
    let no_new_privileges = judged(
        "5.25",
        "no new privileges",
        seen.no_new_privileges,
        if seen.no_new_privileges { "set" } else { "set by sidekey for itself alone" },
        Remedy {
            compose: "security_opt: [no-new-privileges:true]",
            manifest: "securityContext: { allowPrivilegeEscalation: false }",
        },
    );
    let [dropped, privileged] = capabilities(status);
    let user = user(status);
    vec![user, packages, label(seen), dropped, privileged, seccomp(status), no_new_privileges]
}

fn user(status: &Status) -> Finding {
    let (item, title) = ("4.1", "a user of its own");
    let remedy = Remedy {
        compose: "user: \"65532:65532\"",
        manifest: "securityContext: { runAsUser: 65532, runAsGroup: 65532, runAsNonRoot: true }",
    };
    let Some(uid) = status.uid else { return operators(item, title, remedy) };
    let gid = status.gid.map_or_else(String::new, |gid| format!(", gid {gid}"));
    judged(item, title, uid != 0, format!("uid {uid}{gid}"), remedy)
}

fn capabilities(status: &Status) -> [Finding; 2] {
    let (dropped, privileged) = ("capabilities dropped", "not privileged");
    let drop = Remedy {
        compose: "cap_drop: [ALL]",
        manifest: "securityContext: { capabilities: { drop: [ALL] } }",
    };
    let unprivileged = Remedy {
        compose: "privileged: false (leave the line out)",
        manifest: "securityContext: { privileged: false }",
    };
    let Some(set) = status.capabilities else {
        return [operators("5.4", dropped, drop), operators("5.5", privileged, unprivileged)];
    };
    // Which is all that the engine knows, and the kernel may know more.
    let full = set & PRIVILEGED == PRIVILEGED;
    let found = if full { "modules, raw devices and administration are allowed" } else { "no" };
    [
        judged("5.4", dropped, set == 0, listed(&status::names(set)), drop),
        judged("5.5", privileged, !full, found, unprivileged),
    ]
}

fn seccomp(status: &Status) -> Finding {
    let (item, title) = ("5.21", "system calls filtered (seccomp)");
    let remedy = Remedy {
        compose: "leave out security_opt: [seccomp=unconfined]",
        manifest: "securityContext: { seccompProfile: { type: RuntimeDefault } }",
    };
    match status.seccomp {
        None => operators(item, title, remedy),
        Some(0) if !status.genuine => {
            let found = "no filter to be seen: the sandbox that imitates this kernel has its own";
            Finding { found: found.into(), ..operators(item, title, remedy) }
        }
        Some(0) => judged(item, title, false, "no filter", remedy),
        Some(_) => judged(item, title, true, "a filter", remedy),
    }
}

fn label(seen: &Seen) -> Finding {
    let remedy = Remedy {
        compose: "security_opt: [apparmor=docker-default], or on SELinux leave out label=disable",
        manifest: "securityContext: { appArmorProfile: { type: RuntimeDefault } }",
    };
    let (item, title) = ("5.1", "AppArmor (5.2: or SELinux)");
    if !seen.mac {
        let found = "the host's kernel shows neither".into();
        return Finding { found, ..operators(item, title, remedy) };
    }
    let label = seen.label.as_deref().unwrap_or_default();
    let confined = !label.is_empty()
        // In complain mode AppArmor lets happen what it writes down.
        && !["unconfined", "spc_t", "(complain)"].iter().any(|word| label.contains(word))
        && label != "kernel";
    judged(item, title, confined, if label.is_empty() { "no label" } else { label }, remedy)
}

/// What happens outside.
fn out_of_sight() -> Vec<Finding> {
    let item =
        |item, title, compose, manifest| operators(item, title, Remedy { compose, manifest });
    vec![
        item(
            "4.4",
            "image rebuilt for patches",
            "rebuild it for each release; `just sbom` lists what is in it",
            "the same, and verify the signature at admission",
        ),
        item(
            "5.9",
            "only needed ports published",
            "ports: the application's alone, on 127.0.0.1 where that is enough",
            "no hostPort; a NetworkPolicy for what comes in",
        ),
        item(
            "5.15",
            "restarts bounded",
            "restart: on-failure:5",
            "restartPolicy: Always on the sidecar; the kubelet backs off by itself",
        ),
        item(
            "5.26",
            "health checked",
            "healthcheck: { test: [CMD, /sidekey, health, --ready] }",
            "startupProbe: { exec: { command: [/sidekey, health, --ready] } }",
        ),
    ]
}

/// `5.13` after `5.4`, and attacks after all numbers.
fn order(item: &str) -> (u32, u32) {
    let mut parts = item.split('.').map(|part| part.parse().unwrap_or(u32::MAX));
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}
