//! Runs `gatewayctl` to its end, as a script would: no terminal, own config directory.

use crate::binaries::binary;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// How a run of `gatewayctl` ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Progress and diagnostics.
    pub stderr: String,
}

impl Output {
    /// Panics with everything it wrote unless it ended with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit code of {}\nstdout:\n{}\nstderr:\n{}",
            self.command, self.stdout, self.stderr
        );
        self
    }

    /// Its stdout as JSON, which must carry the API version of `gatewayctl`.
    #[track_caller]
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{}: {error} in\n{}\nstderr:\n{}", self.command, self.stdout, self.stderr)
        });
        assert_eq!(value["apiVersion"], "gatewayctl/v1", "{}: {value:#}", self.command);
        value
    }

    /// Both outputs, for assertions on words.
    pub fn text(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

/// Runs it against a control plane.
pub async fn run<'a>(endpoint: &str, home: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Output {
    let mut command = Command::new(binary("gatewayctl"));
    command
        .args(["--endpoint", endpoint])
        .args(arguments)
        .env("XDG_CONFIG_HOME", home.join("xdg"))
        .env("NO_COLOR", "1")
        .current_dir(home)
        .stdin(Stdio::null());
    for name in ["GATEWAY_ENDPOINT", "GATEWAYCTL_ENDPOINT", "GATEWAYCTL_TOKEN", "GATEWAYCTL_CA"] {
        command.env_remove(name);
    }
    let line = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("the runner does not panic")
        .unwrap_or_else(|error| panic!("cannot run gatewayctl: {error}"));
    Output {
        command: line,
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
