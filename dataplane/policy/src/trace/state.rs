//! `tracestate`: passed on as it came, or not at all.

use super::TRACESTATE;
use http::HeaderMap;

/// Section 3.3.1.1.
const MAX_MEMBERS: usize = 32;
const MAX_KEY: usize = 256;
const MAX_TENANT: usize = 241;
const MAX_SYSTEM: usize = 14;
const MAX_VALUE: usize = 256;

/// Whether all fields together are one list as section 3.3.1 has it. A key that stands twice is left to its owner: the
/// first one is what counts.
pub(super) fn is_valid(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(TRACESTATE).iter();
    let members = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    let mut members = members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty());
    (&mut members).take(MAX_MEMBERS).all(is_member) && members.next().is_none()
}

fn is_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else { return false };
    is_key(&member[..equals]) && is_value(&member[equals + 1..])
}

/// `name`, or `tenant@system`.
fn is_key(key: &[u8]) -> bool {
    let lower = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_lowercase);
    let plain = |part: &[u8]| {
        part.iter().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/')
        })
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => key.len() <= MAX_KEY && lower(key.first()) && plain(key),
        Some(at) => {
            let (tenant, system) = (&key[..at], &key[at + 1..]);
            let begins = lower(tenant.first()) || tenant.first().is_some_and(u8::is_ascii_digit);
            tenant.len() <= MAX_TENANT
                && system.len() <= MAX_SYSTEM
                && begins
                && lower(system.first())
                && plain(tenant)
                && plain(system)
        }
    }
}

/// Visible characters and spaces, but not at its end, without `,` and `=`.
fn is_value(value: &[u8]) -> bool {
    let allowed = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    (1..=MAX_VALUE).contains(&value.len()) && value.iter().all(allowed)
}
