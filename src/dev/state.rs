//! Everything the server knows: namespaces with their mounts and policies, tokens, leases.

use std::collections::BTreeMap;
use std::time::Duration;

use super::clock::{Clock, Moment};
use super::grant::Grant;
use super::kv1::Cubbyhole;
use super::lease::Leases;
use super::mount::{Engine, Mount};
use super::policy::{self, Acl, Policy};
use super::random;
use super::reply::Failure;
use super::token::{Token, Tokens};

/// One namespace's mounts and policies; the root's name is empty.
pub(super) struct Namespace {
    pub(super) id: String,
    pub(super) mounts: BTreeMap<String, Mount>,
    pub(super) policies: BTreeMap<String, Policy>,
}

/// The server plays a standby node.
#[derive(Clone)]
pub(super) struct Standby {
    /// Where the active node would be.
    pub(super) active: Option<String>,
}

/// The whole server behind one lock.
pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) root_token: String,
    pub(super) cluster: String,
    pub(super) sealed: bool,
    pub(super) standby: Option<Standby>,
    pub(super) namespaces: BTreeMap<String, Namespace>,
    pub(super) tokens: Tokens,
    pub(super) leases: Leases,
}

impl Namespace {
    pub(super) fn new() -> Result<Self, Failure> {
        let fixed = [
            ("sys/", "system", "system endpoints used for control, policy and debugging"),
            ("identity/", "identity", "identity store"),
            ("cubbyhole/", "cubbyhole", "per-token private secret storage"),
            ("auth/token/", "token", "token based credentials"),
        ];
        let mut mounts = BTreeMap::new();
        for (path, kind, description) in fixed {
            let engine = match kind {
                "system" => Engine::System,
                "identity" => Engine::Identity,
                "cubbyhole" => Engine::Cubbyhole(Cubbyhole::default()),
                _ => Engine::Token,
            };
            mounts.insert(path.to_owned(), Mount::new(kind, description, engine)?);
        }
        let policies = BTreeMap::from([
            ("default".to_owned(), Policy::parse(policy::DEFAULT)?),
            ("response-wrapping".to_owned(), Policy::parse(policy::RESPONSE_WRAPPING)?),
        ]);
        Ok(Self { id: random::base62(5)?, mounts, policies })
    }

    /// The mount that `path` lies below, and the rest of it. The longest mount wins.
    pub(super) fn route<'p>(&mut self, path: &'p str) -> Option<(&mut Mount, &'p str)> {
        let name = self.mount_of(path)?.to_owned();
        let rest = path.strip_prefix(name.as_str()).unwrap_or_default();
        self.mounts.get_mut(&name).map(|mount| (mount, rest))
    }

    pub(super) fn mount_of(&self, path: &str) -> Option<&str> {
        let below = |mount: &&String| path.starts_with(mount.as_str());
        self.mounts.keys().filter(below).max_by_key(|mount| mount.len()).map(String::as_str)
    }
}

