//! A control plane that wants TLS and tokens: its files, and what its clients need to come in.

use crate::authority::Authority;
use crate::ctl;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The holders of tokens, each with its role.
const HOLDERS: [(&str, &str); 3] = [("dp", "data-plane"), ("wall", "viewer"), ("alice", "operator")];

/// The files, in one directory.
#[derive(Debug)]
pub struct Guard {
    directory: PathBuf,
}

impl Guard {
    /// With a certificate for loopback, and a token for `dp` (a data plane), `wall` (a viewer) and `alice` (an operator),
    /// made by `gatewayctl token`.
    pub async fn new(directory: PathBuf) -> Self {
        let guard = Self { directory };
        guard.renew_certificate();
        let mut tokens = "tokens:\n".to_owned();
        for (name, role) in HOLDERS {
            tokens += &guard.create_token(name, role).await;
        }
        guard.write_tokens(&tokens);
        guard
    }

    /// Makes a token; its line for the file.
    pub async fn create_token(&self, name: &str, role: &str) -> String {
        let out = self.token_file(name);
        let out = out.to_str().expect("a UTF-8 path");
        let command = ["token", "create", name, "--role", role, "--out", out];
        ctl::run("http://127.0.0.1:1", &self.directory, command).await.exits(0).stdout
    }

    /// Another authority, and a certificate of it.
    pub fn renew_certificate(&self) {
        Authority::new(&self.directory).server("server", &["localhost", "127.0.0.1"]);
    }

    /// Replaces the file of tokens.
    pub fn write_tokens(&self, text: &str) {
        fs::write(self.tokens(), text).expect("write the tokens");
    }

    /// The file of tokens.
    pub fn tokens(&self) -> PathBuf {
        self.directory.join("tokens.yaml")
    }

    /// The authority that its clients trust.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The key of the certificate.
    pub fn key(&self) -> PathBuf {
        self.directory.join("server.key")
    }

    /// Where somebody's token is.
    pub fn token_file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.token"))
    }

    /// For `controlplane`.
    pub fn of_control_plane(&self) -> [OsString; 6] {
        let file = |name: &str| self.directory.join(name).into_os_string();
        let [cert, key, tokens] = ["server.pem", "server.key", "tokens.yaml"].map(file);
        ["--tls-cert".into(), cert, "--tls-key".into(), key, "--tokens".into(), tokens]
    }

    /// For `dataplane`.
    pub fn of_data_plane(&self) -> [OsString; 4] {
        let token = self.token_file("dp").into_os_string();
        ["--control-plane-ca".into(), self.ca().into_os_string(), "--token-file".into(), token]
    }

    /// For `gatewayctl`, when somebody uses it.
    pub fn of_ctl(&self, name: &str) -> [String; 4] {
        let text = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
        ["--ca".to_owned(), text(&self.ca()), "--token-file".to_owned(), text(&self.token_file(name))]
    }
}
