//! Which parameters of a query are credentials, for whoever shows queries to people.

use super::credential::named;
use crate::config::GatewayConfig;
use crate::config::leaf::MASK;
use crate::filter::FilterConfig;
use std::borrow::Cow;

/// The parameters that some `auth` of a table reads, whichever route takes a request: one that is sent to the wrong
/// path is as secret as before.
#[derive(Debug, Default)]
pub struct CredentialParameters {
    names: Box<[Box<str>]>,
}

/// RFC 6750 §2.3, which clients follow whether or not anything here reads it.
const ACCESS_TOKEN: &str = "access_token";

impl CredentialParameters {
    /// Of all filters of a config.
    pub(crate) fn of(config: &GatewayConfig) -> Self {
        let filters = config.routes.iter().flat_map(|route| &route.filters).chain(&config.global_filters);
        let read = filters.filter_map(|filter| match filter {
            FilterConfig::Auth(auth) => auth.query_parameter(),
            _ => None,
        });
        let mut names: Vec<Box<str>> = read.chain([ACCESS_TOKEN]).map(Box::from).collect();
        names.sort_unstable();
        names.dedup();
        Self { names: names.into() }
    }

    /// The query with `***` in the place of every credential.
    pub fn mask<'q>(&self, query: &'q str) -> Cow<'q, str> {
        if !query.split('&').any(|parameter| self.is_one(key(parameter))) {
            return Cow::Borrowed(query);
        }
        let masked = query.split('&').map(|parameter| match key(parameter) {
            key if self.is_one(key) => Cow::Owned(format!("{key}={MASK}")),
            _ => Cow::Borrowed(parameter),
        });
        Cow::Owned(masked.collect::<Vec<_>>().join("&"))
    }

    fn is_one(&self, key: &str) -> bool {
        self.names.iter().any(|name| named(key, name))
    }
}

fn key(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerConfig;
    use crate::filter::test_support::filter;

    #[test]
    fn what_some_filter_reads_as_a_credential_is_masked_in_every_query() {
        let jwt = |from: &str| filter(&format!("auth: {{type: jwt, secret: s, from: '{from}'}}"));
        let config = GatewayConfig {
            server: ServerConfig::default(),
            listeners: Vec::new(),
            upstreams: Vec::new(),
            routes: Vec::new(),
            global_filters: vec![jwt("query:t"), jwt("query:sign in"), jwt("cookie:c"), jwt("query:t")],
        };
        let parameters = CredentialParameters::of(&config);
        for (query, shown) in [
            ("", ""),
            ("a=1&b", "a=1&b"),
            ("a=1&t=secret&b=2", "a=1&t=***&b=2"),
            ("t=secret&t=again", "t=***&t=***"),
            ("%74=secret", "%74=***"),
            ("sign%20in=secret", "sign%20in=***"),
            ("access_token=secret", "access_token=***"),
            ("t", "t=***"),
            ("c=1&tt=2&a=t", "c=1&tt=2&a=t"),
        ] {
            assert_eq!(parameters.mask(query), shown, "{query}");
        }
    }
}
