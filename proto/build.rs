//! Generates the messages and services with protox, so that no system protoc is needed.

use prost::Message as _;
use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["filter", "table", "diagnostic", "orders", "status", "questions", "discovery", "admin"]
        .map(|name| format!("gateway/v1/{name}.proto"));
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let rpc = env::var_os("CARGO_FEATURE_RPC").is_some();
    tonic_prost_build::configure()
        .build_client(rpc)
        .build_server(rpc)
        .bytes("gateway.v1.Snapshot.table")
        // a table has ten thousand routes, of which few have it: what it takes, each of them would take
        .boxed("gateway.v1.Route.backend.inline")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=gateway");
    Ok(())
}
