//! Real servers as targets: nginx and HAProxy, each with a config of the scenario's own, on a port of its own.

use crate::ports::{self, PortLease};
use crate::process::Process;
use crate::wait::eventually;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A running server; gone when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    lease: PortLease,
    directory: TempDir,
}

impl Server {
    /// nginx with one `server` of these directives, of which `listen` gets the address in the place of `ADDRESS`. Files
    /// that it serves stand in [`Server::directory`], which its workers must be allowed to read.
    pub async fn nginx(directives: &str) -> Self {
        let (lease, directory) = claim();
        let root = directory.path().display();
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};\n"))
            .concat();
        let config = format!(
            "user root;\ndaemon off;\npid {root}/pid;\nerror_log stderr;\nworker_processes 1;\nevents {{}}\n\
             http {{\naccess_log off;\nroot {root};\n{places}\
             map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
             server {{\n{}\n}}\n}}\n",
            directives.replace("ADDRESS", &at(&lease).to_string())
        );
        let file = write(&directory, "nginx.conf", &config);
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-c", &file]);
        Self::listening("nginx", command, lease, directory).await
    }

    /// HAProxy with one frontend of these lines, of which `bind` gets the address in the place of `ADDRESS`.
    pub async fn haproxy(lines: &str) -> Self {
        let (lease, directory) = claim();
        let config = format!(
            "defaults\n  mode http\n  timeout client 30s\n  timeout connect 5s\n  timeout server 30s\n\
             frontend target\n{}\n",
            lines.replace("ADDRESS", &at(&lease).to_string())
        );
        let file = write(&directory, "haproxy.cfg", &config);
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f", &file]);
        Self::listening("haproxy", command, lease, directory).await
    }

    async fn listening(name: &str, mut command: Command, lease: PortLease, directory: TempDir) -> Self {
        let server = Self { process: Process::spawn(name, &mut command), lease, directory };
        let address = server.address();
        eventually("the server listens", async || {
            let connected = tokio::net::TcpStream::connect(address).await;
            connected.map(drop).map_err(|error| format!("{error}\n{}", server.process.log()))
        })
        .await;
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        at(&self.lease)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.lease.port
    }

    /// What it serves files from.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn claim() -> (PortLease, TempDir) {
    (ports::lease(1), tempfile::tempdir().expect("a directory"))
}

fn at(lease: &PortLease) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, lease.port))
}

fn write(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).expect("write a config");
    path.to_str().expect("a UTF-8 path").to_owned()
}
