//! A Vault that a test plays on its own clock: the fetch thread has a runtime of its own, whose
//! time cannot be paused.

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::{Command, Confirmed, Login, Renewed, Upstream, VaultError};
use crate::config::CertificateSpec;
use crate::lease::Handle;
use crate::secret::Secret;

/// What it answers.
pub(crate) trait Play: Send + 'static {
    fn read(&mut self, path: &str, version: Option<u64>) -> Result<Secret, VaultError>;
    fn issue(&mut self, spec: &CertificateSpec) -> Result<Secret, VaultError>;
    fn renew(&mut self, lease_id: &str) -> Result<Renewed, VaultError>;
    fn revoke(&mut self, handle: Handle);
}

/// The door to `play`, and the state of the login.
pub(crate) fn upstream(play: Arc<Mutex<impl Play>>) -> (Upstream, watch::Sender<Login>) {
    let (commands, mut inbox) = mpsc::unbounded_channel();
    let (state, login) = watch::channel(Login::In);
    TaskTracker::new().spawn(async move {
        while let Some(command) = inbox.recv().await {
            answer(command, &mut *play.lock().unwrap());
        }
    });
    (Upstream { commands, login }, state)
}

fn answer(command: Command, play: &mut impl Play) {
    match command {
        Command::Read { path, version, reply } => {
            let _ = reply.send(play.read(path.as_str(), version));
        }
        Command::Issue { spec, reply } => {
            let _ = reply.send(play.issue(&spec));
        }
        Command::Confirm { reply, .. } => {
            let _ = reply.send(Ok(Confirmed::Unknown));
        }
        Command::Renew { lease_id, reply } => {
            let _ = reply.send(play.renew(&lease_id));
        }
        Command::Revoke { handle, reply } => {
            play.revoke(handle);
            let _ = reply.send(Ok(()));
        }
        Command::RevocationList { .. } | Command::Reconfigure { .. } | Command::Stop { .. } => {}
    }
}
