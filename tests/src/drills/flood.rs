//! A flood that fills the backend: a limit that only counted is put in force.

use super::target::Target;
use super::{apply, ctl, reported, shown, signal, step, total};
use crate::client::RawClient;
use crate::config;
use crate::fleet::Fleet;
use crate::load::{Load, Plan};
use crate::wait::{eventually, within};
use std::collections::BTreeMap;
use std::time::Duration;

/// 80 requests a second: four at once, each 50 ms.
const CAPACITY: [&str; 4] = ["--at-once", "4", "--takes", "50"];
/// The address that is not the flood's.
const SOMEBODY_ELSE: u8 = 7;
/// Requests of somebody else without a failure, one each 100 ms.
const IN_A_ROW: usize = 10;

pub(super) async fn run() {
    let target = Target::start("orders", &CAPACITY.map(str::to_owned)).await;
    let text = |port, more: &str| {
        let limit = format!("filters: [{{rate_limit: {{qps: 20, key: client_ip{more}}}}}]");
        config::server(port, "") + "routes:\n" + &config::route("orders", &[target.address], &[&limit])
    };
    let fleet = Fleet::start(2, |port| text(port, ", shadow: true")).await;
    let plan = Plan {
        request: "GET /orders HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: importer/2.1\r\n\r\n".to_owned(),
        clients: 12,
        pace: Duration::from_millis(50),
    };
    let floods: Vec<_> = fleet.addresses().into_iter().map(|address| Load::start(address, &plan)).collect();

    step("SYMPTOM", "other clients get 503 from the backend itself, which takes 80 requests a second");
    let outcome = eventually("somebody else is hurt", async || match somebody_else(&fleet).await {
        outcome if outcome == "503" => Ok(outcome),
        outcome => Err(outcome),
    })
    .await;
    shown("curl -so /dev/null -w '%{http_code}\\n' http://shop.example/orders", &outcome);

    step("SIGNAL", "many requests, and a limit in shadow mode that would have refused most of them");
    signal(&fleet, "gateway_requests_total", &[r#"route="orders""#], |values| {
        values.iter().sum::<f64>() > 100.0
    })
    .await;
    signal(&fleet, "gateway_rate_limit_shadow_hits_total", &[r#"route="orders""#], |values| {
        values.iter().sum::<f64>() > 50.0
    })
    .await;
    reported(&fleet, &["status", "limits", "orders"], |said| said.contains("SHADOW")).await;

    step("CAUSE", "who is it? one address, one program");
    let tapped = fleet.ctl(["tap", "--status", "503", "-n", "20", "-o", "json"]).await.exits(0);
    let mut who = BTreeMap::<String, usize>::new();
    for line in tapped.stdout.lines() {
        let one: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        if let (Some(client), Some(agent)) = (one["client"].as_str(), one["userAgent"].as_str()) {
            *who.entry(format!("{client} {agent}")).or_default() += 1;
        }
    }
    assert!(who.contains_key("127.0.0.1 importer/2.1"), "the tap does not show the flood: {}", tapped.stdout);
    shown(
        "gatewayctl tap --status 503 -n 20 -o json | jq -r '\"\\(.client) \\(.userAgent)\"' | sort | uniq -c",
        &who.iter().map(|(who, count)| format!("{count:>7} {who}\n")).collect::<String>(),
    );

    step("DO", "put the limit in force: 20 requests a second for each address, on each instance");
    apply(&fleet, &text(fleet.port(), ""), "enforce the limit of orders").await;
    signal(&fleet, "gateway_rate_limit_hits_total", &[r#"route="orders""#], |values| {
        values.iter().sum::<f64>() > 20.0
    })
    .await;
    reported(&fleet, &["status", "limits", "orders"], |said| {
        said.contains("LIMITING") && !said.contains("SHADOW")
    })
    .await;

    step("RECOVERY", "the flood goes on and gets 429; everybody else gets 200");
    let mut in_a_row = 0;
    within(Duration::from_secs(12), "nobody else is hurt", async || {
        // somebody else asks ten times a second, which is below the limit
        tokio::time::sleep(Duration::from_millis(100)).await;
        match somebody_else(&fleet).await {
            outcome if outcome == "200" => in_a_row += 1,
            _ => in_a_row = 0,
        }
        if in_a_row == IN_A_ROW { Ok(()) } else { Err(format!("{in_a_row} of {IN_A_ROW} in a row")) }
    })
    .await;
    println!("{IN_A_ROW} requests from elsewhere in a row: 200");
    let before = total(&fleet, "gateway_rate_limit_hits_total", &[]).await;
    eventually("the flood is refused", async || {
        let now = total(&fleet, "gateway_rate_limit_hits_total", &[]).await;
        if now > before + 50.0 { Ok(()) } else { Err(now - before) }
    })
    .await;
    ctl(&fleet, &["status"], 0).await;
    for flood in floods {
        let tally = flood.stop().await;
        assert!(tally.contains_key("429 rate_limited"), "{tally:?}");
        println!("what the flood got: {tally:?}");
    }
}

async fn somebody_else(fleet: &Fleet) -> String {
    let mut client = RawClient::connect_from(SOMEBODY_ELSE, fleet.address(0)).await;
    client.send("GET /orders HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    client.response().await.outcome()
}
