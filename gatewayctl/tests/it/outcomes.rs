//! What a control plane answers becomes an exit code, data on standard output and the reason on standard error.

use crate::support::{Fake, Script, ended, finished, started, step, stepped, version};
use proto::v1::{Diagnostic, Finished, Outcome, Step};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const CURRENT: &str = "routes:\n  - name: a\n    prefix: /a\n  - name: b\n    prefix: /b\n";
const WITHOUT_B: &str = "routes:\n  - name: a\n    prefix: /a\n";

/// A config in a directory of its own, as `gateway.yaml`.
struct File {
    directory: TempDir,
}

impl File {
    fn with(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("gateway.yaml"), text).unwrap();
        Self { directory }
    }

    fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

/// Runs `gatewayctl apply -f gateway.yaml` and more against one scripted outcome.
fn apply(outcome: Finished, more: &[&str]) -> (Fake, assert_cmd::assert::Assert) {
    let rollouts = vec![vec![started(8), stepped(step("dp-1", Step::Prepared)), finished(outcome)]];
    let fake = Fake::start(Script { current: Some(version(7, CURRENT)), rollouts, ..Default::default() });
    let file = File::with(CURRENT);
    let arguments = [&["apply", "-f", "gateway.yaml"], more].concat();
    let assert = fake.gatewayctl(&arguments).current_dir(file.directory()).assert();
    (fake, assert)
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn committed_is_0_and_tells_every_step() {
    let instances = vec![step("dp-1", Step::Active), step("dp-2", Step::Active)];
    let (fake, assert) = apply(Finished { instances, ..ended(Outcome::Committed) }, &["--note", "more b"]);
    let assert = assert.code(0).stdout("version 8 is committed in 2.5 ms\n");
    assert_eq!(
        stderr(&assert),
        "rolling out version 8 (abababababab) to 2 instances\ndp-1: prepared in 1.5 ms\n"
    );
    let request = fake.applied().remove(0);
    assert_eq!(
        (
            request.source.as_str(),
            request.source_name.as_str(),
            request.author.as_str(),
            request.note.as_str()
        ),
        (CURRENT, "gateway.yaml", "ann", "more b")
    );
}

#[test]
fn unchanged_and_dry_run_are_0() {
    apply(ended(Outcome::Unchanged), &[]).1.code(0).stdout("version 7 already has this config\n");
    let (fake, assert) = apply(ended(Outcome::DryRunOk), &["--dry-run"]);
    assert.code(0);
    assert!(fake.applied()[0].dry_run);
}

#[test]
fn invalid_is_3_and_shows_the_place_in_the_file() {
    let start = CURRENT.find("/b").unwrap() as u32;
    let diagnostic = Diagnostic {
        code: "GW1203".to_owned(),
        message: "this prefix is wrong".to_owned(),
        help: "write another".to_owned(),
        path: "routes[1].prefix".to_owned(),
        line: 5,
        column: 13,
        start,
        end: start + 2,
        related: Vec::new(),
    };
    let outcome = Finished { diagnostics: vec![diagnostic], ..ended(Outcome::Invalid) };
    let stderr = stderr(&apply(outcome, &[]).1.code(3).stdout(""));
    for part in
        ["error[GW1203]: this prefix is wrong", "--> gateway.yaml:5:13", "prefix: /b", "write another"]
    {
        assert!(stderr.contains(part), "{part:?} is not in\n{stderr}");
    }
}

#[test]
fn rejected_is_4_and_names_instance_and_reason() {
    let diagnostic = Diagnostic {
        code: "GW2001".to_owned(),
        message: "port 8080 is taken".to_owned(),
        path: "server.port".to_owned(),
        ..Default::default()
    };
    let instances = vec![
        step("dp-1", Step::Aborted),
        proto::v1::InstanceStep { diagnostics: vec![diagnostic], ..step("dp-3", Step::Rejected) },
    ];
    let stderr = stderr(&apply(Finished { instances, ..ended(Outcome::Rejected) }, &[]).1.code(4).stdout(""));
    assert!(stderr.contains("dp-3: rejected[GW2001] at server.port: port 8080 is taken"), "{stderr}");
}

#[test]
fn unconfirmed_is_5_and_base_moved_is_6() {
    apply(ended(Outcome::CommittedUnconfirmed), &[]).1.code(5);
    apply(ended(Outcome::BaseMoved), &["--base-version", "3"]).1.code(6);
}

#[test]
fn stream_that_breaks_off_leaves_the_outcome_unknown() {
    let rollouts = vec![vec![started(8)]];
    let fake = Fake::start(Script { rollouts, ..Default::default() });
    let file = File::with(CURRENT);
    let assert =
        fake.gatewayctl(&["apply", "-f", "gateway.yaml"]).current_dir(file.directory()).assert().code(5);
    assert!(stderr(&assert).contains("gatewayctl rollout status"));
}

#[test]
fn no_wait_returns_when_the_rollout_has_begun() {
    let assert = apply(ended(Outcome::Committed), &["--no-wait"]).1;
    assert.code(0).stdout("version 8 is being rolled out\n");
}

#[test]
fn outcome_is_a_document_when_asked() {
    let assert = apply(ended(Outcome::Rejected), &["-o", "json"]).1.code(4);
    let document: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(document["apiVersion"], "gatewayctl/v1");
    assert_eq!((&document["kind"], &document["outcome"]), (&"Rollout".into(), &"rejected".into()));
}

/// Applies a file without route b over one that has it.
fn apply_removal(
    arguments: &[&str],
    rollouts: Vec<Vec<proto::v1::RolloutEvent>>,
) -> (Fake, assert_cmd::assert::Assert) {
    let fake = Fake::start(Script { current: Some(version(7, CURRENT)), rollouts, ..Default::default() });
    let assert = fake.gatewayctl(arguments).write_stdin(WITHOUT_B).assert();
    (fake, assert)
}

#[test]
fn removal_without_a_terminal_needs_yes() {
    let (fake, assert) = apply_removal(&["apply", "-f", "-"], Vec::new());
    let stderr = stderr(&assert.code(2));
    assert!(stderr.contains("- route b") && stderr.contains("--yes"), "{stderr}");
    assert_eq!(fake.applied(), []);
}

#[test]
fn removal_with_yes_goes_through() {
    let (fake, assert) =
        apply_removal(&["apply", "-f", "-", "--yes"], vec![vec![finished(ended(Outcome::Committed))]]);
    assert.code(0);
    assert_eq!(fake.applied()[0].base_version, 0, "yes is yes, whatever is current by now");
}

#[test]
fn removal_in_a_dry_run_is_not_asked_about() {
    let events = vec![vec![finished(ended(Outcome::DryRunOk))]];
    apply_removal(&["apply", "-f", "-", "--dry-run=fleet"], events).1.code(0);
}

#[test]
fn apply_that_came_between_is_compared_anew() {
    let rollouts = vec![vec![finished(ended(Outcome::BaseMoved))], vec![finished(ended(Outcome::Committed))]];
    let fake = Fake::start(Script { current: Some(version(7, CURRENT)), rollouts, ..Default::default() });
    fake.gatewayctl(&["apply", "-f", "-"]).write_stdin(CURRENT).assert().code(0);
    assert_eq!(fake.applied().iter().map(|request| request.base_version).collect::<Vec<_>>(), [7, 7]);
}

#[test]
fn diff_is_0_when_same_and_1_when_not() {
    let fake = Fake::start(Script { current: Some(version(7, CURRENT)), ..Default::default() });
    fake.gatewayctl(&["diff", "-f", "-"]).write_stdin(CURRENT).assert().code(0).stdout("").stderr("");
    let assert =
        fake.gatewayctl(&["diff", "-f", "-"]).write_stdin(WITHOUT_B).assert().code(1).stderr("- route b\n");
    let diff = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(
        diff.starts_with("--- version 7\n+++ <stdin>\n@@") && diff.contains("\n-  - name: b\n"),
        "{diff}"
    );
}

#[test]
fn diff_before_the_first_apply_adds_everything() {
    let fake = Fake::start(Script::default());
    let assert = fake.gatewayctl(&["diff", "-f", "-", "-o", "json"]).write_stdin(WITHOUT_B).assert().code(1);
    let document: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(document["items"], serde_json::json!([{"change": "added", "kind": "route", "name": "a"}]));
}

#[test]
fn get_config_prints_the_text_as_it_was_applied() {
    let fake = Fake::start(Script { current: Some(version(7, CURRENT)), ..Default::default() });
    fake.gatewayctl(&["get", "config"]).assert().code(0).stdout(CURRENT);
    let assert = fake.gatewayctl(&["get", "config", "-o", "json"]).assert().code(0);
    let document: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!((&document["version"], &document["config"]["routes"][1]["name"]), (&7.into(), &"b".into()));
    assert_eq!(document["created"], "2023-11-14T22:13:20Z");
}

#[test]
fn undo_to_an_unknown_version_is_a_no() {
    let rollouts = vec![vec![started(9), finished(ended(Outcome::Committed))]];
    let fake = Fake::start(Script { rollouts, ..Default::default() });
    fake.gatewayctl(&["rollout", "undo", "--to", "99"]).assert().code(1);
    fake.gatewayctl(&["rollout", "undo"]).assert().code(0);
}

#[test]
fn rollout_status_before_any_rollout_is_a_no() {
    let fake = Fake::start(Script { rollouts: vec![Vec::new()], ..Default::default() });
    let assert = fake.gatewayctl(&["rollout", "status"]).assert().code(1);
    assert_eq!(stderr(&assert), "error: no rollout has taken place\n");
}

#[test]
fn push_prints_every_acknowledgement() {
    let instances = vec![step("dp-1", Step::Active), step("dp-2", Step::Stale)];
    let outcome = Finished { instances, ..ended(Outcome::CommittedUnconfirmed) };
    let fake = Fake::start(Script { rollouts: vec![vec![finished(outcome)]], ..Default::default() });
    fake.gatewayctl(&["push"]).assert().code(5).stdout("dp-1: active in 1.5 ms\ndp-2: stale\n");
}

#[test]
fn degraded_fleet_is_a_no() {
    let fake = Fake::start(Script::default());
    let assert = fake.gatewayctl(&["status"]).assert().code(1);
    assert!(String::from_utf8_lossy(&assert.get_output().stdout).contains("no config has been applied"));
}

#[test]
fn diff_shows_no_secret_of_either_side() {
    let secret =
        |secret: &str| format!("{CURRENT}global_filters:\n  - auth: {{type: jwt, secret: {secret}}}\n");
    // as the control plane gives it out
    let current = Some(version(7, &secret("\"***\"")));
    let fake = Fake::start(Script { current, ..Default::default() });
    let file = File::with(&secret("hunter2"));
    let assert = fake.gatewayctl(&["diff", "-f", "gateway.yaml"]).current_dir(file.directory()).assert();
    let assert = assert.code(0).stdout("");
    assert!(stderr(&assert).contains("masked and not compared"), "{}", stderr(&assert));
}
