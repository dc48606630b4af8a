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
    /// What it proposes to try.
    tries: Vec<String>,
}

impl Dev {
    /// With its own config, or with another.
    fn start(config: Option<&str>) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("gatewayctl"));
        command.args(["dev", "--port", "0", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        if let Some(config) = config {
            fs::write(&file, config).unwrap();
            command.arg("-f").arg(file.path());
        }
        let mut process = command.env_remove("JWT_SECRET").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut told = |what: &str| {
            let line = lines.by_ref().find(|line| line.trim_start().starts_with(what)).unwrap();
            line.trim_start()[what.len()..].trim().to_owned()
        };
        let (traffic, control_plane, config) =
            (told("traffic"), told("control plane"), told("config").into());
        // the rest must be read, or its writer would wait
        let tries = lines.by_ref().take_while(|line| !line.contains("Ctrl-C")).collect();
        Self { process, traffic, control_plane, config, tries }
    }

    fn get(&self, path: &str) -> String {
        self.get_with(path, "")
    }

    /// With more lines of its head.
    fn get_with(&self, path: &str, more: &str) -> String {
        let mut stream = TcpStream::connect(self.traffic.trim_start_matches("http://")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: gw\r\n{more}Connection: close\r\n\r\n").unwrap();
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
    let dev = Dev::start(Some(&config));
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
fn without_a_config_it_runs_the_example_and_shows_a_token_for_it() {
    let dev = Dev::start(None);
    let curl = dev.tries.iter().find(|line| line.contains("/api/v1/users/")).expect("a request to try");
    let token =
        curl.split("'Authorization: Bearer ").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    assert!(dev.get("/api/v1/users/42").starts_with("HTTP/1.1 401"));
    let let_in = dev.get_with("/api/v1/users/42", &format!("Authorization: Bearer {token}\r\n"));
    // another program may have the ports of the targets: what it answers is its own matter
    assert!(!let_in.starts_with("HTTP/1.1 401"), "{let_in}");
    assert_eq!(dev.interrupt(), Some(0));
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
