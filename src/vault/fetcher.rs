//! What the fetch thread does: one task for each command, and one that stays logged in.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::hand_back::HandBack;
use super::session::Session;
use super::token::Token;
use super::transport::Transport;
use super::{Command, Confirmed, Renewed, Retry, VaultError, confirm, lease, pki, read};
use crate::config::{CertificateSpec, VaultPath};
use crate::lease::Handle;
use crate::memory::SecretBuf;
use crate::secret::{EtagKey, KvVersion, Secret};

pub(super) struct Fetcher {
    pub(super) session: Session,
    pub(super) key: EtagKey,
}

impl Fetcher {
    /// Ends with [`Command::Stop`], or when nobody can send a command any more.
    pub(super) async fn serve(fetcher: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let keeper = Rc::clone(&fetcher);
        let keeper = tokio::task::spawn_local(async move { keeper.session.keep().await });
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Read { path, version, reply } => {
                    let fetcher = Rc::clone(&fetcher);
                    tokio::task::spawn_local(async move {
                        let wanted = || !reply.is_closed();
                        let read = fetcher.read(&path, version, &wanted).await;
                        let _ = reply.send(read);
                    });
                }
                Command::Issue { spec, reply } => {
                    let fetcher = Rc::clone(&fetcher);
                    tokio::task::spawn_local(async move {
                        let wanted = || !reply.is_closed();
                        let issued = fetcher.issue(&spec, &wanted).await;
                        let _ = reply.send(issued);
                    });
                }
                Command::RevocationList { mount, reply } => {
                    let fetcher = Rc::clone(&fetcher);
                    tokio::task::spawn_local(async move {
                        let wanted = || !reply.is_closed();
                        let list = fetcher.revocation_list(&mount, &wanted).await;
                        let _ = reply.send(list);
                    });
                }
                Command::Confirm { path, held, reply } => {
                    let fetcher = Rc::clone(&fetcher);
                    tokio::task::spawn_local(async move {
                        let _ = reply.send(fetcher.confirm(&path, &held).await);
                    });
                }
                Command::Reconfigure { vault, auth, login_again, reply } => {
                    let taken = fetcher.session.reconfigure(*vault, auth, login_again);
                    let _ = reply.send(taken.map(|former| {
                        let Some(former) = former else { return };
                        let fetcher = Rc::clone(&fetcher);
                        tokio::task::spawn_local(async move {
                            fetcher.session.hand_over(former).await;
                        });
                    }));
                }
                Command::Renew { lease_id, reply } => {
                    let fetcher = Rc::clone(&fetcher);
                    tokio::task::spawn_local(async move {
                        let _ = reply.send(fetcher.renew(&lease_id).await);
                    });
                }
                Command::Revoke { handle, reply } => {
                    let fetcher = Rc::clone(&fetcher);
                    tokio::task::spawn_local(async move {
                        let _ = reply.send(fetcher.revoke(&handle).await);
                    });
                }
                Command::Stop { budget, handles, at_once, reply } => {
                    HandBack::new(&fetcher, budget, at_once).run(keeper, handles).await;
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    /// Not at all when nobody wants it any more once its turn comes.
    async fn read(
        &self,
        path: &VaultPath,
        version: Option<u64>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Secret, VaultError> {
        self.with_token(async |transport, token| {
            read::read(transport, token, path, version, &self.key, wanted).await
        })
        .await
    }

    /// Not at all when nobody wants it any more once its turn comes.
    async fn issue(
        &self,
        spec: &CertificateSpec,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Secret, VaultError> {
        self.with_token(async |transport, token| {
            pki::issue(transport, token, spec, &self.key, wanted).await
        })
        .await
    }

    async fn revocation_list(
        &self,
        mount: &VaultPath,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>, VaultError> {
        self.with_token(async |transport, token| {
            pki::revocation_list(transport, token, mount, wanted).await
        })
        .await
    }

    /// Does `work`, and once more with another token when the first one is found to be dead.
    async fn with_token<T>(
        &self,
        work: impl AsyncFn(&Transport, &Token) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let token = self.session.token(self.session.timeout()).await?;
        let first = work(&self.session.transport(), &token).await;
        match &first {
            Err(error) if error.retry() == Retry::Reauthenticate => {
                match self.session.doubt(&token, self.session.timeout()).await {
                    Some(token) => work(&self.session.transport(), &token).await,
                    None => first,
                }
            }
            _ => first,
        }
    }

    /// A policy that does not let us read the metadata is no failure.
    async fn confirm(&self, path: &VaultPath, held: &KvVersion) -> Result<Confirmed, VaultError> {
        let said = self.with_token(async |transport, token| {
            confirm::confirm(transport, token, path, held).await
        });
        match said.await {
            Err(error) if error.retry() == Retry::Reauthenticate => Ok(Confirmed::Unknown),
            said => said,
        }
    }

    async fn renew(&self, lease_id: &str) -> Result<Renewed, VaultError> {
        let token = self.session.token(self.session.timeout()).await?;
        let first = lease::renew(&self.session.transport(), &token.value, lease_id).await;
        match &first {
            Err(error) if error.retry() == Retry::Reauthenticate => {
                // A lease dies with its token, so that another token is no help; but it is
                // good to know.
                self.session.doubt(&token, self.session.timeout()).await;
                first
            }
            _ => first,
        }
    }

    async fn revoke(&self, handle: &Handle) -> Result<(), VaultError> {
        let token = self.session.token(self.session.timeout()).await?;
        revoke(&self.session.transport(), &token.value, handle).await
    }
}

pub(super) async fn revoke(
    transport: &Transport,
    token: &SecretBuf,
    handle: &Handle,
) -> Result<(), VaultError> {
    match handle {
        Handle::Lease(id) => lease::revoke(transport, token, id).await,
        Handle::Certificate { mount, serial, .. } => {
            pki::revoke(transport, token, mount, serial).await
        }
    }
}
