//! Orders to the fleet: what is asked of the control plane, and what becomes of its answer.

use crate::support::{Fake, Script, gatewayctl};
use proto::v1::{
    BreakerAction, BreakerOrder, Confirmation, ConfirmationState, OrderResponse, TargetOrder,
    order_request::Order,
};

fn confirmation(instance: &str, state: ConfirmationState) -> Confirmation {
    Confirmation { instance: instance.to_owned(), state: state.into(), took_us: 1_500 }
}

fn answering(instances: Vec<Confirmation>, changed: bool, warning: &str) -> Fake {
    let order = OrderResponse { revision: 4, changed, instances, warning: warning.to_owned() };
    Fake::start(Script { order: Some(order), ..Script::default() })
}

fn all_confirmed() -> Vec<Confirmation> {
    ["dp-1", "dp-2"].map(|name| confirmation(name, ConfirmationState::Confirmed)).into()
}

#[test]
fn a_confirmed_drain_is_0_and_names_everybody() {
    let fake = answering(all_confirmed(), true, "`users` has no target left");
    let assert = fake.gatewayctl(&["target", "drain", "users/10.0.0.7:8080", "--timeout", "2s"]).assert();
    let assert = assert.code(0).stdout("users/10.0.0.7:8080 is drained, confirmed by 2 instances\n");
    assert_eq!(
        String::from_utf8_lossy(&assert.get_output().stderr),
        "warning: `users` has no target left\ndp-1: confirmed in 1.5 ms\ndp-2: confirmed in 1.5 ms\n"
    );
    let asked = fake.ordered().remove(0);
    assert_eq!((asked.author.as_str(), asked.timeout_ms), ("ann", 2_000));
    let target = TargetOrder { upstream: "users".into(), addr: "10.0.0.7:8080".into(), drained: true };
    assert_eq!(asked.order, Some(Order::Target(target)));
}

#[test]
fn an_order_that_stood_already_says_so() {
    let fake = answering(all_confirmed(), false, "");
    let assert = fake.gatewayctl(&["target", "enable", "users/http://10.0.0.7:8080"]).assert();
    assert.code(0).stdout("users/http://10.0.0.7:8080 is enabled as before, confirmed by 2 instances\n");
}

#[test]
fn an_unconfirmed_order_is_5_and_names_who_is_missing() {
    let instances = vec![
        confirmation("dp-1", ConfirmationState::Confirmed),
        confirmation("dp-2", ConfirmationState::Silent),
        confirmation("dp-3", ConfirmationState::Disconnected),
    ];
    let fake = answering(instances, true, "");
    let assert = fake.gatewayctl(&["breaker", "open", "orders", "-o", "json"]).assert().code(5);
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.contains("not confirmed by dp-2 (silent), dp-3 (not connected)"), "{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(report["apiVersion"], "gatewayctl/v1");
    assert_eq!(
        (&report["kind"], &report["confirmed"], &report["revision"]),
        (&"Order".into(), &false.into(), &4.into())
    );
    assert_eq!(report["instances"][2]["state"], "DISCONNECTED");
}

#[test]
fn each_word_over_a_breaker_is_passed_on() {
    for (word, action, done) in [
        ("reset", BreakerAction::Reset, "reset"),
        ("open", BreakerAction::Open, "held open"),
        ("close", BreakerAction::Close, "held closed"),
    ] {
        let fake = answering(Vec::new(), true, "");
        let assert = fake.gatewayctl(&["breaker", word, "orders"]).assert().code(0);
        assert.stdout(format!(
            "the breaker of orders is {done} for every instance that joins; none is connected\n"
        ));
        let breaker = BreakerOrder { route: "orders".to_owned(), action: action.into() };
        assert_eq!(fake.ordered()[0].order, Some(Order::Breaker(breaker)));
    }
}

#[test]
fn a_name_that_nothing_has_is_1_with_the_nearest() {
    let fake = Fake::start(Script::default());
    let assert = fake.gatewayctl(&["target", "drain", "usres/10.0.0.7:8080"]).assert().code(1).stdout("");
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert_eq!(stderr, "error: no upstream is named `usres`; did you mean `users`?\n");
}

#[test]
fn a_target_without_its_upstream_is_wrong_usage() {
    gatewayctl(&["target", "drain", "10.0.0.7:8080"]).assert().code(2);
    gatewayctl(&["breaker", "trip", "orders"]).assert().code(2);
}
