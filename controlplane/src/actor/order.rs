//! An operator's order from its arrival to the set that stands: named as the config names it, stored, sent to all.

use super::Actor;
use super::message::Given;
use crate::fleet::Now;
use crate::orders::{Asked, Inventory, Order};
use crate::store::StoreError;
use proto::v1;
use tokio::sync::oneshot;
use tonic::Status;

/// Whoever gave an order; it may have hung up.
pub(super) type Answer = oneshot::Sender<Result<v1::OrderResponse, Status>>;

impl Actor {
    pub(super) async fn order(&mut self, given: Given, answer: Answer) {
        match self.try_order(given).await {
            Ok(ticket) => {
                self.answers.insert(ticket, answer);
            }
            Err(refusal) => {
                let _ = answer.send(Err(refusal));
            }
        }
    }

    /// Returns the ticket under which the answer will come.
    async fn try_order(&mut self, Given { order, author, timeout }: Given) -> Result<u64, Status> {
        let inventory = self.inventory().await?;
        let order = named(order, &inventory).map_err(Status::not_found)?;
        let by = v1::OrderedBy { author, at_ms: Now::read().unix_ms };
        tracing::info!(?order, author = by.author, "order given");
        let next = self.orders.with(&order, by);
        if let Some(next) = &next {
            self.store_orders(next).await.map_err(|error| {
                Status::failed_precondition(format!(
                    "the order could not be stored: {error}; nothing changed"
                ))
            })?;
        }
        let warning = warning(&order, next.as_ref().unwrap_or(self.orders.standing()), &inventory);
        let absent = self.coordinator.absent();
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.orders.ask(Now::read(), Asked { ticket, order, timeout, absent, warning }, next);
        Ok(ticket)
    }

    pub(super) fn answer(&mut self, ticket: u64, response: v1::OrderResponse) {
        let unconfirmed =
            response.instances.iter().filter(|one| one.state() != v1::ConfirmationState::Confirmed);
        let unconfirmed: Vec<&str> = unconfirmed.map(|one| one.instance.as_str()).collect();
        tracing::info!(
            revision = response.revision,
            changed = response.changed,
            ?unconfirmed,
            "order answered"
        );
        if let Some(answer) = self.answers.remove(&ticket) {
            let _ = answer.send(Ok(response));
        }
    }

    /// Orders about what the current config no longer has end with it. Only called when every instance asked runs that
    /// config: one that still has the target must not send it requests again.
    pub(super) async fn drop_missing_orders(&mut self) {
        if self.orders.standing().drained.is_empty() && self.orders.standing().held.is_empty() {
            return;
        }
        let Ok(inventory) = self.inventory().await else { return };
        let Some((next, missing)) = self.orders.without_missing(&inventory) else { return };
        match self.store_orders(&next).await {
            Ok(()) => {
                tracing::info!(?missing, "orders dropped: the config no longer has what they are about");
                self.orders.adopt(next);
            }
            // they stand on, which harms nobody, and end with the next rollout
            Err(error) => tracing::error!(%error, ?missing, "orders could not be dropped"),
        }
    }

    async fn inventory(&self) -> Result<Inventory, Status> {
        let table = self.coordinator.current().table.clone();
        let decoded = super::blocking(move || policy::snapshot::decode_table(&table)).await;
        match decoded {
            Ok(config) => Ok(Inventory::of(&config)),
            Err(error) => Err(Status::internal(format!("the current table does not decode: {error}"))),
        }
    }

    async fn store_orders(&self, orders: &v1::Orders) -> Result<(), StoreError> {
        let orders = orders.clone();
        self.in_store(move |store| store.set_orders(&orders)).await
    }
}

/// The order with the names of the config, or why it is about nothing.
fn named(order: Order, inventory: &Inventory) -> Result<Order, String> {
    Ok(match order {
        Order::Drain { upstream, addr } => {
            let addr = inventory.target(&upstream, &addr)?;
            Order::Drain { upstream, addr }
        }
        Order::Enable { upstream, addr } => {
            let addr = inventory.target(&upstream, &addr)?;
            Order::Enable { upstream, addr }
        }
        Order::Hold { route, open } => {
            inventory.breaker(&route)?;
            Order::Hold { route, open }
        }
        Order::Reset { route } => {
            inventory.breaker(&route)?;
            Order::Reset { route }
        }
    })
}

/// What the operator may not have thought of.
fn warning(order: &Order, standing: &v1::Orders, inventory: &Inventory) -> String {
    match order {
        Order::Drain { upstream, .. } => {
            let is_drained =
                |addr: &str| standing.drained.iter().any(|one| one.upstream == *upstream && one.addr == addr);
            if inventory.is_emptied(upstream, is_drained) {
                format!("`{upstream}` has no target left: its requests are answered with 503 no_target")
            } else {
                String::new()
            }
        }
        Order::Hold { route, open: true } => format!(
            "every request of `{route}` is answered with 503 circuit_open until `gatewayctl breaker reset {route}`"
        ),
        Order::Hold { route, open: false } => {
            format!("nothing protects the targets of `{route}` until `gatewayctl breaker reset {route}`")
        }
        Order::Enable { .. } | Order::Reset { .. } => String::new(),
    }
}
