//! Every drill of docs/drills.md still shows its signal and still ends well.

use std::process::Command;
use tests::binaries::binary;

fn drill(name: &str) {
    // builds what the drill starts; the drill itself is there already
    binary("controlplane");
    let output = Command::new(env!("CARGO_BIN_EXE_drill"))
        .arg(name)
        .env("GATEWAY_TEST_PREBUILT", "1")
        .output()
        .unwrap_or_else(|error| panic!("cannot run drill {name}: {error}"));
    let [said, complained] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "drill {name}: {}\n{said}\n{complained}", output.status);
    for step in ["SYMPTOM ", "SIGNAL ", "CAUSE ", "DO ", "RECOVERY ", "OVER "] {
        assert!(said.lines().any(|line| line.starts_with(step)), "no {step} in drill {name}:\n{said}");
    }
}

#[test]
fn a_flood_that_fills_the_backend() {
    drill("flood");
}

#[test]
fn a_cascade_of_failures() {
    drill("cascade");
}

#[test]
fn a_reload_that_fails() {
    drill("reload");
}

#[test]
fn tokens_that_take_the_processor() {
    drill("tokens");
}

#[test]
fn load_that_is_not_spread() {
    drill("balance");
}

#[test]
fn a_health_check_that_takes_a_good_target_out() {
    drill("health");
}
