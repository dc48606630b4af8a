//! `gatewayctl dev` is a whole gateway: traffic, status, apply and an orderly end.

use crate::support::gatewayctl;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running `dev` on free ports, with what it said about itself.
struct Dev {
    process: Child,
    traffic: String,
    control_plane: String,
    config: PathBuf,
}

impl Dev {
    fn start(config: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, config).unwrap();
        let mut process = Command::new(assert_cmd::cargo::cargo_bin!("gatewayctl"))
            .args(["dev", "--port", "0", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "-f"])
            .arg(file.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut told = |what: &str| {
            let line = lines.by_ref().find(|line| line.trim_start().starts_with(what)).unwrap();
            line.trim_start()[what.len()..].trim().to_owned()
        };
        let (traffic, control_plane, config) =
            (told("traffic"), told("control plane"), told("config").into());
        // the rest must be read, or its writer would wait
        lines.by_ref().find(|line| line.contains("Ctrl-C")).unwrap();
        Self { process, traffic, control_plane, config }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.traffic.trim_start_matches("http://")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    fn ask(&self, arguments: &[&str]) -> assert_cmd::Command {
        gatewayctl(&[arguments, &["--endpoint", &self.control_plane]].concat())
    }

    fn interrupt(mut self) -> Option<i32> {
        let signalled = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status().unwrap();
        assert!(signalled.success());
        self.process.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // a test that failed leaves no process behind
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_gateway_with_targets_in_one_process() {
    let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!("routes:\n- {{name: a, prefix: /a, targets: [{{addr: 'http://{target}'}}]}}\n");
    let dev = Dev::start(&config);
    let response = dev.get("/a/42");
    assert!(
        response.starts_with("HTTP/1.1 200") && response.contains(&format!("a at {target}\nGET /a/42\n"))
    );

    let routes = dev.ask(&["status", "routes", "-o", "name"]).assert().code(0);
    assert_eq!(String::from_utf8_lossy(&routes.get_output().stdout), "route/a\n");

    let edited = fs::read_to_string(&dev.config).unwrap().replace("prefix: /a", "prefix: /b");
    dev.ask(&["apply", "-f", "-"]).write_stdin(edited.clone()).assert().code(0);
    assert!(dev.get("/b").starts_with("HTTP/1.1 200"));
    assert!(dev.get("/a").starts_with("HTTP/1.1 404"));
    assert_eq!(fs::read_to_string(&dev.config).unwrap(), edited, "apply writes through to the watched file");

    let directory = dev.config.parent().unwrap().to_owned();
    assert_eq!(dev.interrupt(), Some(0));
    assert!(!directory.exists(), "the temporary directory goes with the process");
}

#[test]
fn invalid_config_starts_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "routes: 7").unwrap();
    gatewayctl(&["dev", "-f"]).arg(file.path()).assert().code(3).stdout("");
}

#[test]
fn taken_port_is_told_with_the_flag_that_chooses_another() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let arguments = ["dev", "--port", &port, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let assert = gatewayctl(&arguments).assert().code(2).stdout("");
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.contains(&port) && stderr.contains("--port"), "{stderr}");
}