impl State {
    /// A fresh server as `vault server -dev` starts: `secret/` is a KV version 2.
    pub(super) fn new(root_token: String, clock: Clock) -> Result<Self, Failure> {
        let mut root = Namespace::new()?;
        root.mounts.insert("secret/".to_owned(), Mount::kv2()?);
        let mut state = Self {
            clock,
            root_token: root_token.clone(),
            cluster: random::uuid()?,
            sealed: false,
            standby: None,
            namespaces: BTreeMap::from([(String::new(), root)]),
            tokens: Tokens::default(),
            leases: Leases::default(),
        };
        let grant = Grant {
            id: Some(root_token),
            policies: vec!["root".to_owned()],
            path: "auth/token/root".to_owned(),
            display_name: "root".to_owned(),
            ..Grant::default()
        };
        state.issue(grant)?;
        Ok(state)
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn issue(&mut self, grant: Grant) -> Result<&Token, Failure> {
        let token = Token::issue(grant, self.now())?;
        let id = token.id.clone();
        self.tokens.insert(token);
        self.tokens.get(&id).ok_or_else(|| Failure::internal("token"))
    }

    /// Everything that is over by the server's clock goes.
    pub(super) fn sweep(&mut self) {
        let now = self.now();
        for id in self.tokens.expired(now) {
            self.revoke(&id);
        }
        self.leases.sweep(now);
        let leases = &self.leases;
        for mount in self.namespaces.values_mut().flat_map(|it| it.mounts.values_mut()) {
            if let Engine::Pki(pki) = &mut mount.engine {
                pki.follow_leases(now, |suffix| leases.lives(suffix));
            }
        }
    }

    /// The token, its children, and all they hold.
    pub(super) fn revoke(&mut self, id: &str) {
        let removed = self.tokens.remove_tree(id);
        self.forget(&removed);
    }

    /// The token and all it holds; its children live on.
    pub(super) fn revoke_orphaning(&mut self, id: &str) {
        let removed = self.tokens.remove_orphaning(id);
        self.forget(&removed);
    }

    fn forget(&mut self, tokens: &[String]) {
        self.leases.retain(|_, lease| !tokens.contains(&lease.token));
        for mount in self.namespaces.values_mut().flat_map(|it| it.mounts.values_mut()) {
            if let Engine::Cubbyhole(cubbyhole) = &mut mount.engine {
                cubbyhole.forget(tokens);
            }
        }
    }

    pub(super) fn revoke_all_but_root(&mut self) {
        let root = self.root_token.clone();
        for id in self.tokens.ids(|token| token.id != root) {
            self.revoke(&id);
        }
    }

    /// Every token and lease that came from below `prefix` of `namespace`.
    pub(super) fn revoke_below(&mut self, namespace: &str, prefix: &str) {
        self.leases.retain(|id, lease| !id.starts_with(prefix) || lease.namespace != namespace);
        let issued = |token: &Token| {
            // A token's lease is its path and a hash.
            let lease = format!("{}/", token.grant.path);
            lease.starts_with(prefix) && token.grant.namespace == namespace
        };
        for id in self.tokens.ids(issued) {
            self.revoke(&id);
        }
    }

    /// The namespace, those inside it, and all that was issued there.
    pub(super) fn drop_namespace(&mut self, name: &str) {
        let inside = |other: &str| {
            other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.namespaces.retain(|other, _| !inside(other));
        self.leases.retain(|_, lease| !inside(&lease.namespace));
        for id in self.tokens.ids(|token| inside(&token.grant.namespace)) {
            self.revoke(&id);
        }
    }

    /// Splits a path that starts with namespaces' names into the namespace and the rest.
    pub(super) fn resolve(&self, header: &str, path: &str) -> Option<(String, String)> {
        let mut namespace = header.trim_matches('/').to_owned();
        if namespace == "root" {
            namespace.clear();
        }
        if !self.namespaces.contains_key(&namespace) {
            return None;
        }
        let mut path = path;
        while let Some((head, rest)) = path.split_once('/') {
            let deeper =
                if namespace.is_empty() { head.to_owned() } else { format!("{namespace}/{head}") };
            if !self.namespaces.contains_key(&deeper) {
                break;
            }
            namespace = deeper;
            path = rest;
        }
        Some((namespace, path.to_owned()))
    }

    /// The rules that bind `token`, and `path` of `namespace` as those rules name it.
    pub(super) fn acl<'s>(
        &'s self,
        token: &Token,
        namespace: &str,
        path: &str,
    ) -> Option<(Acl<'s>, String)> {
        let home = &token.grant.namespace;
        let inside = match (namespace == home, home.as_str()) {
            (true, _) => path.to_owned(),
            (false, "") => format!("{namespace}/{path}"),
            (false, home) => format!("{}/{path}", namespace.strip_prefix(home)?.strip_prefix('/')?),
        };
        let policies = &self.namespaces.get(home)?.policies;
        let root = token.grant.policies.iter().any(|name| name == "root");
        let held = token.grant.policies.iter().filter_map(|name| policies.get(name));
        Some((Acl::new(root, held), inside))
    }

    pub(super) fn set_clock_offset(&mut self, offset: Duration) {
        self.clock.set_offset(offset);
    }
}
