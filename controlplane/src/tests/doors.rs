//! The two doors of a change, the watched file and Admin: what each refuses, and how they agree.

use super::{Gateway, apply, config, settings};
use crate::{StartError, start};
use proto::v1::{self, Outcome};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

#[tokio::test]
async fn a_saved_file_is_rolled_out_and_our_own_write_is_not_rolled_out_again() {
    let mut gateway = Gateway::new().await;
    assert_eq!(gateway.apply(apply(&["applied"])).await.version, 2);
    fs::write(gateway.file(), config(&["saved"])).unwrap();
    let status = gateway.when(|status| status.current_version != 2).await;
    assert_eq!(status.current_version, 3, "the write of version 2 made no version of its own");
    assert_eq!(gateway.versions().await[0].author, "watcher");
}

#[tokio::test]
async fn an_invalid_file_is_reported_with_its_place_and_the_fleet_keeps_what_it_has() {
    let mut gateway = Gateway::new().await;
    fs::write(gateway.file(), "routes:\n  - nmae: x\n").unwrap();
    let status = gateway.when(|status| status.config_problem.contains("gateway.yaml:2:")).await;
    assert_eq!(status.current_version, 1);
    fs::write(gateway.file(), config(&["first"])).unwrap();
    let status = gateway.when(|status| status.config_problem.is_empty()).await;
    assert_eq!(status.current_version, 1, "taken back, it is what runs");
}

#[tokio::test]
async fn a_file_without_routes_does_not_empty_the_fleet() {
    let mut gateway = Gateway::new().await;
    fs::write(gateway.file(), config(&[])).unwrap();
    let status = gateway.when(|status| status.config_problem.contains("without routes")).await;
    assert_eq!(status.current_version, 1);
    assert_eq!(gateway.apply(apply(&[])).await.outcome(), Outcome::Rejected);
    let meant = gateway.apply(v1::ApplyRequest { allow_empty: true, ..apply(&[]) }).await;
    assert_eq!(meant.outcome(), Outcome::Committed, "{}", meant.message);
}

#[tokio::test]
async fn an_invalid_apply_is_told_with_every_diagnostic_and_makes_no_version() {
    let mut gateway = Gateway::new().await;
    let request = v1::ApplyRequest { source: "routes:\n  - nmae: x\n".to_owned(), ..apply(&[]) };
    let finished = gateway.apply(request).await;
    assert_eq!(finished.outcome(), Outcome::Invalid);
    assert!(finished.diagnostics.iter().any(|found| found.line == 2), "{:?}", finished.diagnostics);
    assert_eq!(gateway.versions().await.len(), 1);
}

#[tokio::test]
async fn a_moved_base_is_refused() {
    let mut gateway = Gateway::new().await;
    assert_eq!(gateway.apply(v1::ApplyRequest { base_version: 1, ..apply(&["a"]) }).await.version, 2);
    let lost = gateway.apply(v1::ApplyRequest { base_version: 1, ..apply(&["b"]) }).await;
    assert_eq!(lost.outcome(), Outcome::BaseMoved);
    assert_eq!(lost.message, "the current version is 2, not 1");
}

#[tokio::test]
async fn the_same_config_with_other_comments_is_recorded_without_a_rollout() {
    let mut gateway = Gateway::new().await;
    let source = format!("# why\n{}", config(&["first"]));
    let finished = gateway.apply(v1::ApplyRequest { source: source.clone(), ..apply(&[]) }).await;
    assert_eq!(finished.outcome(), Outcome::Unchanged, "{}", finished.message);
    assert_eq!(gateway.text(), source);
    let got = gateway.admin.get_config(v1::GetConfigRequest::default()).await.unwrap().into_inner();
    assert_eq!(got.source, source);
    assert_eq!(gateway.versions().await.len(), 1);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let mut gateway = Gateway::new().await;
    let _one = gateway.obedient("dp-1").await;
    let finished = gateway.apply(v1::ApplyRequest { dry_run: true, ..apply(&["second"]) }).await;
    assert_eq!(finished.outcome(), Outcome::DryRunOk, "{}", finished.message);
    assert_eq!(gateway.text(), config(&["first"]));
    assert_eq!(gateway.versions().await.len(), 1);
}

