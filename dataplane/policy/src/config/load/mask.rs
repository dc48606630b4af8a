//! A config's text for other eyes: what is secret in it is masked, everything else stays as it was written.

use super::tree::{NodeId, Tree, Value};
use crate::config::leaf::MASK;
use crate::diagnostic::Span;

/// In the settings of an `auth`, at any depth.
const SECRET_KEYS: [&str; 4] = ["secret", "key", "jwks", "hash"];

/// In the settings of a `tracing`: every value below it.
const SECRET_HEADERS: &str = "headers";

/// The text with its secrets masked; none if it is no YAML. A reference such as `${JWT_SECRET}` says where a secret is,
/// not what it is, and stays.
pub fn masked(source: &str) -> Option<String> {
    if source.trim().is_empty() {
        return Some(source.to_owned());
    }
    let (tree, _) = Tree::parse(source);
    let mut secrets: Vec<(Span, String)> = Vec::new();
    for auth in filters(&tree, tree.root?, "auth") {
        find_secrets(&tree, auth, &mut secrets);
    }
    for tracing in filters(&tree, tree.root?, "tracing") {
        if let Some(headers) = tree.entry(tracing, SECRET_HEADERS) {
            mask_all(&tree, headers, &mut secrets);
        }
    }
    secrets.sort_by_key(|(span, _)| span.start);
    // an alias is the same node once more
    secrets.dedup_by_key(|(span, _)| span.start);
    let mut text = String::with_capacity(source.len());
    let mut rest = 0;
    for (span, mask) in secrets {
        let (start, end) = (span.start as usize, span.end as usize);
        // a block ends with its line break, which separates it from what follows
        let written = source.get(start..end)?.trim_end();
        text.push_str(source.get(rest..start)?);
        text.push_str(&mask);
        rest = start + written.len();
    }
    text.push_str(source.get(rest..)?);
    Some(text)
}

/// The settings of every filter of a kind, of all routes and of each.
fn filters(tree: &Tree<'_>, root: NodeId, kind: &str) -> Vec<NodeId> {
    let routes = tree.entry(root, "routes").map(|routes| tree.items(routes)).unwrap_or_default();
    let of_routes = routes.into_iter().filter_map(|route| tree.entry(route, "filters"));
    of_routes
        .chain(tree.entry(root, "global_filters"))
        .flat_map(|filters| tree.items(filters))
        .filter_map(|filter| tree.entry(filter, kind))
        .collect()
}

fn find_secrets(tree: &Tree<'_>, id: NodeId, secrets: &mut Vec<(Span, String)>) {
    match &tree.node(id).value {
        Value::Scalar(_) => {}
        Value::List(items) => items.iter().for_each(|edge| find_secrets(tree, edge.node, secrets)),
        Value::Map(entries) => {
            for entry in entries {
                let node = tree.node(entry.edge.node);
                match &node.value {
                    Value::Scalar(scalar) if SECRET_KEYS.contains(&&*entry.key) => {
                        secrets.extend(mask(&scalar.text).map(|mask| (node.span, mask)));
                    }
                    _ => find_secrets(tree, entry.edge.node, secrets),
                }
            }
        }
    }
}

fn mask_all(tree: &Tree<'_>, id: NodeId, secrets: &mut Vec<(Span, String)>) {
    let node = tree.node(id);
    match &node.value {
        Value::Scalar(scalar) => secrets.extend(mask(&scalar.text).map(|mask| (node.span, mask))),
        Value::List(items) => items.iter().for_each(|edge| mask_all(tree, edge.node, secrets)),
        Value::Map(entries) => entries.iter().for_each(|entry| mask_all(tree, entry.edge.node, secrets)),
    }
}

/// What to write in a secret's place, in quotes since a plain `*` begins an alias; none if it is only a reference.
fn mask(text: &str) -> Option<String> {
    let whole = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
    let Some(inside) = whole.filter(|inside| !inside.contains('}')) else {
        return Some(format!("\"{MASK}\""));
    };
    // the default is a secret itself
    inside.split_once(":-").map(|(name, _)| format!("\"${{{name}:-{MASK}}}\""))
}

#[cfg(test)]
mod tests {
    use super::masked;

    fn config(auth: &str) -> String {
        format!("# why\nroutes:\n  - name: a\n    prefix: /a\n    filters:\n      - auth: {auth}\n")
    }

    fn masks(auth: &str, shown: &str) {
        assert_eq!(masked(&config(auth)).as_deref(), Some(config(shown).as_str()));
    }

    #[test]
    fn every_way_of_writing_a_secret_is_masked_and_nothing_else() {
        masks("{type: jwt, secret: hunter2} # s", "{type: jwt, secret: \"***\"} # s");
        masks("{type: jwt, secret: 'hunter2'}", "{type: jwt, secret: \"***\"}");
        masks("{type: jwt, secret: \"hunter2\"}", "{type: jwt, secret: \"***\"}");
        masks("{type: jwt, secret: 'x${A}'}", "{type: jwt, secret: \"***\"}");
        masks("{type: jwt, secret: '${A}${B:-c}'}", "{type: jwt, secret: \"***\"}");
        masks(
            "{type: apikey, keys: [{name: key, key: k1}, {name: b, key: k2}]}",
            "{type: apikey, keys: [{name: key, key: \"***\"}, {name: b, key: \"***\"}]}",
        );
        masks(
            "{type: basic, users: [{name: ops, hash: $2b$12$x}]}",
            "{type: basic, users: [{name: ops, hash: \"***\"}]}",
        );
    }

    #[test]
    fn what_a_collector_is_sent_with_every_batch_is_masked() {
        let tracing = |headers: &str| {
            format!("routes: []\nglobal_filters:\n  - tracing: {{sample: 1, headers: {{{headers}}}}}\n")
        };
        let shown = masked(&tracing("x-key: hunter2, x-env: '${KEY}', x-two: 'a ${KEY}'"));
        let expected = tracing("x-key: \"***\", x-env: '${KEY}', x-two: \"***\"");
        assert_eq!(shown, Some(expected));
    }

    #[test]
    fn references_stay_and_their_defaults_do_not() {
        masks("{type: jwt, secret: '${JWT}'}", "{type: jwt, secret: '${JWT}'}");
        masks("{type: jwt, secret: '${file:/run/jwt}'}", "{type: jwt, secret: '${file:/run/jwt}'}");
        masks("{type: jwt, secret: '${JWT:-dev}'}", "{type: jwt, secret: \"${JWT:-***}\"}");
    }

    #[test]
    fn blocks_and_anchors_do_not_leak() {
        let block =
            "global_filters:\n  - auth:\n      type: jwt\n      secret: |\n        hunter2\nroutes: []\n";
        let shown = masked(block).expect("yaml");
        assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
        let anchored =
            "global_filters:\n  - auth: {type: jwt, secret: &s hunter2}\n  - auth: {type: jwt, secret: *s}\n";
        let shown = masked(anchored).expect("yaml");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(crate::config::load::masked(&shown).is_some(), "it is still YAML: {shown}");
    }

    #[test]
    fn what_is_no_yaml_is_not_shown() {
        assert_eq!(masked("routes: [{auth: {secret: hunter2}"), None);
        assert_eq!(masked(""), Some(String::new()));
    }
}
