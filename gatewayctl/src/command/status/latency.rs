//! Latencies, read from histograms.

use crate::output;

/// The time below which this share of the requests stayed, as Prometheus's `histogram_quantile` has it; none where it is
/// above every bound.
pub fn quantile(bounds: &[f64], buckets: &[u64], share: f64) -> Option<f64> {
    let rank = share * buckets.iter().sum::<u64>() as f64;
    let (mut below, mut lower) = (0, 0.0);
    for (count, upper) in buckets.iter().zip(bounds) {
        if *count > 0 && (below + count) as f64 >= rank {
            return Some(lower + (upper - lower) * (rank - below as f64) / *count as f64);
        }
        below += count;
        lower = *upper;
    }
    None
}

/// For a table; above every bound it is long.
pub fn latency(seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) => output::took((seconds * 1e6) as u64),
        None => "long".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 3] = [0.001, 0.01, 0.1];

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let close =
            |told: Option<f64>, expected: f64| told.is_some_and(|told| (told - expected).abs() < 1e-9);
        assert!(close(quantile(&BOUNDS, &[0, 100, 0, 0], 0.5), 0.0055));
        assert!(close(quantile(&BOUNDS, &[50, 50, 0, 0], 0.5), 0.001));
        assert!(close(quantile(&BOUNDS, &[90, 0, 10, 0], 0.95), 0.055));
        assert_eq!(quantile(&BOUNDS, &[1, 0, 0, 9], 0.5), None);
    }
}
