//! A real Kubernetes API server, which takes or refuses our manifests, issues the pod's token,
//! and is asked by Vault whether it is genuine. There is no kubelet: nothing runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::engine::succeed;
use crate::support::canary::canary;
use crate::support::programs::built;
use crate::support::sidecar::Builder;
use crate::support::trials::{Component, VAULT};
use crate::support::vault::{Real, TestVault as _};
use crate::support::{client, eventually};

/// What these cases cannot do without.
pub const NEEDS: [Component; 2] =
    [Component::new("Kubernetes (tests/kubernetes/build.sh)", || program().is_some()), VAULT];

fn program() -> Option<PathBuf> {
    let named = std::env::var_os("KUBERNETES_BIN").map(PathBuf::from);
    named.or_else(|| built("kubernetes"))
}

/// What `kustomize build` makes of a folder under `k8s/`: its documents.
pub fn kustomize(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s").join(folder);
    let program = program().unwrap();
    let built =
        succeed(program.to_str().unwrap(), &["kustomize", "build", folder.to_str().unwrap()]);
    built.split("\n---\n").map(str::to_owned).collect()
}

/// etcd and kube-apiserver. Killed when dropped.
pub struct Cluster {
    folder: TempDir,
    port: u16,
    token: String,
    processes: Vec<Child>,
}

impl Cluster {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [etcd, peer, port] = free_ports();
        let token = canary("administrator");
        let file = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(file("tokens.csv"), format!("{token},admin,admin,system:masters\n"))
            .unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(file("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(file("public.pem"), key.public_key_pem()).unwrap();
        let (etcd, peer) = (format!("http://127.0.0.1:{etcd}"), format!("http://127.0.0.1:{peer}"));
        let processes = vec![
            Self::run(
                &folder,
                "etcd",
                &[
                    ("data-dir", &file("etcd")),
                    ("listen-client-urls", &etcd),
                    ("advertise-client-urls", &etcd),
                    ("listen-peer-urls", &peer),
                    ("initial-advertise-peer-urls", &peer),
                    ("initial-cluster", &format!("default={peer}")),
                    ("unsafe-no-fsync", "true"),
                ],
            ),
            Self::run(
                &folder,
                "kube-apiserver",
                &[
                    ("etcd-servers", &etcd),
                    ("bind-address", "127.0.0.1"),
                    ("secure-port", &port.to_string()),
                    ("cert-dir", &file("certificates")),
                    ("token-auth-file", &file("tokens.csv")),
                    ("authorization-mode", "RBAC"),
                    ("anonymous-auth", "false"),
                    ("service-account-issuer", "https://kubernetes.default.svc"),
                    ("service-account-signing-key-file", &file("key.pem")),
                    ("service-account-key-file", &file("public.pem")),
                    ("service-cluster-ip-range", "10.0.0.0/24"),
                ],
            ),
        ];
        let cluster = Self { folder, port, token, processes };
        eventually("the API server", || {
            (cluster.request("GET", "/readyz", "application/json", String::new())?.0 == 200)
                .then_some(())
        });
        cluster
    }

    fn run(folder: &TempDir, what: &str, flags: &[(&str, &str)]) -> Child {
        let log = std::fs::File::create(folder.path().join(format!("{what}.log"))).unwrap();
        let mut command = Command::new(program().unwrap());
        command.arg(what).args(flags.iter().map(|(name, value)| format!("--{name}={value}")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn certificate(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("certificates/apiserver.crt")).unwrap()
    }

    /// Status and JSON; `None` while nobody answers.
    fn request(&self, method: &str, path: &str, kind: &str, body: String) -> Option<(u16, Value)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client =
                reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let request = client.build().unwrap().request(method, format!("{}{path}", self.url()));
            let request = request.bearer_auth(&self.token).header("Content-Type", kind).body(body);
            let answer = request.send().await.ok()?;
            let status = answer.status().as_u16();
            Some((
                status,
                serde_json::from_slice(&answer.bytes().await.ok()?).unwrap_or(Value::Null),
            ))
        })
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.request("POST", path, "application/json", body.to_string()).unwrap()
    }

