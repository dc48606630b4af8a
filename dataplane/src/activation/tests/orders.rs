//! Standing orders: on the table that serves, on every later one, and after a restart.

use super::*;

fn drain(revision: u64) -> Orders {
    let drained =
        proto::v1::DrainedTarget { upstream: "users".into(), addr: "http://127.0.0.1:9".into(), by: None };
    Orders { cluster_id: CLUSTER.into(), revision, drained: vec![drained], ..Orders::default() }
}

impl Fixture {
    fn is_drained(&self) -> bool {
        self.gateway.table().unwrap().upstreams[0].targets[0].state.is_drained()
    }
}

#[tokio::test]
async fn orders_hold_for_the_table_that_serves_and_for_every_later_one() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    assert_eq!(it.activation.obey(drain(1)).await, Some(1));
    assert!(it.is_drained());
    assert_eq!((it.board.get().orders_revision, it.board.get().orders_not_stored), (1, None));
    it.activate(snapshot(2, 0, "orders")).await;
    assert!(!it.is_drained(), "the same address in another upstream is another target");
    it.activate(snapshot(3, 0, "users")).await;
    assert!(it.is_drained(), "it came back new, and still is not wanted");
    it.activation.obey(Orders { drained: Vec::new(), ..drain(2) }).await;
    assert!(!it.is_drained());
}

#[tokio::test]
async fn orders_given_before_the_first_config_hold_when_it_comes() {
    let mut it = Fixture::new();
    assert_eq!(it.activation.obey(drain(7)).await, Some(7));
    it.activate(snapshot(1, 0, "users")).await;
    assert!(it.is_drained());
}

#[tokio::test]
async fn a_restart_goes_by_the_standing_orders_without_a_control_plane() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    it.activation.obey(drain(4)).await;
    let mut it = it.restart();
    it.activation.restore().await;
    assert!(it.is_drained());
    assert_eq!(it.board.get().orders_revision, 4);
}

#[tokio::test]
async fn orders_of_another_cluster_are_not_carried_out() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    assert_eq!(it.activation.obey(Orders { cluster_id: "b".into(), ..drain(1) }).await, None);
    assert!(!it.is_drained());
    assert_eq!(it.activation.disk.load_orders().unwrap(), None);
}

#[tokio::test]
async fn orders_that_cannot_be_written_hold_and_are_reported() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    fs::remove_dir_all(it.dir.path()).unwrap();
    assert_eq!(it.activation.obey(drain(1)).await, Some(1));
    assert!(it.is_drained());
    let not_stored = crate::status::report(&it.board.get(), &it.gateway).not_stored;
    assert!(not_stored.starts_with("standing orders: "), "{not_stored}");
}

/// A config whose route `users` has a breaker for the route, or for each target.
fn with_breaker(version: u64, scope: &str) -> Snapshot {
    let config: GatewayConfig = serde_json::from_value(serde_json::json!({
        "server": {"port": 0},
        "routes": [{"name": "users", "prefix": "/", "targets": [{"addr": "http://127.0.0.1:9"}],
            "filters": [{"circuit_breaker": {"threshold": 1, "timeout": "30s", "scope": scope}}]}],
    }))
    .unwrap();
    let policy::snapshot::Encoded { table, sha256 } = policy::snapshot::encode(&config);
    Snapshot { table, sha256, ..snapshot(version, 0, "users") }
}

fn hold(revision: u64, open: bool) -> Orders {
    let held = proto::v1::HeldBreaker { route: "users".into(), open, by: None };
    Orders { cluster_id: CLUSTER.into(), revision, held: vec![held], ..Orders::default() }
}

fn reset(revision: u64) -> Orders {
    let reset = proto::v1::BreakerReset { route: "users".into(), revision };
    Orders { cluster_id: CLUSTER.into(), revision, resets: vec![reset], ..Orders::default() }
}

impl Fixture {
    fn breaker(&self) -> Arc<policy::breaker::Breaker> {
        let table = self.gateway.table().unwrap();
        table.routes[0].breakers().next().unwrap().1.clone()
    }

    fn told(&self) -> proto::v1::BreakerStatus {
        crate::status::report(&self.board.get(), &self.gateway).breakers.remove(0)
    }
}

#[tokio::test]
async fn a_breaker_is_held_through_every_edit_until_the_order_is_taken_back() {
    use proto::v1::BreakerState::{Closed, HalfOpen, Open};
    let mut it = Fixture::new();
    it.activation.obey(hold(1, true)).await;
    for (version, scope, target) in [(1, "route", ""), (2, "target", "http://127.0.0.1:9")] {
        it.activate(with_breaker(version, scope)).await;
        let told = it.told();
        assert_eq!((told.state(), told.held, told.retry_ms), (Open, true, 0));
        assert_eq!((told.route.as_str(), told.target.as_str()), ("users", target));
        assert!(it.breaker().acquire(crate::clock::now()).is_err());
    }
    it.activation.obey(hold(2, false)).await;
    assert_eq!((it.told().state(), it.told().held), (Closed, true));
    it.activation.obey(hold(3, true)).await;
    it.activation.obey(Orders { held: Vec::new(), ..hold(4, true) }).await;
    assert_eq!((it.told().state(), it.told().held), (HalfOpen, false), "left to itself, it tries first");
}

#[tokio::test]
async fn a_reset_is_carried_out_once() {
    let mut it = Fixture::new();
    it.activate(with_breaker(1, "route")).await;
    let open = |it: &Fixture| {
        let now = crate::clock::now();
        it.breaker().acquire(now).unwrap().failed(now, policy::outcome::Outcome::Reset);
        it.told().state()
    };
    let told_open = open(&it);
    assert_eq!(told_open, proto::v1::BreakerState::Open);
    assert!(it.told().retry_ms > it.told().since_ms && !it.told().reason.is_empty(), "{:?}", it.told());
    it.activation.obey(reset(1)).await;
    assert_eq!(it.told().state(), proto::v1::BreakerState::Closed);
    assert_eq!(open(&it), proto::v1::BreakerState::Open);
    it.activation.obey(reset(1)).await;
    assert_eq!(it.told().state(), proto::v1::BreakerState::Open, "told once more, it is the same order");
    it.activation.obey(reset(2)).await;
    assert_eq!(it.told().state(), proto::v1::BreakerState::Closed);
}
