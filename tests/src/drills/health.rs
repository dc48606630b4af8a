//! A health check that takes a good target out: its check takes longer than the time that it is given.

use super::target::Target;
use super::{apply, ctl, reported, shown, signal, step, total};
use crate::client::get;
use crate::config;
use crate::fleet::Fleet;
use crate::load::{Load, Plan};
use crate::wait::eventually;

pub(super) async fn run() {
    let (a, b) = (Target::start("a", &[]).await, Target::start("b", &[]).await);
    // its check looks at the database and at the queue
    let good = Target::start("c", &["--health-takes", "2000"].map(str::to_owned)).await;
    let addresses = [a.address, b.address, good.address];
    let text = |port, timeout: &str| {
        let check = format!(
            "health_check: {{interval: 200ms, timeout: {timeout}, unhealthy_threshold: 2, healthy_threshold: 1}}"
        );
        config::server(port, "") + "routes:\n" + &config::route("users", &addresses, &[&check])
    };
    let fleet = Fleet::start(2, |port| text(port, "800ms")).await;
    let load = Load::start(fleet.address(0), &Plan::get("/users"));
    let label = format!("target=\"http://{}\"", good.address);

    step("SYMPTOM", "a third of the capacity is gone; no client notices");
    step("SIGNAL", "a target is out, and its failures are none");
    signal(&fleet, "gateway_target_health", &[&label], |values| values == [0.0]).await;
    signal(&fleet, "gateway_target_failures_total", &[&label], |values| values == [0.0]).await;
    reported(&fleet, &["status", "health", "users"], |said| said.contains("UNHEALTHY")).await;

    step("CAUSE", "asked directly it answers at once; only its check is slow, slower than `timeout`");
    let direct = get(good.address, "/users").await.expect("an answer");
    assert_eq!(direct.status, 200);
    shown(&format!("curl -so /dev/null -w '%{{http_code}}\\n' http://{}/users", good.address), "200");
    let slow = format!(
        "curl -so /dev/null -w '%{{http_code}} after %{{time_total}} s\\n' http://{}/health",
        good.address
    );
    let began = std::time::Instant::now();
    let direct = get(good.address, "/health").await.expect("an answer");
    shown(&slow, &format!("{} after {:.3} s", direct.status.as_u16(), began.elapsed().as_secs_f64()));

    step("DO", "give the check the time that it takes (and have its owner make it cheap)");
    let before = total(&fleet, "gateway_target_requests_total", &[&label]).await;
    apply(&fleet, &text(fleet.port(), "6s"), "the check of users takes two seconds").await;

    step("RECOVERY", "it is back, at first with a tenth of its share");
    signal(&fleet, "gateway_target_health", &[&label], |values| values == [1.0]).await;
    reported(&fleet, &["status", "health", "users"], |said| !said.contains("UNHEALTHY")).await;
    eventually("it is sent requests again", async || {
        let now = total(&fleet, "gateway_target_requests_total", &[&label]).await;
        if now > before { Ok(()) } else { Err(now) }
    })
    .await;
    ctl(&fleet, &["status"], 0).await;
    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");
    println!("what clients got all the while: {tally:?}");
}
