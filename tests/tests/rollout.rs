//! From a changed file or `gatewayctl apply` to every data plane or to none, and what the operator is told.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::time::Duration;
use tests::client::get;
use tests::config;
use tests::ctl;
use tests::fleet::Fleet;
use tests::ports::lease;
use tests::upstream::Upstream;
use tests::wait::{eventually, throughout};

/// A config whose only route is `/NAME`: what a data plane runs can be asked by a request.
fn named(port: u16, target: SocketAddr, name: &str) -> String {
    config::forward_all(port, target).replace("prefix: /", &format!("prefix: /{name}"))
}

async fn serves(fleet: &Fleet, name: &str) {
    for address in fleet.addresses() {
        let reply = get(address, &format!("/{name}")).await.expect("a reply");
        assert_eq!(reply.status, 200, "{address} does not serve /{name}");
    }
}

async fn current_version(fleet: &Fleet) -> u64 {
    fleet.status().await.expect("the control plane answers").current_version
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_reaches_every_data_plane_and_writes_the_watched_file() {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(3, |port| named(port, upstream.address(), "one")).await;
    serves(&fleet, "one").await;

    let text = named(fleet.port(), upstream.address(), "two");
    let applied = fleet.apply(&text, &["-o", "json", "--note", "second"]).await.exits(0).json();
    assert_eq!((&applied["outcome"], &applied["version"]), (&"committed".into(), &2.into()));
    assert_eq!(applied["items"].as_array().map(Vec::len), Some(3));
    assert!(
        applied["items"].as_array().expect("items").iter().all(|item| item["state"] == "active"),
        "{applied}"
    );
    // no waiting here: exit 0 means that every data plane serves it
    serves(&fleet, "two").await;
    assert_eq!(fs::read_to_string(fleet.config_path()).expect("the watched file"), text);

    let again = fleet.apply(&text, &["-o", "json"]).await.exits(0).json();
    assert_eq!((&again["outcome"], &again["currentVersion"]), (&"unchanged".into(), &2.into()));

    // the watcher sees the file that apply wrote: that is no third version
    throughout(Duration::from_secs(1), "the file that apply wrote is not applied again", async || {
        match current_version(&fleet).await {
            2 => Ok(()),
            other => Err(format!("version {other}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_the_watched_file_are_picked_up_however_they_are_made() {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(2, |port| named(port, upstream.address(), "start")).await;
    let text = |name: &str| named(fleet.port(), upstream.address(), name);
    let path = fleet.config_path();
    let directory = path.parent().expect("a directory").to_owned();
    let mut version = current_version(&fleet).await;

    for round in 0..2 {
        let name = format!("renamed-{round}");
        fleet.write_config(&text(&name));
        version = fleet.settled_after(version).await;
        serves(&fleet, &name).await;

        let name = format!("truncated-{round}");
        fs::write(&path, text(&name)).expect("truncate and write");
        version = fleet.settled_after(version).await;
        serves(&fleet, &name).await;

        // what kubelet does with a ConfigMap: the file is a link through a directory that is a link and is swapped
        let unchanged = fs::read_to_string(&path).expect("the watched file");
        let swap = |data: &str, text: &str| {
            let data = directory.join(data);
            fs::create_dir(&data).expect("create a data directory");
            fs::write(data.join("gateway.yaml"), text).expect("write the data");
            symlink(&data, directory.join("..data.new")).expect("link the data");
            fs::rename(directory.join("..data.new"), directory.join("..data")).expect("swap the link");
        };
        swap(&format!("..{round}-before"), &unchanged);
        symlink("..data/gateway.yaml", directory.join("link")).expect("link the file");
        fs::rename(directory.join("link"), &path).expect("put the link in the file's place");
        let name = format!("linked-{round}");
        swap(&format!("..{round}-after"), &text(&name));
        version = fleet.settled_after(version).await;
        serves(&fleet, &name).await;
    }
}

/// Every prefix of this file is valid, so only knowing that the writer is not done keeps the halves out.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_written_file_is_never_applied() {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(1, |port| named(port, upstream.address(), "start")).await;
    let before = current_version(&fleet).await;
    let mut text = config::server(fleet.port(), "") + "routes:\n";
    for n in 0..200 {
        let _ = writeln!(
            text,
            "  - {{name: r{n}, prefix: /r{n}, targets: [{{addr: \"http://{}\"}}]}}",
            upstream.address()
        );
    }
    let half = text.lines().take(100).map(str::len).sum::<usize>() + 100;

    let mut file = fs::File::create(fleet.config_path()).expect("truncate the watched file");
    file.write_all(&text.as_bytes()[..half]).expect("write the first half");
    throughout(Duration::from_millis(1500), "half a file is not applied", async || {
        match current_version(&fleet).await {
            version if version == before => Ok(()),
            other => Err(format!("version {other}")),
        }
    })
    .await;
    file.write_all(&text.as_bytes()[half..]).expect("write the second half");
    drop(file);
    fleet.settled_after(before).await;
    serves(&fleet, "r199").await;
    assert_eq!(current_version(&fleet).await, before + 1, "one write is one version");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_config_is_refused_with_its_places_and_changes_nothing() {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(2, |port| named(port, upstream.address(), "good")).await;
    let broken = named(fleet.port(), upstream.address(), "bad")
        .replace("prefix:", "prefx:")
        .replace("drain_delay: 0s", "drain_delay: 5 parsecs");

    let refused = fleet.apply(&broken, &[]).await.exits(3);
    assert!(refused.stdout.is_empty(), "diagnostics belong on stderr: {}", refused.stdout);
    for expected in ["error[GW", "apply.yaml:3:", "apply.yaml:6:", "did you mean", "prefix", "help:"] {
        assert!(refused.stderr.contains(expected), "no {expected:?} in\n{}", refused.stderr);
    }
    assert!(!refused.stderr.contains('\x1b'), "no colour into a pipe");
    let refused = fleet.apply(&broken, &["-o", "json"]).await.exits(3).json();
    assert_eq!(refused["outcome"], "invalid");
    assert!(refused["diagnostics"].as_array().is_some_and(|all| all.len() >= 2), "all at once: {refused:#}");

    // the same by the other door
    fleet.write_config(&broken);
    eventually("the control plane tells why the file is not what runs", async || {
        let status = fleet.status().await.map_err(|error| error.to_string())?;
        if status.config_problem.is_empty() { Err("no problem told".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(current_version(&fleet).await, 1);
    serves(&fleet, "good").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_taken_on_one_of_three_changes_nothing_anywhere() {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(3, |port| named(port, upstream.address(), "good")).await;
    let other = lease(3);
    let taken = TcpListener::bind(("127.0.0.2", other.port)).expect("take the port on the second");
    let moved = named(other.port, upstream.address(), "moved");

    for arguments in [&["--dry-run"][..], &[]] {
        let refused = fleet.apply(&moved, arguments).await.exits(4);
        assert!(refused.stderr.contains("dp-2"), "names the instance:\n{}", refused.stderr);
        assert!(!refused.stderr.contains("dp-1: rejected"), "{}", refused.stderr);
        assert!(refused.stderr.contains(&other.port.to_string()), "names the port:\n{}", refused.stderr);
        let words = refused.stderr.to_lowercase();
        assert!(words.contains("in use") || words.contains("taken"), "gives the reason:\n{}", refused.stderr);
    }
    assert_eq!(current_version(&fleet).await, 1);
    fleet.settled().await;
    serves(&fleet, "good").await;
    for number in [1, 3] {
        let address = SocketAddr::new(tests::ports::loopback(number), other.port);
        eventually("the others have let go of the new port", async || TcpListener::bind(address).map(drop))
            .await;
    }
    assert!(!fs::read_to_string(fleet.config_path()).expect("the watched file").contains("moved"));

    drop(taken);
    fleet.apply(&moved, &[]).await.exits(0);
    for address in fleet.addresses() {
        let address = SocketAddr::new(address.ip(), other.port);
        assert_eq!(get(address, "/moved").await.expect("a reply").status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_and_base_version_protect_what_runs() {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(2, |port| named(port, upstream.address(), "one")).await;
    let two = named(fleet.port(), upstream.address(), "two");

    let dry = fleet.apply(&two, &["--dry-run", "-o", "json"]).await.exits(0).json();
    assert_eq!(dry["outcome"], "dry-run-ok");
    fleet.apply(&two, &["--dry-run=client"]).await.exits(0);
    assert_eq!(current_version(&fleet).await, 1);
    serves(&fleet, "one").await;

    fleet.apply(&two, &["--base-version", "1"]).await.exits(0);
    let three = named(fleet.port(), upstream.address(), "three");
    fleet.apply(&three, &["--base-version", "1"]).await.exits(6);
    serves(&fleet, "two").await;
    let current = current_version(&fleet).await.to_string();
    fleet.apply(&three, &["--base-version", &current]).await.exits(0);
    serves(&fleet, "three").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_history_and_push() {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(2, |port| named(port, upstream.address(), "one")).await;
    for name in ["two", "three"] {
        fleet.apply(&named(fleet.port(), upstream.address(), name), &["--note", name]).await.exits(0);
    }
    fleet.ctl(["rollout", "undo"]).await.exits(0);
    serves(&fleet, "two").await;
    fleet.ctl(["rollout", "undo", "--to", "1", "-o", "json"]).await.exits(0).json();
    serves(&fleet, "one").await;
    let file = fs::read_to_string(fleet.config_path()).expect("the watched file");
    assert!(file.contains("prefix: /one"), "undo writes the watched file, too:\n{file}");

    let history = fleet.ctl(["rollout", "history", "-o", "json"]).await.exits(0).json();
    let versions: Vec<_> =
        history["items"].as_array().expect("items").iter().map(|v| v["version"].as_u64()).collect();
    assert_eq!(versions, [5, 4, 3, 2, 1].map(Some), "{history:#}");
    assert_eq!(history["items"][0]["state"], "CURRENT");
    assert_eq!(history["items"][2]["note"], "three");

    let pushed = fleet.ctl(["push"]).await.exits(0);
    assert!(pushed.stdout.contains("dp-1") && pushed.stdout.contains("dp-2"), "{}", pushed.text());
    fleet.ctl(["push", "dp-2"]).await.exits(0);
    assert_ne!(fleet.ctl(["push", "dp-9"]).await.code, 0, "there is no such instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_json_answer_parses() {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(2, |port| named(port, upstream.address(), "one")).await;
    get(fleet.address(0), "/one").await.expect("a reply");
    let commands: [&[&str]; 8] = [
        &["status"],
        &["status", "routes"],
        &["status", "targets"],
        &["status", "instances"],
        &["status", "versions"],
        &["rollout", "history"],
        &["rollout", "status"],
        &["push"],
    ];
    for command in commands {
        let json = fleet.ctl(command.iter().copied().chain(["-o", "json"])).await.exits(0).json();
        assert!(json["kind"].is_string(), "{command:?}: {json:#}");
    }
    let routes = fleet.ctl(["status", "routes", "-o", "json"]).await.exits(0).json();
    assert_eq!(routes["items"][0]["name"], "all");
    let table = fleet.ctl(["status", "routes"]).await.exits(0);
    assert!(table.stdout.starts_with("ROUTE") || table.stdout.starts_with("NAME"), "{}", table.stdout);
    assert!(table.stdout.contains("all") && !table.stdout.contains('\x1b'), "{}", table.stdout);
    let names = fleet.ctl(["status", "instances", "-o", "name"]).await.exits(0);
    assert_eq!(names.stdout, "instance/dp-1\ninstance/dp-2\n");
    let schema = fleet.ctl(["schema"]).await.exits(0);
    let schema: serde_json::Value = serde_json::from_str(&schema.stdout).expect("a JSON Schema");
    assert!(schema["properties"]["routes"].is_object());
    let config = fleet.ctl(["get", "config"]).await.exits(0);
    assert!(config.stdout.contains("prefix: /one"), "{}", config.stdout);

    let path = fleet.config_path();
    let path = path.to_str().expect("UTF-8");
    fleet.ctl(["diff", "-f", path]).await.exits(0);
    let other = fleet.directory().join("other.yaml");
    fs::write(&other, named(fleet.port(), upstream.address(), "two")).expect("write a file");
    let diff = fleet.ctl(["diff", "-f", other.to_str().expect("UTF-8")]).await.exits(1);
    assert!(diff.stdout.contains("/one") && diff.stdout.contains("/two"), "{}", diff.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_not_there_is_exit_7_and_bad_usage_2() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let nobody = lease(1);
    let endpoint = format!("http://127.0.0.1:{}", nobody.port);
    for command in [&["status", "routes"][..], &["push"], &["rollout", "history"]] {
        let output = ctl::run(&endpoint, home.path(), command.iter().copied()).await.exits(7);
        assert!(output.stderr.contains(&nobody.port.to_string()), "says where it looked:\n{}", output.stderr);
    }
    ctl::run(&endpoint, home.path(), ["no-such-command"]).await.exits(2);
    ctl::run(&endpoint, home.path(), ["apply", "-f", "no-such-file.yaml"]).await.exits(2);
}

/// Nobody drops a whole fleet's routes by saving an empty file.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_replaces_a_full_one_only_when_asked() {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(1, |port| named(port, upstream.address(), "one")).await;
    let empty = config::server(fleet.port(), "") + "routes: []\n";
    let refused = fleet.apply(&empty, &[]).await;
    assert!([3, 4].contains(&refused.code), "exit {}: {}", refused.code, refused.text());
    serves(&fleet, "one").await;
    fleet.apply(&empty, &["--allow-empty"]).await.exits(0);
    assert_eq!(get(fleet.address(0), "/one").await.expect("a reply").status, 404);
}
