//! Did-you-mean.

/// The candidate that `name` is most likely a misspelling of, if any is near enough.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // a third of the letters may be wrong: `retires` is `retries`, `host` is not `port`
    let allowed = (name.chars().count() / 3).max(1);
    let distance = |candidate: &str| {
        let same = name.to_lowercase() == candidate.to_lowercase();
        if same { 0 } else { strsim::osa_distance(name, candidate) }
    };
    let near = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    near.filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_what_could_be_a_slip_is_suggested() {
        let keys = ["prefix", "path", "targets", "timeout", "read_timeout", "Users"];
        assert_eq!(nearest("prefx", keys), Some("prefix"));
        assert_eq!(nearest("taregts", keys), Some("targets"));
        assert_eq!(nearest("readtimeout", keys), Some("read_timeout"));
        assert_eq!(nearest("users", keys), Some("Users"));
        assert_eq!(nearest("balancer", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
