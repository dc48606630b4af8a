//! Who may come in: TLS, and tokens that say who asks and what they may.
//!
//! The files are read again every two seconds, and what they hold then goes for whoever comes next. While one of them is no
//! good, the last good one holds.

mod guard;
mod renewed;
mod tls;
mod tokens;

pub(crate) use guard::Guard;
pub(crate) use tls::{Identity, connections, peer};
pub(crate) use tokens::Caller;
pub use tokens::{Role, token_entry};

use anyhow::Context as _;
use renewed::Renewed;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokens::Tokens;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Three small files are read so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The control plane's flags about who may come in.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AccessSettings {
    /// Serve by TLS with this certificate and what it needs to be verified (PEM). Read again when it is renewed.
    #[arg(long, env = "GATEWAY_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM, not encrypted).
    #[arg(long, env = "GATEWAY_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Take calls only with a token of this file (YAML: `tokens: [{name, role, sha256}]`). Read again when it changes.
    #[arg(long, env = "GATEWAY_TOKENS", value_name = "FILE")]
    pub tokens: Option<PathBuf>,
}

impl AccessSettings {
    /// Whether strangers who reach the address can do nothing.
    ///
    /// # Errors
    /// They can; what is missing, in words for an operator.
    pub(crate) fn check(&self, listen: SocketAddr) -> Result<(), String> {
        if listen.ip().is_loopback() {
            return Ok(());
        }
        let tls = self.tls_cert.is_none().then_some("--tls-cert and --tls-key, or others read what is said");
        let tokens = self.tokens.is_none().then_some("--tokens, or anyone could change the config");
        let missing: Vec<&str> = tls.into_iter().chain(tokens).collect();
        match missing.as_slice() {
            [] => Ok(()),
            missing => Err(format!(
                "refusing to listen on {listen}, which other machines reach: give {}; or listen on 127.0.0.1",
                missing.join("; and ")
            )),
        }
    }
}

/// What is in force.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) identity: Option<Arc<Renewed<Identity>>>,
    pub(crate) tokens: Option<Arc<Renewed<Tokens>>>,
}

impl Access {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(crate) fn read(settings: &AccessSettings) -> anyhow::Result<Self> {
        let identity = settings.tls_cert.clone().zip(settings.tls_key.clone());
        let identity = identity.map(|(cert, key)| Renewed::new(vec![cert, key])).transpose();
        let tokens = settings.tokens.clone().map(|path| Renewed::new(vec![path])).transpose();
        Ok(Self {
            identity: identity.context("TLS cannot be used")?.map(Arc::new),
            tokens: tokens.context("the tokens cannot be used")?.map(Arc::new),
        })
    }

    /// Follows the files until the control plane stops.
    pub(crate) async fn follow(self, mut stopped: watch::Receiver<bool>) {
        if self.identity.is_none() && self.tokens.is_none() {
            return;
        }
        let following = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                self.look().await;
            }
        };
        tokio::select! {
            () = following => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    }

    /// Ends when the caller's token is taken away; never where there are no tokens.
    pub(crate) async fn taken_from(&self, caller: Option<Caller>) {
        let (Some(tokens), Some(caller)) = (&self.tokens, caller) else {
            return std::future::pending().await;
        };
        while tokens.get().know(&caller) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) {
        let Self { identity, tokens } = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            identity.iter().for_each(|identity| identity.look("certificate"));
            tokens.iter().for_each(|tokens| tokens.look("tokens"));
        });
        if let Err(error) = looked.await {
            tracing::error!(%error, "looking at the files of TLS and tokens failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_come_in_only_by_tls_and_with_a_token() {
        let settings = |tls: bool, tokens: bool| AccessSettings {
            tls_cert: tls.then(|| "cert.pem".into()),
            tls_key: tls.then(|| "key.pem".into()),
            tokens: tokens.then(|| "tokens.yaml".into()),
        };
        for here in ["127.0.0.1:0", "127.8.8.8:9090", "[::1]:9090"] {
            assert_eq!(settings(false, false).check(here.parse().unwrap()), Ok(()), "{here}");
        }
        for exposed in ["0.0.0.0:9090", "10.0.0.1:9090", "[::]:9090"] {
            let exposed = exposed.parse().unwrap();
            let refusal = |tls, tokens| settings(tls, tokens).check(exposed).unwrap_err();
            assert!(
                refusal(false, false).contains("--tls-cert and --tls-key, or others read what is said; and")
            );
            assert!(refusal(true, false).contains("give --tokens, or anyone"));
            assert!(refusal(false, true).contains("give --tls-cert"));
            assert_eq!(settings(true, true).check(exposed), Ok(()));
        }
    }
}