#[tokio::test]
async fn a_read_only_file_refuses_the_apply_before_anyone_is_asked() {
    let mut gateway = Gateway::new().await;
    let mut one = gateway.join("dp-1").await;
    one.catch_up().await;
    fs::set_permissions(gateway.file(), fs::Permissions::from_mode(0o444)).unwrap();
    let finished = gateway.apply(apply(&["second"])).await;
    assert_eq!(finished.outcome(), Outcome::Rejected);
    assert!(finished.message.contains("cannot be written (it is marked read-only)"), "{}", finished.message);
    assert_eq!(gateway.versions().await.len(), 1);
    // the next it hears of is a later apply: nothing was sent for this one
    fs::set_permissions(gateway.file(), fs::Permissions::from_mode(0o644)).unwrap();
    let _events = gateway.admin.apply(apply(&["third"])).await.unwrap();
    assert_eq!(one.snapshot().await.version, 2);
}

#[tokio::test]
async fn undo_makes_a_new_version_of_old_contents_and_writes_them_to_the_file() {
    let mut gateway = Gateway::new().await;
    gateway.apply(apply(&["second"])).await;
    let undone = gateway.undo(0).await;
    assert_eq!((undone.outcome(), undone.version), (Outcome::Committed, 3), "{}", undone.message);
    assert_eq!(gateway.text(), config(&["first"]));
    assert_eq!(gateway.versions().await[0].note, "undo to version 1");
    let again = gateway.undo(2).await;
    assert_eq!((again.outcome(), again.version), (Outcome::Committed, 4));
    assert_eq!(gateway.text(), config(&["second"]));
    assert_eq!(gateway.undo(77).await.message, "version 77 is not in the history");
}

#[tokio::test]
async fn push_sends_the_current_version_again() {
    let mut gateway = Gateway::new().await;
    let _one = gateway.obedient("dp-1").await;
    let events = gateway.admin.push(v1::PushRequest::default()).await.unwrap().into_inner();
    let finished = super::last(events).await;
    assert_eq!(finished.outcome(), Outcome::Committed);
    assert_eq!(finished.message, "version 1 is active on 1 data plane");
    assert_eq!(gateway.versions().await.len(), 1);
}

#[tokio::test]
async fn an_invalid_file_refuses_the_first_start_and_not_the_later_ones() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("gateway.yaml"), "routes: [").unwrap();
    let Err(refusal) = start(settings(&dir)).await else { panic!("started on an invalid config") };
    let rendered = refusal.downcast_ref::<StartError>().expect("a start error").to_string();
    assert!(rendered.contains("error[GW"), "{rendered}");

    fs::write(dir.path().join("gateway.yaml"), config(&["first"])).unwrap();
    let dir = Gateway::start_in(dir).await.stop().await;
    fs::write(dir.path().join("gateway.yaml"), "routes: [").unwrap();
    let mut gateway = Gateway::start_in(dir).await;
    let status = gateway.status().await;
    assert_eq!(status.current_version, 1);
    assert!(status.config_problem.contains("error[GW"), "{}", status.config_problem);
}

#[tokio::test]
async fn an_address_beyond_loopback_is_refused_by_the_library_too() {
    let dir = tempfile::tempdir().unwrap();
    let exposed = crate::Settings { listen: "0.0.0.0:0".parse().unwrap(), ..settings(&dir) };
    let Err(refusal) = start(exposed).await else { panic!("listens everywhere") };
    assert!(matches!(refusal.downcast_ref(), Some(StartError::Exposed(_))), "{refusal}");
}

#[tokio::test]
async fn a_start_whose_address_is_taken_leaves_no_version_behind() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("gateway.yaml"), config(&["first"])).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let Err(refusal) = start(crate::Settings { listen, ..settings(&dir) }).await else { panic!("took it") };
    assert!(refusal.to_string().contains("cannot listen on"), "{refusal}");
    drop(taken);
    fs::write(dir.path().join("gateway.yaml"), config(&["second"])).unwrap();
    let mut gateway = Gateway::start_in(dir).await;
    assert_eq!(gateway.versions().await.len(), 1, "the first text was never a version");
}

#[tokio::test]
async fn health_is_served() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let gateway = Gateway::new().await;
    let endpoint = tonic::transport::Endpoint::new(format!("http://{}", gateway.bound.address)).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    for service in ["", "gateway.v1.Admin", "gateway.v1.Discovery"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status, 1, "{service} is serving");
    }
}
