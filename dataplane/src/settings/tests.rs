//! Flags, their twins' names and what is refused.

use super::*;
use clap::{CommandFactory as _, Parser};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

fn parse(args: &[&str]) -> Result<Settings, String> {
    Cli::try_parse_from(std::iter::once("dataplane").chain(args.iter().copied()))
        .map(|cli| cli.settings)
        .map_err(|e| e.to_string())
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = parse(&[]).unwrap();
    assert_eq!(settings.control_plane, "http://127.0.0.1:9090");
    assert_eq!(settings.bind, "0.0.0.0".parse::<IpAddr>().unwrap());
    assert_eq!(settings.admin, "127.0.0.1:9901".parse().unwrap());
    assert_eq!(settings.workers, available_cores());
    assert_eq!(settings.instance, InstanceName::of_host());
}

#[test]
fn every_flag_has_its_twin_in_the_environment() {
    let command = Cli::command();
    for argument in command.get_arguments().filter(|a| a.get_id() != "help") {
        let flag = argument.get_long().unwrap();
        let twin = format!("GATEWAY_{}", flag.replace('-', "_").to_uppercase());
        assert_eq!(argument.get_env().and_then(|e| e.to_str()), Some(twin.as_str()), "--{flag}");
    }
}

#[test]
fn a_control_plane_is_an_http_origin() {
    for bad in ["ftp://cp:9090", "cp:9090", "http://", "http://cp:9090/path", "127.0.0.1:9090", ""] {
        assert!(parse(&["--control-plane", bad]).is_err(), "{bad} is accepted");
    }
    assert_eq!(parse(&["--control-plane", "http://cp:1/"]).unwrap().control_plane.host(), Some("cp"));
}

#[test]
fn instance_names_are_checked() {
    for bad in ["", ".", "..", "a b", "a/b", "é", &"x".repeat(65)] {
        assert!(bad.parse::<InstanceName>().is_err(), "{bad} is accepted");
    }
    for good in ["a", "edge-1.fra_2", &"x".repeat(64)] {
        assert_eq!(good.parse::<InstanceName>().unwrap().as_str(), good);
    }
}

#[test]
fn a_host_name_is_made_to_fit() {
    assert_eq!(InstanceName::sanitised("büro/pc 1").as_str(), "b-ro-pc-1");
    assert_eq!(InstanceName::sanitised(&"h".repeat(200)).as_str().len(), 64);
    assert_eq!(InstanceName::sanitised("").as_str(), "dataplane");
}

#[test]
fn workers_are_at_least_one() {
    assert!(parse(&["--workers", "0"]).is_err());
    assert_eq!(parse(&["--workers", "3"]).unwrap().workers.get(), 3);
}

#[test]
fn the_state_directory_is_per_instance_unless_set() {
    assert_eq!(
        default_state_parent(Some("/var/lib/mini-gateway:/x".into())).unwrap(),
        PathBuf::from("/var/lib/mini-gateway")
    );
    let settings = parse(&["--instance", "edge-1"]).unwrap();
    assert!(settings.resolved_state_dir().unwrap().ends_with("dataplane-edge-1"));
    let settings = parse(&["--instance", "edge-1", "--state-dir", "/srv/gw"]).unwrap();
    assert_eq!(settings.resolved_state_dir().unwrap(), PathBuf::from("/srv/gw"));
}