    /// Server-side apply, as `kubectl apply --server-side` does it. Returns what is stored.
    fn apply(&self, document: &str, namespace: &str) -> Value {
        let value = |key: &str| {
            let line = document.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("no {key} in\n{document}")).trim()
        };
        let (kind, name) = (value("kind: "), value("  name: "));
        let namespace =
            document.lines().find_map(|l| l.strip_prefix("  namespace: ")).unwrap_or(namespace);
        let place = match kind {
            "Namespace" => "/api/v1/namespaces".to_owned(),
            "ClusterRoleBinding" => {
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned()
            }
            "ServiceAccount" => format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
            "ConfigMap" => format!("/api/v1/namespaces/{namespace}/configmaps"),
            "NetworkPolicy" => {
                format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies")
            }
            "Deployment" => format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
            "Job" => format!("/apis/batch/v1/namespaces/{namespace}/jobs"),
            other => panic!("{other}: no such kind is expected"),
        };
        let path = format!("{place}/{name}?fieldManager=test&fieldValidation=Strict");
        let kind = "application/apply-patch+yaml";
        let (status, answer) = self.request("PATCH", &path, kind, document.to_owned()).unwrap();
        assert!(status == 200 || status == 201, "{path}: {answer}");
        answer
    }

    pub fn apply_all(&self, folder: &str) -> Vec<Value> {
        kustomize(folder).iter().map(|document| self.apply(document, "timeline")).collect()
    }

    /// As the workload's controller would do it.
    fn create_pod(&self, name: &str, template: &Value) -> (u16, Value) {
        let mut pod = template.clone();
        pod["metadata"]["name"] = name.into();
        self.post("/api/v1/namespaces/timeline/pods", &pod)
    }

    /// The pod of the workload under `k8s/folder`, as the API server admits it.
    pub fn admitted(&self, folder: &str) -> Value {
        let stored = self.apply_all(folder);
        let name = folder.replace('/', "-");
        let (status, pod) = self.create_pod(&name, template(&stored));
        assert_eq!(status, 201, "{folder}: {pod}");
        pod
    }

    /// A token of a service account, as the kubelet asks for it.
    pub fn token(&self, namespace: &str, account: &str, audience: &[&str]) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let (status, answer) = self
            .post(&path, &json!({ "spec": { "audiences": audience, "expirationSeconds": 600 } }));
        assert_eq!(status, 201, "{answer}");
        answer["status"]["token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Free now; the servers take no descriptor.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// The pod template of the one workload among `stored`.
fn template(stored: &[Value]) -> &Value {
    let workload = stored.iter().find(|object| object["spec"]["template"].is_object());
    &workload.unwrap()["spec"]["template"]
}

/// Pod security `restricted` lets our pods in, and would not let others in. Vault believes the
/// token that this API server issues, and the sidecar logs in with it.
pub fn admission_and_login() {
    overlays_follow_the_base();
    let cluster = Cluster::start();
    cluster.apply_all("cluster");
    let folders = [
        ("deployment", "Deployment"),
        ("job", "Job"),
        ("overlays/example", "Deployment"),
        ("overlays/example-job", "Job"),
    ];
    for (folder, kind) in folders {
        let stored = cluster.apply_all(folder);
        assert!(stored.iter().any(|object| object["kind"] == kind), "{folder}");
        // What the account, the policy and the settings are called is the Job's alone.
        let suffixed = stored
            .iter()
            .all(|object| object["metadata"]["name"].as_str().unwrap().contains("-job"));
        assert_eq!(suffixed, folder.ends_with("-job"), "{folder}");
        let template = template(&stored);
        // A native sidecar: one among the main containers would keep a Job from its end.
        let names = |list: &str| -> Vec<_> {
            let list = template["spec"][list].as_array().unwrap().iter();
            list.map(|container| (container["name"].clone(), container["restartPolicy"].clone()))
                .collect()
        };
        assert_eq!(names("initContainers"), [("sidekey".into(), "Always".into())], "{folder}");
        assert_eq!(names("containers"), [("app".into(), Value::Null)], "{folder}");
        let name = folder.replace('/', "-");
        let (status, answer) = cluster.create_pod(&name, template);
        assert_eq!(status, 201, "{folder}: {answer}");

        let mut spoiled = template.clone();
        spoiled["spec"]["initContainers"][0]["securityContext"]["runAsUser"] = 0.into();
        let (status, answer) = cluster.create_pod("spoiled", &spoiled);
        let why = answer["message"].as_str().unwrap();
        assert!(status == 403 && why.contains("violates PodSecurity"), "{why}");
    }
    login(&cluster);
}

/// The overlays' settings are the base's, but for the address of a Vault outside.
fn overlays_follow_the_base() {
    let base = include_str!("../../k8s/base/sidekey.toml");
    let outside = base.replace("vault.vault.svc", "vault.example.com");
    assert_eq!(include_str!("../../k8s/overlays/example/sidekey.toml"), outside);
    assert_eq!(include_str!("../../k8s/overlays/example-job/sidekey.toml"), outside);
}

/// What `k8s/README.md` tells an operator to write: the policy, and the role's parameters.
fn walkthrough() -> (&'static str, Value) {
    let text = include_str!("../../k8s/README.md");
    let between = |from: &str, to: &str| {
        let rest = text.split_once(from).unwrap_or_else(|| panic!("no {from}")).1;
        rest.split_once(to).unwrap().0
    };
    let policy = between("vault policy write timeline - <<'POLICY'\n", "\nPOLICY\n");
    let role = between("vault write auth/kubernetes/role/timeline ", "```");
    let words = role.split_whitespace().filter_map(|word| word.split_once('='));
    (policy, words.map(|(name, value)| (name.to_owned(), Value::from(value))).collect())
}

/// A real Vault that lets the pod's account in by the README's words, and the secret that it holds
/// for it: in the place of a database, an engine that answers at the same path.
pub fn vault(cluster: &Cluster) -> (Real, String) {
    let vault = Real::start().unwrap();
    let password = canary("password");
    vault.set_up("POST", "sys/mounts/database", json!({ "type": "kv" }));
    vault.set_up("POST", "database/creds/timeline", json!({ "password": password }));
    let (policy, role) = walkthrough();
    vault.set_up("PUT", "sys/policies/acl/timeline", json!({ "policy": policy }));
    vault.set_up("POST", "sys/auth/kubernetes", json!({ "type": "kubernetes" }));
    let reviewer = cluster.token("kube-system", "vault-reviewer", &[]);
    let config = json!({
        "kubernetes_host": cluster.url(),
        "kubernetes_ca_cert": cluster.certificate(),
        "token_reviewer_jwt": reviewer,
    });
    vault.set_up("POST", "auth/kubernetes/config", config);
    vault.set_up("POST", "auth/kubernetes/role/timeline", role);
    (vault, password)
}

/// The manifest's own settings, with what is different on this machine.
pub fn settings(different: &[(&str, &str)]) -> String {
    let settings = include_str!("../../k8s/base/sidekey.toml").to_owned();
    different.iter().fold(settings, |settings, (from, to)| {
        assert!(settings.contains(from), "{from}");
        settings.replace(from, to)
    })
}

fn login(cluster: &Cluster) {
    let (vault, password) = vault(cluster);
    let serve = |audience: &str| {
        let builder = Builder::serve();
        let token = builder.file("token", &cluster.token("timeline", "timeline", &[audience]));
        let mut settings = settings(&[
            ("/run/identity/token", &token),
            ("https://vault.vault.svc:8200", &vault.url()),
            ("ca_cert = \"/etc/sidekey/vault-ca.pem\"", ""),
            ("unix = \"@sidekey\"", "tcp = \"127.0.0.1:0\""),
            ("require_hardening = true", "require_hardening = false"),
            ("uid = 10001", "uid = 0"),
        ]);
        settings.push_str("[health]\nlisten = \"127.0.0.1:0\"\n");
        builder.config(&settings).env("APP", "timeline")
    };
    let sidecar = serve("vault").start();
    let answer = client::request(sidecar.addr(), "GET", "/secrets/db/password", &[]);
    assert_eq!((answer.status, answer.text()), (200, password));
    sidecar.stop();

    // The same account, with a token that was made for somebody else.
    let mut refused = serve("https://another.example").spawn();
    assert_eq!(refused.wait().code(), Some(77), "{}", refused.stderr());
}
