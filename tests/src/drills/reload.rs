//! A hot reload that fails: a file that is broken, and a config that one instance cannot run. The fleet stays as it is.

use super::target::Target;
use super::{ctl, reported, shown, signal, step};
use crate::client::get;
use crate::config;
use crate::fleet::Fleet;
use crate::ports::{lease, loopback};
use crate::wait::eventually;
use std::fs;
use std::net::TcpListener;

/// The config that is applied, in the directory of the fleet.
const MOVED: &str = "gateway.yaml";

pub(super) async fn run() {
    let target = Target::start("users", &[]).await;
    let text = |port| config::forward_all(port, target.address);
    let mut fleet = Fleet::start(2, text).await;
    step("SYMPTOM", "the file was saved, and nothing has changed");
    fleet.write_config(&text(fleet.port()).replace("prefix", "prefx"));
    step(
        "SIGNAL",
        "the control plane has noticed the file and tells in its log and in `status` what it thinks of it",
    );
    let line = fleet
        .control_plane()
        .logged("that the file is broken", |line| line.contains("GW1101").then(|| line.to_owned()))
        .await;
    println!("{line}");
    reported(&fleet, &["status"], |said| said.contains("DEGRADED") && said.contains("GW1101")).await;
    unchanged(&fleet, 1.0).await;
    step("CAUSE", "a typing error: `validate` shows it in place");
    ctl(&fleet, &["validate", "-f", "config/gateway.yaml"], 3).await;
    step(
        "DO",
        "mend the file, and take a new port on this occasion; a colleague's program has it on one machine",
    );
    fleet.write_config(&text(fleet.port()));
    reported(&fleet, &["status"], |said| said.contains(" OK ")).await;

    let new = lease(2);
    let taken = TcpListener::bind((loopback(2), new.port)).expect("a port that is leased");
    fs::write(fleet.directory().join(MOVED), text(new.port)).expect("write the file to apply");

    step("SYMPTOM", "`apply` ends with 4");
    ctl(&fleet, &["apply", "-f", MOVED, "--note", "a new port"], 4).await;
    step("SIGNAL", "the history says who refused and why; the other instance was told to forget it");
    ctl(&fleet, &["rollout", "status"], 4).await;
    ctl(&fleet, &["rollout", "history"], 0).await;
    signal(&fleet, "gateway_config_applies_total", &[], |values| values.iter().sum::<f64>() > 0.0).await;
    unchanged(&fleet, 1.0).await;

    step("CAUSE", "another program listens there on the machine of dp-2: what `help` names shows which");
    step("DO", "end the program, apply again");
    drop(taken);
    let applied = ctl(&fleet, &["apply", "-f", MOVED, "--note", "a new port"], 0).await;
    assert!(applied.text().contains("active on 2 data planes"), "{}", applied.text());

    step("RECOVERY", "both instances run it, at the new port");
    signal(&fleet, "gateway_config_version", &[], |values| values.iter().all(|version| *version > 1.0)).await;
    for number in 1..=2 {
        let at = (loopback(number), new.port).into();
        let reply = get(at, "/").await.expect("an answer at the new port");
        assert_eq!(reply.status, 200);
        shown(&format!("curl -so /dev/null -w '%{{http_code}}\\n' http://{at}/"), "200");
    }
    ctl(&fleet, &["status"], 0).await;
}

/// Everybody serves, and by the version that was there before.
async fn unchanged(fleet: &Fleet, version: f64) {
    signal(fleet, "gateway_config_version", &[], |values| values == [version]).await;
    for address in fleet.addresses() {
        eventually("it serves as before", async || match get(address, "/").await {
            Ok(reply) if reply.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    println!("every instance answers 200 as before");
}
