//! TLS towards clients, with OpenSSL and curl as clients.

mod certificates;
mod connections;
mod handshakes;
mod listeners;

use parking_lot::Mutex;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tests::authority::{Authority, Files};
use tests::client::get;
use tests::config;
use tests::fleet::Fleet;
use tests::peers::present;
use tests::ports::{PortLease, lease};
use tests::upstream::Upstream;
use tests::wait::{eventually, soon};

/// A config with one listener `https` beside the plain one, whose `tls` section has these lines.
fn with_tls(port: u16, secure: u16, upstream: &Upstream, tls: &[String]) -> String {
    let tls: String = tls.iter().map(|line| format!("      {line}\n")).collect();
    let listeners = format!("listeners:\n  - name: https\n    port: {secure}\n    tls:\n{tls}");
    config::forward_all(port, upstream.address()).replace("routes:", &format!("{listeners}routes:"))
}

fn certificates(files: &[&Files]) -> String {
    let items: Vec<_> = files.iter().map(|files| files.item()).collect();
    format!("certificates: [{}]", items.join(", "))
}

/// One data plane with a port of TLS, and who vouches for it.
struct Secure {
    fleet: Fleet,
    upstream: Upstream,
    authority: Authority,
    port: PortLease,
    _directory: tempfile::TempDir,
}

impl Secure {
    /// The lines of `tls` are made from certificates of the authority.
    async fn start(tls: impl FnOnce(&Authority) -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::new(directory.path());
        let upstream = Upstream::echo("target").await;
        let port = lease(1);
        let tls = tls(&authority);
        let fleet = Fleet::start(1, |plain| with_tls(plain, port.port, &upstream, &tls)).await;
        Self { fleet, upstream, authority, port, _directory: directory }
    }

    /// Of the data plane.
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.port)
    }

    /// `openssl s_client`, which says all about its handshake and then ends, or goes on until its input ends.
    fn openssl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.address(), "-CAfile"]).arg(self.authority.file());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// What it says of a handshake.
    async fn handshake(&self, arguments: &[&str]) -> String {
        said(self.openssl(arguments)).await
    }

    /// `curl` for `https://NAME/path`.
    fn curl(&self, name: &str, path: &str, arguments: &[&str]) -> Command {
        let port = self.port.port;
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "--max-time",
            "20",
            "--resolve",
            &format!("{name}:{port}:127.0.0.1"),
            "--cacert",
        ]);
        command.arg(self.authority.file()).args(arguments).arg(format!("https://{name}:{port}{path}"));
        command
    }

    /// A page of the admin HTTP.
    async fn admin(&self, path: &str) -> String {
        let response = get(self.fleet.admin_address(0), path).await.expect("an answer");
        String::from_utf8(response.body.to_vec()).expect("text")
    }

    /// The value of a metric whose line begins so.
    async fn metric(&self, line: &str) -> Option<f64> {
        let page = self.admin("/metrics").await;
        let line = page.lines().find(|one| one.starts_with(line))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    async fn metric_is(&self, line: &str, value: f64) {
        eventually(line, async || match self.metric(line).await {
            Some(found) if found == value => Ok(()),
            found => Err(format!("{found:?}, not {value}")),
        })
        .await;
    }
}

fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Both outputs of a program that ends.
async fn said(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = soon("a program ends", output).await.expect("no panic").expect("it starts");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A session of `openssl s_client` that goes on; ends when dropped.
struct Session {
    child: Child,
    read: Arc<Mutex<String>>,
}

impl Session {
    fn open(mut command: Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let (mut child, read) = (child.expect("openssl starts"), Arc::new(Mutex::new(String::new())));
        let (mut output, kept) = (child.stdout.take().expect("its output"), read.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(some @ 1..) = output.read(&mut buffer) {
                kept.lock().push_str(&String::from_utf8_lossy(&buffer[..some]));
            }
        });
        Self { child, read }
    }

    fn send(&mut self, text: &str) {
        self.child.stdin.as_mut().expect("its input").write_all(text.as_bytes()).expect("sent");
    }

    /// Waits until this has come so many times.
    async fn until(&self, end: &str, times: usize) {
        eventually(end, async || {
            let read = self.read.lock().clone();
            if read.matches(end).count() >= times { Ok(()) } else { Err(read) }
        })
        .await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn here() -> bool {
    present(&["openssl", "curl"])
}

/// The names in the certificate that a handshake has shown.
fn names_of(handshake: &str) -> String {
    let begin =
        handshake.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("none in {handshake}"));
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-ext", "subjectAltName"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("openssl starts");
    child.stdin.take().expect("its input").write_all(&handshake.as_bytes()[begin..]).expect("sent");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
