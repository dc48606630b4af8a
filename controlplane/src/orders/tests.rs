//! The set of orders step by step: what changes it, who is sent it, and when an order counts as confirmed.

use super::{Asked, Effect, Inventory, Order, Orders};
use crate::fleet::{Now, StreamId};
use policy::config::GatewayConfig;
use proto::v1::{self, ConfirmationState, control_plane_message::Message as Down};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(10);
const ADDR: &str = "http://127.0.0.1:8081";

struct Bench {
    orders: Orders,
    now: Now,
    tickets: u64,
}

impl Bench {
    fn with(names: &[&str]) -> Self {
        let now = Now { at: Instant::now(), unix_ms: 0 };
        let mut bench = Self { orders: Orders::new("cluster", v1::Orders::default()), now, tickets: 0 };
        for name in names {
            bench.join(name, 1, "cluster", 0);
        }
        assert_eq!(bench.orders.take_effects(), [], "nobody hears of orders that were never given");
        bench
    }

    fn join(&mut self, name: &str, stream: u64, cluster_id: &str, orders_revision: u64) {
        let (instance, cluster_id) = (name.to_owned(), cluster_id.to_owned());
        let hello = v1::Hello { instance, cluster_id, orders_revision, ..v1::Hello::default() };
        self.orders.join(StreamId(stream), &hello);
    }

    fn order(&mut self, order: Order, absent: &[&str]) -> bool {
        let by = v1::OrderedBy { author: "ann".to_owned(), at_ms: 5 };
        let next = self.orders.with(&order, by);
        let changed = next.is_some();
        self.tickets += 1;
        let absent = absent.iter().map(|&name| name.to_owned()).collect();
        let asked = Asked { ticket: self.tickets, order, timeout: TIMEOUT, absent, warning: String::new() };
        self.orders.ask(self.now, asked, next);
        changed
    }

    fn confirm(&mut self, name: &str, stream: u64, revision: u64) {
        self.now.at += Duration::from_millis(3);
        self.orders.confirmed(self.now, name, StreamId(stream), revision);
    }

    /// What is sent, as `dp-1 revision 2: drained 1, held 0, resets 0`; and who is answered what.
    fn told(&mut self) -> Vec<String> {
        self.orders.take_effects().iter().map(describe).collect()
    }
}

fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Send { instance, message, .. } => {
            let Some(Down::Orders(orders)) = &message.message else { panic!("{message:?}") };
            let v1::Orders { revision, drained, held, resets, .. } = orders;
            let (drained, held, resets) = (drained.len(), held.len(), resets.len());
            format!("{instance} gets {revision}: drained {drained}, held {held}, resets {resets}")
        }
        Effect::Answer { ticket, response } => {
            let who = response.instances.iter().map(|one| {
                let state = match one.state() {
                    ConfirmationState::Confirmed => "confirmed",
                    ConfirmationState::Silent => "silent",
                    ConfirmationState::Disconnected => "disconnected",
                    ConfirmationState::Unspecified => "?",
                };
                format!("{} {state}", one.instance)
            });
            format!("answer {ticket}: {}", who.collect::<Vec<_>>().join(", "))
        }
    }
}

fn drain() -> Order {
    Order::Drain { upstream: "users".to_owned(), addr: ADDR.to_owned() }
}

fn enable() -> Order {
    Order::Enable { upstream: "users".to_owned(), addr: ADDR.to_owned() }
}

fn hold(open: bool) -> Order {
    Order::Hold { route: "r".to_owned(), open }
}

fn reset() -> Order {
    Order::Reset { route: "r".to_owned() }
}

#[test]
fn an_order_is_answered_when_the_last_connected_one_has_confirmed_it() {
    let mut bench = Bench::with(&["a", "b"]);
    assert!(bench.order(drain(), &[]));
    let sent = ["a gets 1: drained 1, held 0, resets 0", "b gets 1: drained 1, held 0, resets 0"];
    assert_eq!(bench.told(), sent);
    bench.confirm("a", 1, 1);
    assert_eq!(bench.told(), Vec::<String>::new());
    assert!(bench.orders.is_behind("b") && !bench.orders.is_behind("a"));
    bench.confirm("b", 1, 1);
    assert_eq!(bench.told(), ["answer 1: a confirmed, b confirmed"]);
    assert_eq!(bench.orders.next_deadline(), None);
}

#[test]
fn an_order_that_stands_already_changes_nothing_and_still_tells_who_goes_by_it() {
    let mut bench = Bench::with(&["a"]);
    bench.order(drain(), &[]);
    bench.told();
    assert!(!bench.order(drain(), &[]));
    assert_eq!(bench.told(), Vec::<String>::new(), "it waits for the confirmation under way");
    bench.confirm("a", 1, 1);
    assert_eq!(bench.told(), ["answer 1: a confirmed", "answer 2: a confirmed"]);
    assert!(!bench.order(drain(), &[]));
    assert_eq!(bench.told(), ["answer 3: a confirmed"]);
    assert!(bench.order(enable(), &[]));
    assert!(!bench.order(enable(), &[]));
    assert_eq!(bench.orders.standing().drained, []);
}

