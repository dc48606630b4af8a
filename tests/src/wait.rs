//! Waiting for a condition by asking again until a deadline.

use std::pin::pin;
use std::time::{Duration, Instant};

/// Long enough for a busy two-core machine, short enough that a hung scenario says what it waited for.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(5);

/// The most that one look at the clock adds to the time waited: a machine that was suspended for a minute has not
/// given anybody that minute.
const STEP: Duration = Duration::from_millis(250);

/// Time that has passed for this process, not on the wall.
struct Waited {
    since: Instant,
    total: Duration,
}

impl Waited {
    fn new() -> Self {
        Self { since: Instant::now(), total: Duration::ZERO }
    }

    fn look(&mut self) -> Duration {
        self.total += self.since.elapsed().min(STEP);
        self.since = Instant::now();
        self.total
    }
}

/// Asks until the answer is `Ok`; panics with the last `Err` after [`DEADLINE`].
///
/// The `Err` tells what is still missing, so a scenario that fails says why and not only that time ran out.
pub async fn eventually<T, E: std::fmt::Display>(what: &str, ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(DEADLINE, what, ask).await
}

/// [`eventually`] with another deadline.
pub async fn within<T, E: std::fmt::Display>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let mut waited = Waited::new();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(missing) if waited.look() > limit => {
                panic!("{what}: not within {limit:?}: {missing}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Runs a future to its end; panics when it takes longer than [`DEADLINE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut waited = Waited::new();
    while waited.look() < DEADLINE {
        if let Ok(result) = tokio::time::timeout(STEP, &mut future).await {
            return result;
        }
    }
    panic!("{what}: not within {DEADLINE:?}")
}

/// Asks again and again for as long as `limit` and panics when the answer is ever `Err`: for what must not happen.
pub async fn throughout<E: std::fmt::Display>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<(), E>,
) {
    let mut waited = Waited::new();
    while waited.look() < limit {
        if let Err(error) = ask().await {
            panic!("{what}: after {:?}: {error}", waited.total);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
