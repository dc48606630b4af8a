//! Starts gatewayctl.

use std::process::ExitCode;

// `gatewayctl dev` serves traffic in this process
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gatewayctl::main()
}