#[test]
fn a_timeout_names_the_silent_and_the_lost() {
    let mut bench = Bench::with(&["a", "b", "c"]);
    bench.order(drain(), &["gone"]);
    bench.confirm("a", 1, 1);
    bench.orders.leave("c", StreamId(1));
    bench.told();
    assert_eq!(bench.orders.next_deadline(), Some(bench.now.at - Duration::from_millis(3) + TIMEOUT));
    bench.now.at += TIMEOUT;
    bench.orders.tick(bench.now);
    assert_eq!(bench.told(), ["answer 1: a confirmed, b silent, c disconnected, gone disconnected"]);
}

#[test]
fn who_comes_back_in_time_counts_and_who_was_away_is_not_waited_for() {
    let mut bench = Bench::with(&["a"]);
    bench.order(drain(), &["gone"]);
    bench.orders.leave("a", StreamId(1));
    bench.join("a", 2, "cluster", 0);
    bench.told();
    bench.confirm("a", 1, 1);
    assert_eq!(bench.told(), Vec::<String>::new(), "the old stream's word counts for nothing");
    bench.confirm("a", 2, 1);
    assert_eq!(bench.told(), ["answer 1: a confirmed, gone disconnected"]);
}

#[test]
fn nobody_connected_is_answered_at_once() {
    let mut bench = Bench::with(&[]);
    assert!(bench.order(drain(), &[]));
    assert_eq!(bench.told(), ["answer 1: "]);
    bench.join("late", 1, "cluster", 0);
    assert_eq!(bench.told(), ["late gets 1: drained 1, held 0, resets 0"]);
}

#[test]
fn a_reset_releases_the_hold_and_is_sent_only_while_somebody_waits_for_it() {
    let mut bench = Bench::with(&["a", "b"]);
    assert!(bench.order(hold(true), &[]));
    assert!(bench.order(hold(false), &[]), "the other way round");
    assert_eq!(bench.orders.standing().held.len(), 1);
    bench.confirm("a", 1, 2);
    bench.confirm("b", 1, 2);
    bench.told();
    assert!(bench.order(reset(), &[]));
    assert_eq!(bench.told()[0], "a gets 3: drained 0, held 0, resets 1");
    bench.confirm("a", 1, 3);
    bench.orders.leave("b", StreamId(1));
    bench.join("b", 2, "cluster", 2);
    assert_eq!(bench.told(), ["b gets 3: drained 0, held 0, resets 1"], "it may not have carried it out");
    bench.confirm("b", 2, 3);
    bench.told();
    bench.join("late", 1, "", 0);
    assert_eq!(
        bench.told(),
        ["late gets 3: drained 0, held 0, resets 0"],
        "what is new has nothing to reset"
    );
    assert!(bench.order(reset(), &[]), "a second reset is a second order");
}

#[test]
fn another_clusters_instance_is_told_nothing_and_lost_orders_are_withdrawn() {
    let mut bench = Bench::with(&["a"]);
    bench.join("foreign", 1, "another", 7);
    bench.join("restored", 1, "cluster", 7);
    assert_eq!(bench.told(), ["restored gets 0: drained 0, held 0, resets 0"]);
    bench.order(drain(), &[]);
    assert_eq!(bench.told().len(), 2);
    assert!(!bench.orders.is_behind("foreign"));
}

fn inventory() -> Inventory {
    let config: GatewayConfig = serde_json::from_value(serde_json::json!({
        "upstreams": [{"name": "users", "targets": [{"addr": ADDR}, {"addr": "http://127.0.0.1:8082", "weight": 0}]}],
        "routes": [
            {"name": "r", "prefix": "/r", "upstream": "users", "filters": [{"circuit_breaker": {"threshold": 5, "timeout": "30s"}}]},
            {"name": "inline", "prefix": "/i", "targets": [{"addr": ADDR}]},
        ],
    }))
    .unwrap();
    Inventory::of(&config)
}

#[test]
fn the_config_says_what_an_order_can_be_about() {
    let inventory = inventory();
    assert_eq!(inventory.target("users", "127.0.0.1:8081").as_deref(), Ok(ADDR));
    assert_eq!(inventory.target("inline", ADDR).as_deref(), Ok(ADDR));
    let unknown = inventory.target("r", ADDR).expect_err("a route is no upstream");
    assert!(unknown.starts_with("no upstream is named `r`"), "{unknown}");
    assert_eq!(inventory.breaker("r"), Ok(()));
    assert_eq!(inventory.breaker("inline").expect_err("none"), "the route `inline` has no circuit_breaker");
    assert_eq!(
        inventory.breaker("inlin").expect_err("none"),
        "no route is named `inlin`; did you mean `inline`?"
    );
    assert!(inventory.is_emptied("users", |addr| addr == ADDR), "a weight of 0 takes nothing either");
    assert!(!inventory.is_emptied("users", |_| false));
}

#[test]
fn what_the_config_no_longer_has_is_dropped_and_named() {
    let mut bench = Bench::with(&[]);
    for order in [
        drain(),
        Order::Drain { upstream: "old".to_owned(), addr: ADDR.to_owned() },
        hold(true),
        Order::Hold { route: "inline".to_owned(), open: true },
    ] {
        bench.order(order, &[]);
    }
    let (next, missing) = bench.orders.without_missing(&inventory()).expect("two are missing");
    assert_eq!(missing, ["drain of old/http://127.0.0.1:8081", "hold of the breaker of inline"]);
    assert_eq!((next.revision, next.drained.len(), next.held.len()), (5, 1, 1));
    bench.orders.adopt(next);
    assert_eq!(bench.orders.without_missing(&inventory()), None);
}
