//! The wire between control plane, data planes and gatewayctl: `gateway.v1` messages and services, generated, and how the
//! latter two reach the first.

#[cfg(feature = "rpc")]
pub mod access;

/// `gateway.v1`, as written in `proto/gateway/v1/*.proto`.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::unwrap_used)]
    include!(concat!(env!("OUT_DIR"), "/gateway.v1.rs"));
}

/// The encoded `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
