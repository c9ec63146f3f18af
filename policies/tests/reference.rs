//! The policy reference for users agrees with the language.

use ringfence_policy::{PACKS, Policy};

const PAGE: &str = include_str!("../../docs/policy.md");

/// Every name of a property in the schema's sections.
fn keys(schema: &serde_json::Value) -> Vec<String> {
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .flat_map(|(name, inner)| [vec![name.clone()], keys(inner)].concat())
        .collect()
}

#[test]
fn every_key_is_on_the_page() {
    let schema = serde_json::from_str(&ringfence_policy::schema()).unwrap();
    for key in keys(&schema) {
        let as_key = [
            format!("`{key}."),
            format!("`{key}`"),
            format!(".{key}`"),
            format!("[[{key}]]"),
            format!("{{ {key}"),
            format!(", {key}"),
        ];
        assert!(
            as_key.iter().any(|form| PAGE.contains(form.as_str())) || PAGE.contains(&format!("## {key}\n")),
            "{key}"
        );
    }
    for (pack, _) in PACKS {
        assert!(PAGE.contains(&format!("| `{pack}` |")), "{pack}");
    }
}

#[test]
fn every_example_on_the_page_is_a_policy() {
    let examples: Vec<&str> =
        PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 4);
    for example in examples {
        let parsed = Policy::parse("docs/policy.md", example)
            .unwrap_or_else(|findings| panic!("{findings}\n{example}"));
        assert!(parsed.warnings.is_empty());
    }
}
