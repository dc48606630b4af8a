//! What gatewayctl does without a control plane: help, usage errors, validation, an absent endpoint.

use crate::support::gatewayctl;

const VALID: &str = "routes:\n  - name: a\n    prefix: /a\n    targets: [{addr: 'http://127.0.0.1:8081'}]\n";

#[test]
fn help_lists_every_exit_code() {
    let output = gatewayctl(&["--help"]).assert().code(0).get_output().stdout.clone();
    let help = String::from_utf8(output).unwrap();
    for line in [" 0  done", " 3  the config is invalid", " 7  the control plane", "70  a bug"] {
        assert!(help.contains(line), "{line:?} is not in\n{help}");
    }
}

#[test]
fn unknown_flag_is_a_usage_error() {
    gatewayctl(&["status", "--nope"]).assert().code(2);
    gatewayctl(&["status", "-o", "xml"]).assert().code(2);
    gatewayctl(&["apply"]).assert().code(2);
}

#[test]
fn missing_file_is_a_usage_error_that_names_it() {
    let assert = gatewayctl(&["validate", "-f", "no-such.yaml"]).assert().code(2);
    assert_stderr(&assert.get_output().stderr, "no-such.yaml");
}

#[test]
fn absent_control_plane_is_told_with_what_to_try() {
    // the port was free a moment ago and nobody else is told of it
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let assert = gatewayctl(&["status", "routes", "--endpoint", &endpoint]).assert().code(7).stdout("");
    let stderr = &assert.get_output().stderr;
    assert_stderr(stderr, &endpoint);
    assert_stderr(stderr, "help: is `controlplane` running there?");
}

#[test]
fn unknown_context_is_a_usage_error() {
    let assert = gatewayctl(&["status", "--context", "prod"]).assert().code(2);
    assert_stderr(&assert.get_output().stderr, "no context is named \"prod\"");
}

#[test]
fn context_names_the_endpoint() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("gatewayctl")).unwrap();
    let file = home.path().join("gatewayctl/config.yaml");
    std::fs::write(file, "contexts:\n  lab:\n    endpoint: ftp://lab\n").unwrap();
    let assert =
        gatewayctl(&["status", "--context", "lab"]).env("XDG_CONFIG_HOME", home.path()).assert().code(2);
    assert_stderr(&assert.get_output().stderr, "ftp://lab");
}

#[test]
fn valid_config_is_told_on_standard_output() {
    gatewayctl(&["validate", "-f", "-"])
        .write_stdin(VALID)
        .assert()
        .code(0)
        .stdout("<stdin>: valid, 1 route, 1 upstream\n");
}

#[test]
fn invalid_config_exits_3_with_its_place() {
    let assert =
        gatewayctl(&["validate", "-f", "-"]).write_stdin(VALID.replace("prefix", "prefx")).assert().code(3);
    let output = assert.get_output();
    assert!(output.stdout.is_empty(), "diagnostics are no data");
    assert_stderr(&output.stderr, "error[GW");
    assert_stderr(&output.stderr, "--> <stdin>:3:5");
    assert!(!String::from_utf8_lossy(&output.stderr).contains('\x1b'), "colour without a terminal");
}

#[test]
fn client_dry_run_needs_no_control_plane() {
    gatewayctl(&["apply", "-f", "-", "--dry-run=client"]).write_stdin(VALID).assert().code(0);
    gatewayctl(&["apply", "-f", "-", "--dry-run=client"]).write_stdin("routes: {}").assert().code(3);
}

#[test]
fn colour_can_be_forced() {
    let assert =
        gatewayctl(&["validate", "-f", "-", "--color", "always"]).write_stdin("routes: {}").assert().code(3);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains('\x1b'));
}

#[test]
fn schema_is_a_json_schema_of_the_config() {
    let output = gatewayctl(&["schema"]).assert().code(0).get_output().stdout.clone();
    let schema: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert!(schema["properties"]["routes"].is_object());
}

#[test]
fn completion_scripts_call_back() {
    for shell in ["bash", "zsh", "fish"] {
        let output = gatewayctl(&["completion", shell]).assert().code(0).get_output().stdout.clone();
        assert!(String::from_utf8(output).unwrap().contains("COMPLETE"), "{shell}");
    }
}

#[test]
fn every_program_and_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    gatewayctl(&["man"]).arg(directory.path()).assert().code(0).stdout("");
    let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let start = page("man1/gatewayctl.1");
    assert!(start.contains("Exit codes:") && start.contains("GATEWAYCTL_ENDPOINT"), "{start}");
    let help = gatewayctl(&["--help"]).assert().code(0).get_output().stdout.clone();
    let help = String::from_utf8(help).unwrap();
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<_> = names.filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(
            page(&format!("man1/gatewayctl-{name}.1")).contains(&format!(".TH gatewayctl-{name} 1")),
            "{name}"
        );
    }
    assert!(page("man1/gatewayctl-rollout-undo.1").contains("undo"));
    assert!(page("man8/controlplane.8").contains("GATEWAY_TLS_CERT"));
    assert!(page("man8/dataplane.8").contains("GATEWAY_TOKEN_FILE"));
}

#[test]
fn reader_that_goes_away_is_no_panic() {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("gatewayctl"))
        .arg("schema")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

fn assert_stderr(stderr: &[u8], wanted: &str) {
    let stderr = String::from_utf8_lossy(stderr);
    assert!(stderr.contains(wanted), "{wanted:?} is not in\n{stderr}");
}
