//! Waiting for a condition by asking again until a deadline.

use std::time::{Duration, Instant};

/// Long enough for a busy two-core machine, short enough that a hung scenario says what it waited for.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(5);

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
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(missing) if started.elapsed() > limit => {
                panic!("{what}: not within {limit:?}: {missing}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Runs a future to its end; panics when it takes longer than [`DEADLINE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(result) => result,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Asks again and again for as long as `limit` and panics when the answer is ever `Err`: for what must not happen.
pub async fn throughout<E: std::fmt::Display>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<(), E>,
) {
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Err(error) = ask().await {
            panic!("{what}: after {:?}: {error}", started.elapsed());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
