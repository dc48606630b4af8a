//! Whether this program is built with frame pointers, without which a profile would name the wrong functions.

use std::env;

fn main() {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    println!("cargo::rustc-check-cfg=cfg(frame_pointers)");
    if flags.replace('\x1f', " ").contains("force-frame-pointers") {
        println!("cargo::rustc-cfg=frame_pointers");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
