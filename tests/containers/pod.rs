//! Pods that the API server admitted, run by podman. It is no kubelet: the part of one that
//! starts a native sidecar first, waits for its start-up probe and stops it last is played here,
//! with the commands that the manifest names.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{self, Cluster};
use crate::engine::{image, images, succeed};
use crate::relay::{PORT, Relay};
use crate::support::eventually;
use crate::support::programs::runs;
use crate::support::trials::Component;
use crate::support::vault::{Real, TestVault as _};

/// What these cases cannot do without, beside a cluster and an engine.
pub const NEEDS: [Component; 3] = [
    Component::new("podman", || runs("podman")),
    Component::new("runc", || runs("runc")),
    Component::new("catatonit", || runs("catatonit")),
];

/// A pod under podman. Removed when dropped.
struct Pod {
    name: String,
    folder: TempDir,
}

impl Pod {
    /// Creates what the API server admitted as `pod`; nothing runs yet.
    fn create(cluster: &Cluster, pod: &Value, settings: &str, command: &[&str]) -> Self {
        let name =
            format!("skp{}-{}", std::process::id(), pod["metadata"]["name"].as_str().unwrap());
        let this = Self { name, folder: tempfile::tempdir().unwrap() };
        std::fs::write(
            this.path("containers.conf"),
            "[engine]\nruntime = \"runc\"\n[containers]\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\", \"memlock=8388608:8388608\"]\n",
        )
        .unwrap();
        let identity = this.path("identity");
        std::fs::create_dir(&identity).unwrap();
        std::fs::write(identity.join("token"), cluster.token("timeline", "timeline", &["vault"]))
            .unwrap();
        open_to_all(&this);
        let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" },
            "data": { "sidekey.toml": settings } });
        std::fs::write(this.path("settings.yaml"), settings.to_string()).unwrap();
        let pod = playable(pod, &this.name, identity.to_str().unwrap(), command);
        std::fs::write(this.path("pod.yaml"), pod.to_string()).unwrap();
        let (settings, pod) = (this.path("settings.yaml"), this.path("pod.yaml"));
        let arguments = ["kube", "play", "--start=false", "--configmap"];
        this.podman(
            &[&arguments[..], &[settings.to_str().unwrap(), pod.to_str().unwrap()]].concat(),
        );
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn attempt(&self, args: &[&str]) -> Output {
        let mut command = Command::new("podman");
        command.args(args).env("CONTAINERS_CONF", self.path("containers.conf"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn podman(&self, args: &[&str]) -> String {
        let output = self.attempt(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The container of that name in the pod.
    fn container(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    fn inspect(&self, container: &str, what: &str) -> String {
        self.podman(&["inspect", "-f", what, container])
    }

    /// Standard output and error so far.
    fn log(&self, name: &str) -> String {
        let output = self.attempt(&["logs", &self.container(name)]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Starts the sidecar, waits for its start-up probe, then starts the application.
    fn start(&self, probe: &Value, vault: &Real) -> Relay {
        let infra = self.podman(&["pod", "inspect", "-f", "{{ .InfraContainerID }}", &self.name]);
        self.podman(&["start", &infra]);
        let target = vault.url().trim_start_matches("http://").parse().unwrap();
        let relay = Relay::start(&self.inspect(&infra, "{{ .State.Pid }}"), target);
        let (sidecar, app) = (self.container("sidekey"), self.container("app"));
        self.podman(&["start", &sidecar]);
        let words = probe["exec"]["command"].as_array().unwrap().iter();
        let command: Vec<_> = words.map(|word| word.as_str().unwrap()).collect();
        eventually(&format!("the start-up probe: {}", self.log("sidekey")), || {
            let answer = self.attempt(&[&["exec", &sidecar][..], &command].concat());
            answer.status.success().then_some(())
        });
        assert_eq!(self.inspect(&app, "{{ .State.Status }}"), "created", "not before");
        self.podman(&["start", &app]);
        relay
    }

    /// As the kubelet ends a sidecar: the signal, and its grace.
    fn stop_sidecar(&self) {
        let sidecar = self.container("sidekey");
        self.podman(&["stop", "--time", "30", &sidecar]);
        let log = self.log("sidekey");
        assert_eq!(self.inspect(&sidecar, "{{ .State.ExitCode }}"), "0", "{log}");
        assert!(log.contains("\"message\":\"token revoked\""), "{log}");
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.attempt(&["pod", "rm", "--force", "--time", "1", &self.name]);
        let _ = self.attempt(&["volume", "rm", "--force", "settings"]);
    }
}

/// Other users than root read the token, and nobody but root the folder above.
fn open_to_all(pod: &Pod) {
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(pod.path("identity"), open(0o755)).unwrap();
    std::fs::set_permissions(pod.path("identity/token"), open(0o644)).unwrap();
}

/// The pod in the words that this podman knows: the native sidecar is a container among
/// others, the projected token a folder, and the kubelet's variable is there.
fn playable(pod: &Value, name: &str, identity: &str, command: &[&str]) -> Value {
    let mut pod = pod.clone();
    let mut sidecar = pod["spec"]["initContainers"][0].take();
    let mut app = pod["spec"]["containers"][0].take();
    let ours = format!("localhost/{}:latest", image());
    sidecar["image"] = ours.as_str().into();
    let variables = sidecar["env"].as_array_mut().unwrap();
    variables.retain(|variable| variable["name"] != "APP");
    variables.push(json!({ "name": "APP", "value": pod["metadata"]["labels"]["app"] }));
    variables.push(json!({ "name": "KUBERNETES_SERVICE_HOST", "value": "10.0.0.1" }));
    if command.is_empty() {
        app["image"] = "localhost/sidekey-test/app:latest".into();
    } else {
        app["image"] = ours.into();
        app["args"] = json!(command);
    }
    for container in [&mut sidecar, &mut app] {
        let container = container.as_object_mut().unwrap();
        for key in ["restartPolicy", "startupProbe", "livenessProbe", "readinessProbe", "ports"] {
            container.remove(key);
        }
        container.insert("imagePullPolicy".into(), "Never".into());
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": pod["metadata"]["labels"] },
        "spec": {
            "restartPolicy": "Never",
            "securityContext": pod["spec"]["securityContext"],
            "containers": [sidecar, app],
            "volumes": [
                { "name": "settings", "configMap": { "name": "settings" } },
                { "name": "identity", "hostPath": { "path": identity, "type": "Directory" } },
            ],
        },
    })
}

/// Both manifests: in order at the start, and for the Job also at the end.
pub fn in_order() {
    images();
    let save = format!("docker save {} sidekey-test/app | podman load --quiet", image());
    succeed("sh", &["-c", &save]);
    let cluster = Cluster::start();
    cluster.apply_all("cluster");
    let (vault, password) = cluster::vault(&cluster);
    let settings = cluster::settings(&[
        ("https://vault.vault.svc:8200", &format!("http://127.0.0.1:{PORT}")),
        ("ca_cert = \"/etc/sidekey/vault-ca.pem\"", ""),
    ]);

    let get = ["get", "--addr", "unix:@sidekey", "db/password"];
    let job = cluster.admitted("job");
    let pod = Pod::create(&cluster, &job, &settings, &get);
    let relay = pod.start(&job["spec"]["initContainers"][0]["startupProbe"], &vault);
    let app = pod.container("app");
    assert_eq!(pod.podman(&["wait", &app]), "0", "{}", pod.log("app"));
    assert_eq!(pod.log("app").trim(), password);
    pod.stop_sidecar();
    let states = pod.podman(&[
        "ps",
        "-a",
        "--filter",
        &format!("pod={}", pod.name),
        "--format",
        "{{ .Names }} {{ .State }}",
    ]);
    let running: Vec<_> = states.lines().filter(|line| line.ends_with("running")).collect();
    assert!(running.iter().all(|line| line.contains("-infra")), "the Job ended: {states}");
    drop((relay, pod));

    let deployment = cluster.admitted("deployment");
    let pod = Pod::create(&cluster, &deployment, &settings, &[]);
    let relay = pod.start(&deployment["spec"]["initContainers"][0]["startupProbe"], &vault);
    let answered = ["\"caller\":\"app\"", "\"name\":\"db\"", "\"outcome\":\"ok\""];
    eventually("the application's first answer", || {
        let log = pod.log("sidekey");
        log.lines().any(|line| answered.iter().all(|part| line.contains(part))).then_some(())
    });
    let log = pod.log("sidekey");
    assert!(log.contains("\"message\":\"container hardened\""), "{log}");
    assert_eq!(pod.inspect(&pod.container("app"), "{{ .State.Status }}"), "running");
    pod.stop_sidecar();
    drop(relay);
}
