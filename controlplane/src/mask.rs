//! What a config may show of itself: secrets are masked in everything that is given out for reading.

use bytes::Bytes;
use policy::config::leaf::MASK;
use policy::config::load;
use prost::Message as _;
use proto::v1::{self, auth::Scheme, filter::Kind, jwt_auth::Keys};

/// The text of a version with its secrets masked.
pub(crate) fn masked_source(source: &str) -> String {
    load::masked(source).unwrap_or_else(|| "# this text is not YAML and may hold secrets\n".to_owned())
}

/// The current table, masked once for each version.
#[derive(Debug, Default)]
pub(crate) struct MaskedTable {
    sha256: String,
    table: Bytes,
}

impl MaskedTable {
    pub(crate) fn of(&mut self, current: &v1::Snapshot) -> Vec<u8> {
        if self.sha256 != current.sha256 {
            self.table = masked_table(&current.table);
            self.sha256.clone_from(&current.sha256);
        }
        self.table.clone().into()
    }
}

fn masked_table(table: &Bytes) -> Bytes {
    // a table that does not decode cannot be told from one with secrets in it; it also cannot become current
    let Ok(mut table) = v1::RouteTable::decode(table.clone()) else { return Bytes::new() };
    let of_routes = table.routes.iter_mut().flat_map(|route| &mut route.filters);
    for filter in of_routes.chain(&mut table.global_filters) {
        match &mut filter.kind {
            Some(Kind::Auth(v1::Auth { scheme: Some(scheme) })) => mask(scheme),
            Some(Kind::Tracing(v1::Tracing { headers, .. })) => {
                headers.iter_mut().for_each(|header| MASK.clone_into(&mut header.value));
            }
            _ => {}
        }
    }
    table.encode_to_vec().into()
}

fn mask(scheme: &mut Scheme) {
    match scheme {
        // every field by its name, so that a new one is thought about here
        Scheme::Jwt(v1::JwtAuth {
            keys,
            exclude_paths: _,
            algorithms: _,
            issuers: _,
            audiences: _,
            leeway_ms: _,
            require_exp: _,
            required_claims: _,
            claims_to_headers: _,
            from: _,
            forward: _,
        }) => mask_keys(keys),
        Scheme::Apikey(v1::ApiKeyAuth { header: _, keys, exclude_paths: _ }) => {
            for v1::ApiKey { name: _, key } in keys {
                MASK.clone_into(key);
            }
        }
        Scheme::Basic(v1::BasicAuth { users, realm: _, exclude_paths: _ }) => {
            for v1::BasicUser { name: _, hash } in users {
                MASK.clone_into(hash);
            }
        }
    }
}

/// Public keys may be seen; a JWK set may hold shared ones (`kty: oct`) and is then shown as what it is, a secret.
fn mask_keys(keys: &mut Option<Keys>) {
    let is_secret = match keys {
        Some(Keys::Secret(_)) => true,
        Some(Keys::Jwks(set)) => set.contains("oct"),
        Some(Keys::PublicKey(_) | Keys::JwksUrl(_)) | None => false,
    };
    if is_secret {
        *keys = Some(Keys::Secret(MASK.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::config::GatewayConfig;

    #[test]
    fn a_table_is_shown_without_its_secrets_and_still_decodes() {
        let config: GatewayConfig = serde_json::from_value(serde_json::json!({
            "routes": [{"name": "r", "prefix": "/", "targets": [{"addr": "http://127.0.0.1:9"}],
                "filters": [{"auth": {"type": "apikey", "keys": [{"name": "alice", "key": "hunter2"}]}}]}],
            "global_filters": [
                {"auth": {"type": "jwt", "secret": "hunter3"}},
                {"auth": {"type": "basic", "users": [{"name": "ops", "hash":
                    "$2a$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi"}]}},
                {"tracing": {"headers": {"x-api-key": "hunter4"}}},
            ],
        }))
        .unwrap();
        let policy::snapshot::Encoded { table, sha256 } = policy::snapshot::encode(&config);
        let current = v1::Snapshot { table, sha256, version: 1, ..v1::Snapshot::default() };
        let shown = MaskedTable::default().of(&current);
        let text = String::from_utf8_lossy(&shown);
        assert!(!text.contains("hunter") && !text.contains("WvvTPHK") && text.contains("alice"), "{text}");
        let decoded = policy::snapshot::decode_table(&shown).unwrap();
        assert_eq!(decoded.routes[0].filters.len(), 1);
    }

    #[test]
    fn a_source_that_is_no_yaml_is_not_shown() {
        assert!(!masked_source("auth: {secret: hunter2").contains("hunter2"));
    }
}
