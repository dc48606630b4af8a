//! A program under test: its own process group, its log kept, killed when the scenario ends however it ends.

use crate::wait::eventually;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts it; both its outputs are kept as its log.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        // a developer's own settings must not reach the programs under test
        for (key, _) in std::env::vars_os() {
            if ["GATEWAY", "OTEL_"].iter().any(|prefix| key.to_string_lossy().starts_with(prefix)) {
                command.env_remove(key);
            }
        }
        let mut child = command
            .env("NO_COLOR", "1")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        keep(child.stdout.take(), &log);
        keep(child.stderr.take(), &log);
        Self { name: name.to_owned(), child, log }
    }

    /// The first line for which `read` gives something, as soon as the program has written it.
    pub async fn logged<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> T {
        let what = format!("{} logs {what}", self.name);
        eventually(&what, async || {
            if let Some(found) = self.log.lock().iter().find_map(|line| read(line)) {
                return Ok(found);
            }
            match self.child.try_wait() {
                Ok(Some(status)) => panic!("{what}: it ended ({status}):\n{}", self.log()),
                _ => Err(format!("its log so far:\n{}", self.log())),
            }
        })
        .await
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        self.log.lock().join("\n")
    }

    /// Sends a signal to it and its children.
    pub fn signal(&self, signal: Signal) {
        // it may have ended by itself
        let _ = kill_process_group(self.pid(), signal);
    }

    /// `kill -9`, and gone when this returns.
    pub fn kill(mut self) {
        self.end();
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it still runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// A figure of `/proc/PID/status` in KiB: `VmRSS`, `VmHWM`.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(field)?.strip_prefix(':')?.trim().strip_suffix("kB")?.trim().parse().ok()
            })
            .unwrap_or_else(|| panic!("no {field} in {path}"))
    }

    /// Files and sockets it has open.
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}")).count()
    }

    fn end(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("──── log of {} ────\n{}\n────", self.name, self.log());
        }
    }
}

fn keep(output: Option<impl Read + Send + 'static>, log: &Arc<Mutex<Vec<String>>>) {
    let Some(output) = output else { return };
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            log.lock().push(line);
        }
    });
}

/// The value of a structured log field: `field(r#"INFO ready admin=127.0.0.1:9901"#, "admin")`.
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .map(|v| v.trim_matches('"'))
}
