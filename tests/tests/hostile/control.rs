//! Files that no config can be made of, each in the place of the one that is served: nothing changes, and it is said why.

use super::shown;
use std::fmt::Write as _;
use tests::client::get;
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Upstream;
use tests::wait::eventually;

/// Every level stands for nine of the one before.
fn alias_bomb() -> String {
    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..10 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        // writing to a String cannot fail
        let _ = writeln!(text, "a{level}: &a{level} [{items}]");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_file_leaves_the_fleet_as_it_is() {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let good = config::forward_all(fleet.port(), upstream.address());
    let half = good[..good.len() / 2].to_owned();
    let deep = format!(
        "{}routes: {}{}\n",
        config::server(fleet.port(), ""),
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let many = good.clone() + &(0..1000).map(|n| format!("key{n}: 1\n")).collect::<String>();
    let twice = good.clone() + &good;
    for (name, text, code) in [
        ("an alias bomb", alias_bomb(), "GW1003"),
        ("an alias of itself", "a: &a [*a]\n".to_owned(), "GW100"),
        ("a hundred MiB", "#".repeat(100 << 20), "larger than 64 MiB"),
        ("a deep nest", deep, "GW1003"),
        ("a thousand unknown keys", many, "GW1"),
        ("every key twice", twice, "GW1004"),
        ("half a file", half, "GW1"),
        ("tabs", good.replace("  ", "\t"), "GW100"),
        ("NULs", good.replace("port", "po\0rt"), "GW100"),
        ("nothing", String::new(), "GW1"),
        ("a list", "- a\n- b\n".to_owned(), "GW1"),
        ("a tag", good.replace("prefix: /", "prefix: !!python/object/apply:os.system [id]"), "GW100"),
        ("two documents", format!("{good}---\n{good}"), "GW100"),
        ("a port that is too large", good.replace(&format!("port: {}", fleet.port()), "port: 65536"), "GW1"),
        ("a weight below zero", good.replace("- addr:", "- weight: -1\n        addr:"), "GW1"),
        ("no weight", good.replace("- addr:", "- weight: 0\n        addr:"), "GW1208"),
        ("a target that is the gateway", config::forward_all(fleet.port(), fleet.address(0)), "GW1213"),
        ("the same route twice", good.clone() + &good[good.find("  - name").unwrap_or_default()..], "GW1"),
    ] {
        fleet.write_config(&text);
        eventually(&format!("{name} is refused"), async || {
            let status = fleet.status().await.map_err(|error| format!("{error:#}"))?;
            match status.config_problem {
                problem if problem.contains(code) => Ok(()),
                problem => Err(format!(
                    "{code} was to be said of {}, and {problem:.500}",
                    shown(&text.as_bytes()[..text.len().min(200)])
                )),
            }
        })
        .await;
        assert_eq!(fleet.status().await.expect("the control plane lives").current_version, 1, "{name}");
        assert_eq!(get(fleet.address(0), "/").await.expect("the gateway lives").status, 200, "{name}");
        // what is said next must be of the next file
        fleet.write_config(&good);
        eventually("the good file is taken", async || {
            match fleet.status().await.map_err(|error| format!("{error:#}"))?.config_problem {
                none if none.is_empty() => Ok(()),
                problem => Err(problem),
            }
        })
        .await;
    }
}
