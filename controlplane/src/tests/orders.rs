//! Orders over real streams: stored, sent to all, confirmed by each, and never about what the config does not have.

use super::{Gateway, apply};
use proto::v1::{self, ConfirmationState, InstanceState};
use tonic::Code;

const ADDR: &str = "http://127.0.0.1:9";

fn drain(upstream: &str, addr: &str, drained: bool) -> v1::OrderRequest {
    let target = v1::TargetOrder { upstream: upstream.to_owned(), addr: addr.to_owned(), drained };
    v1::OrderRequest {
        order: Some(v1::order_request::Order::Target(target)),
        author: "ann".to_owned(),
        timeout_ms: 0,
    }
}

impl Gateway {
    async fn order(&mut self, request: v1::OrderRequest) -> v1::OrderResponse {
        self.admin.order(request).await.expect("taken").into_inner()
    }

    async fn refusal(&mut self, request: v1::OrderRequest) -> tonic::Status {
        self.admin.order(request).await.expect_err("refused")
    }
}

fn states(response: &v1::OrderResponse) -> Vec<(&str, ConfirmationState)> {
    response.instances.iter().map(|one| (one.instance.as_str(), one.state())).collect()
}

#[tokio::test]
async fn a_drain_is_confirmed_by_every_instance_and_shown() {
    let mut gateway = Gateway::new().await;
    let _one = gateway.obedient("dp-1").await;
    let mut two = gateway.join("dp-2").await;
    two.catch_up().await;
    let mut admin = gateway.admin.clone();
    let ordered = tokio::spawn(async move { admin.order(drain("first", "127.0.0.1:9", true)).await });
    let orders = two.orders().await;
    assert_eq!((orders.drained[0].upstream.as_str(), orders.drained[0].addr.as_str()), ("first", ADDR));
    two.confirm(&orders).await;
    let response = ordered.await.unwrap().expect("taken").into_inner();
    assert!(response.changed);
    assert_eq!(
        states(&response),
        [("dp-1", ConfirmationState::Confirmed), ("dp-2", ConfirmationState::Confirmed)]
    );
    assert!(response.warning.contains("no target left"), "{}", response.warning);

    let standing = gateway.status().await.orders.expect("orders");
    assert_eq!(standing.drained[0].by.as_ref().expect("by").author, "ann");
    let again = gateway.order(drain("first", ADDR, true)).await;
    assert_eq!((again.changed, again.revision), (false, response.revision));
}

#[tokio::test]
async fn who_does_not_confirm_is_named_and_shown_as_behind() {
    let mut gateway = Gateway::new().await;
    let mut silent = gateway.join("dp-1").await;
    silent.catch_up().await;
    let response = gateway.order(v1::OrderRequest { timeout_ms: 50, ..drain("first", ADDR, true) }).await;
    assert_eq!(states(&response), [("dp-1", ConfirmationState::Silent)]);
    let behind =
        |status: &v1::GetStatusResponse| status.instances[0].reason.contains("has not confirmed the orders");
    gateway.when(behind).await;
    let orders = silent.orders().await;
    silent.confirm(&orders).await;
    gateway.when(|status| !behind(status)).await;
    assert_eq!(
        states(&gateway.order(drain("first", ADDR, true)).await),
        [("dp-1", ConfirmationState::Confirmed)]
    );
}

#[tokio::test]
async fn orders_outlive_a_restart_and_reach_who_joins_before_its_config_does() {
    let mut gateway = Gateway::new().await;
    gateway.order(drain("first", ADDR, true)).await;
    let dir = gateway.stop().await;

    let gateway = Gateway::start_in(dir).await;
    let mut one = gateway.join("dp-1").await;
    let orders = one.orders().await;
    assert_eq!(orders.drained[0].addr, ADDR);
    one.confirm(&orders).await;
    one.catch_up().await;
}

#[tokio::test]
async fn a_connected_and_a_lost_instance_are_told_apart() {
    let mut gateway = Gateway::new().await;
    let _one = gateway.obedient("dp-1").await;
    let lost = gateway.join("dp-2").await;
    drop(lost);
    gateway.wait_for("dp-2", InstanceState::Disconnected).await;
    let response = gateway.order(drain("first", ADDR, true)).await;
    assert_eq!(
        states(&response),
        [("dp-1", ConfirmationState::Confirmed), ("dp-2", ConfirmationState::Disconnected)]
    );
}

#[tokio::test]
async fn names_that_the_config_does_not_have_are_refused_with_the_nearest() {
    let mut gateway = Gateway::new().await;
    let cases = [
        (drain("frist", ADDR, true), "no upstream is named `frist`; did you mean `first`?"),
        (
            drain("first", "127.0.0.1:8", true),
            "`first` has no target `127.0.0.1:8`; did you mean `127.0.0.1:9`?",
        ),
        (breaker(v1::BreakerAction::Open), "the route `first` has no circuit_breaker"),
    ];
    for (request, message) in cases {
        let refusal = gateway.refusal(request).await;
        assert_eq!((refusal.code(), refusal.message()), (Code::NotFound, message));
    }
    let nothing = gateway.refusal(v1::OrderRequest::default()).await;
    assert_eq!(nothing.code(), Code::InvalidArgument);
    assert_eq!(gateway.status().await.orders.expect("orders").revision, 0);
}

fn breaker(action: v1::BreakerAction) -> v1::OrderRequest {
    let order = v1::BreakerOrder { route: "first".to_owned(), action: action.into() };
    v1::OrderRequest { order: Some(v1::order_request::Order::Breaker(order)), ..v1::OrderRequest::default() }
}

#[tokio::test]
async fn a_breaker_of_the_config_or_of_all_routes_can_be_held_and_reset() {
    let mut gateway = Gateway::new().await;
    let everywhere = "global_filters:\n  - circuit_breaker: {threshold: 5, timeout: 30s}\n";
    let source = format!("{}{everywhere}", super::config(&["first"]));
    assert_eq!(gateway.apply(v1::ApplyRequest { source, ..apply(&[]) }).await.version, 2);
    let mut one = gateway.join("dp-1").await;
    one.catch_up().await;
    for (action, held, resets) in [
        (v1::BreakerAction::Open, vec![true], 0),
        (v1::BreakerAction::Close, vec![false], 0),
        (v1::BreakerAction::Reset, vec![], 1),
    ] {
        let mut admin = gateway.admin.clone();
        let ordered = tokio::spawn(async move { admin.order(breaker(action)).await });
        let orders = one.orders().await;
        assert_eq!(orders.held.iter().map(|one| one.open).collect::<Vec<_>>(), held);
        assert_eq!(orders.resets.len(), resets);
        one.confirm(&orders).await;
        let response = ordered.await.unwrap().expect("taken").into_inner();
        assert_eq!(states(&response), [("dp-1", ConfirmationState::Confirmed)]);
        assert_eq!(response.warning.is_empty(), action == v1::BreakerAction::Reset);
    }
}

#[tokio::test]
async fn an_order_ends_when_a_committed_config_no_longer_has_its_target() {
    let mut gateway = Gateway::new().await;
    let _one = gateway.obedient("dp-1").await;
    gateway.order(drain("first", ADDR, true)).await;
    gateway.apply(apply(&["first", "second"])).await;
    assert_eq!(gateway.status().await.orders.expect("orders").drained.len(), 1, "the target is still there");
    gateway.apply(apply(&["second"])).await;
    let standing = gateway.status().await.orders.expect("orders");
    assert_eq!((standing.drained.len(), standing.revision), (0, 2));
}
