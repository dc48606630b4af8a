//! Processes die at the worst moment; traffic goes on and every survivor ends on one committed version.

use std::net::SocketAddr;
use std::time::Duration;
use tests::client::get;
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Upstream;
use tests::wait::{eventually, within};

/// A config that only serves `/vN`.
fn numbered(port: u16, target: SocketAddr, n: usize) -> String {
    config::forward_all(port, target).replace("prefix: /", &format!("prefix: /v{n}"))
}

async fn status_of(address: SocketAddr, path: &str) -> Result<u16, String> {
    get(address, path).await.map(|reply| reply.status.as_u16()).map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_goes_on_without_a_control_plane() {
    let upstream = Upstream::echo("target").await;
    let mut fleet = Fleet::start(2, |port| numbered(port, upstream.address(), 1)).await;
    fleet.apply(&numbered(fleet.port(), upstream.address(), 2), &[]).await.exits(0);
    fleet.kill_control_plane();
    for address in fleet.addresses() {
        assert_eq!(status_of(address, "/v2").await, Ok(200));
    }
    fleet.ctl(["status", "instances"]).await.exits(7);

    // restarted meanwhile: by kill and in good order
    fleet.kill_data_plane(0);
    fleet.start_data_plane(0).await;
    fleet.data_plane(1).signal(rustix::process::Signal::TERM);
    assert!(fleet.data_plane(1).ended().await.success());
    fleet.start_data_plane(1).await;
    for address in fleet.addresses() {
        eventually("it serves the last committed version from its disk", async || {
            match status_of(address, "/v2").await? {
                200 => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
    }

    fleet.start_control_plane().await;
    assert_eq!(fleet.settled().await, 2, "history and version numbers survive a restart");
    fleet.apply(&numbered(fleet.port(), upstream.address(), 3), &[]).await.exits(0);
    for address in fleet.addresses() {
        assert_eq!(status_of(address, "/v3").await, Ok(200));
    }
}

/// The file was edited while nobody watched it.
#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_comes_back_takes_the_file_as_it_is_now() {
    let upstream = Upstream::echo("target").await;
    let mut fleet = Fleet::start(1, |port| numbered(port, upstream.address(), 1)).await;
    fleet.kill_control_plane();
    fleet.write_config(&numbered(fleet.port(), upstream.address(), 2));
    fleet.start_control_plane().await;
    fleet.settled_after(1).await;
    assert_eq!(status_of(fleet.address(0), "/v2").await, Ok(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_snapshot_on_disk_is_not_served() {
    let upstream = Upstream::echo("target").await;
    let mut fleet = Fleet::start(1, |port| numbered(port, upstream.address(), 1)).await;
    fleet.kill_control_plane();
    fleet.kill_data_plane(0);
    let state = fleet.directory().join("dp-1");
    let mut damaged = 0;
    for entry in std::fs::read_dir(&state).expect("the state directory") {
        let path = entry.expect("an entry").path();
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        // the last byte belongs to the table in every layout: checksum first, content after
        if let Some(last) = bytes.last_mut() {
            *last ^= 0x55;
            std::fs::write(&path, bytes).expect("damage the file");
            damaged += 1;
        }
    }
    assert!(damaged > 0, "nothing is kept in {}", state.display());
    fleet.start_data_plane(0).await;
    let ready = get(fleet.admin_address(0), "/readyz").await.expect("the admin HTTP answers");
    assert_eq!(ready.status, 503, "it has nothing to serve");
    assert!(get(fleet.address(0), "/v1").await.is_err(), "no listener without a config");

    fleet.start_control_plane().await;
    fleet.settled().await;
    assert_eq!(status_of(fleet.address(0), "/v1").await, Ok(200));
}

/// What a test does to a process in the middle of a rollout.
#[derive(Debug, Clone, Copy)]
enum Victim {
    ControlPlane,
    DataPlane(usize),
    Both(usize),
}

/// `kill -9` at any step leaves every live data plane on one committed version once they are connected again.
#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_steps_leave_one_committed_version() {
    const ROUNDS: usize = 20;
    let seed =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed} repeats this schedule as far as the machine allows");
    let mut random = fastrand::Rng::with_seed(seed);

    let upstream = Upstream::echo("target").await;
    let mut fleet = Fleet::start(3, |port| numbered(port, upstream.address(), 0)).await;
    let mut version = fleet.settled().await;
    for round in 1..=ROUNDS {
        let text = numbered(fleet.port(), upstream.address(), round);
        let victim = match random.u8(0..4) {
            0 => Victim::ControlPlane,
            1 => Victim::Both(random.usize(0..3)),
            _ => Victim::DataPlane(random.usize(0..3)),
        };
        // a rollout takes about as long; before, during and after are all hit over the rounds
        let moment = Duration::from_micros(random.u64(0..60_000));
        rollout_interrupted(&mut fleet, &text, victim, moment).await;
        revive(&mut fleet).await;
        version = agree(&fleet, round, version).await;
    }
}

/// Applies and kills after `moment`, whatever the rollout has come to by then.
async fn rollout_interrupted(fleet: &mut Fleet, text: &str, victim: Victim, moment: Duration) {
    let file = fleet.directory().join("apply.yaml");
    std::fs::write(&file, text).expect("write the file to apply");
    let (endpoint, home) = (fleet.endpoint(), fleet.directory().to_owned());
    let apply = tokio::spawn(async move {
        let file = file.to_str().expect("UTF-8").to_owned();
        tests::ctl::run(&endpoint, &home, ["apply", "--yes", "--timeout", "3s", "-f", &file]).await
    });
    // the random schedule itself, not a wait for anything
    tokio::time::sleep(moment).await;
    match victim {
        Victim::ControlPlane => fleet.kill_control_plane(),
        Victim::DataPlane(at) => fleet.kill_data_plane(at),
        Victim::Both(at) => {
            fleet.kill_data_plane(at);
            fleet.kill_control_plane();
        }
    }
    let output = apply.await.expect("the runner does not panic");
    assert!(
        [0, 4, 5, 7].contains(&output.code),
        "{victim:?} after {moment:?}: exit {}: {}",
        output.code,
        output.text()
    );
}

async fn revive(fleet: &mut Fleet) {
    for at in 0..3 {
        if !fleet.is_running(at) {
            fleet.start_data_plane(at).await;
        }
    }
    let control_plane_is_up = fleet.status().await.is_ok();
    if !control_plane_is_up {
        fleet.start_control_plane().await;
    }
}

/// All report one committed version, and each serves exactly that config.
async fn agree(fleet: &Fleet, round: usize, before: u64) -> u64 {
    let version = fleet.settled().await;
    assert!(version >= before, "round {round}: the version went back from {before} to {version}");
    within(Duration::from_secs(20), "all serve the same config", async || {
        let mut served = Vec::new();
        for address in fleet.addresses() {
            let mut paths = Vec::new();
            for n in 0..=round {
                if status_of(address, &format!("/v{n}")).await? == 200 {
                    paths.push(n);
                }
            }
            served.push(paths);
        }
        let one_each = served.iter().all(|paths| paths.len() == 1);
        if one_each && served.windows(2).all(|pair| pair[0] == pair[1]) {
            Ok(())
        } else {
            Err(format!("{served:?}"))
        }
    })
    .await;
    version
}
