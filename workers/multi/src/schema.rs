//! The JSON Schema of pipelines, for editors and for whoever writes them by program.

use std::process::ExitCode;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use crate::pipeline::schema;

pub(crate) const EXAMPLES: &str = "\
Examples:
  For an editor that checks as one types:
    multi-worker schema > pipeline.schema.json
    sed -i '1i # yaml-language-server: $schema=pipeline.schema.json' pipeline.yaml";

/// Where the schema is to be had.
const ID: &str = "https://longshore.dev/pipeline.schema.json";

/// The schema as `docs/pipeline.schema.json` holds it and `multi-worker schema` prints it.
pub fn text() -> String {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(unwrapped));
    let mut schema = schema(settings.into_generator());
    schema.insert("$id".into(), ID.into());
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    text
}

/// Prints the schema.
pub fn main() -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(contract::exit::IO),
    }
}

/// Descriptions are wrapped where the code is, and not by meaning.
fn unwrapped(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Pipeline;

    const SHIPPED: &str = include_str!("../../../docs/pipeline.schema.json");
    const FACES: &str = include_str!("render/golden/faces.yaml");

    #[test]
    fn the_schema_that_is_shipped_is_of_this_code() {
        if SHIPPED != text() {
            let beside = std::env::temp_dir().join("pipeline.schema.json");
            std::fs::write(&beside, text()).expect("written");
            panic!("docs/pipeline.schema.json is another; compare with {}", beside.display());
        }
    }

    /// As somebody else's validator has it, which an editor uses.
    fn is_valid(text: &str) -> bool {
        let schema: Value = serde_json::from_str(SHIPPED).expect("JSON");
        let validator = jsonschema::draft202012::new(&schema).expect("a schema");
        let instance: Value = serde_saphyr::from_str(text).expect("YAML");
        validator.is_valid(&instance)
    }

    #[test]
    fn schema_and_parser_agree() {
        let told = Pipeline::parse(FACES, "faces.yaml").expect("a pipeline").to_text();
        assert!(is_valid(FACES) && is_valid(&told));
        let needs = "    needs: [detect]\n";
        for (line, valid) in [
            ("timeout: 1h 30m", true),
            ("timeout: 90", false),
            ("timeuot: 1h", false),
            ("retries: {limit: 2, backoff: 1s, maxBackoff: 30s, on: [75, OOMKilled]}", true),
            ("retries: {limit: 2, on: [OomKilled]}", false),
            ("retries: {limit: 2, on: [256]}", false),
            ("retries: {backoff: 1s}", false),
            ("permanentExit: [0]", false),
            ("onError: continue", true),
            ("onError: ignore", false),
            ("when: always", true),
            ("env: {DEPTH: 3, VERBOSE: true}", true),
            ("args: [--depth, 3]", true),
            ("args: [[a]]", false),
            ("container: {resources: {}}", true),
            ("container: [a]", false),
        ] {
            let text = FACES.replacen(needs, &format!("{needs}    {line}\n"), 1);
            assert_ne!(text, FACES);
            assert_eq!(is_valid(&text), valid, "the schema on {line}");
            assert_eq!(Pipeline::parse(&text, "x").is_ok(), valid, "the parser on {line}");
        }
        assert!(!is_valid(&FACES.replacen("name: faces", "name: Faces", 1)));
        assert!(!is_valid(&FACES.replacen("kind: Pipeline\n", "", 1)));
    }
}
