//! The house's rule: families meet at the contract and nowhere else, and heavy clients live in one crate each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use longshore_tests::programs::root;

/// Which room of the house a crate of ours stands in, by its folder.
fn room(folder: &str) -> &'static str {
    match folder {
        "contract" => "contract",
        "process" => "process",
        "sidecar" => "sidecar",
        "manager" => "manager",
        "ambassadors/kit" => "ambassadors/kit",
        "workers/kit" => "workers/kit",
        "workers/stage" => "workers/stage",
        "tests" | "tests/servers" => "tests",
        "benches" => "benches",
        _ if folder.starts_with("storage") => "storage",
        _ if folder.starts_with("ambassadors/") => "ambassador",
        _ if folder.starts_with("workers/") => "worker",
        _ => "unknown",
    }
}

/// What a room may depend on. Anything absent here is forbidden; tests are free.
fn allowed(from: &str) -> &'static [&'static str] {
    match from {
        "storage" => &["contract", "sidecar", "storage"],
        "ambassadors/kit" => &["contract", "sidecar"],
        "ambassador" => &["ambassadors/kit", "contract", "sidecar", "storage"],
        "workers/kit" => &["contract", "process", "sidecar", "storage"],
        "workers/stage" => &["contract", "process", "sidecar"],
        "worker" => &["workers/kit", "workers/stage", "contract", "process", "sidecar", "storage"],
        "manager" => &["contract", "process", "sidecar"],
        // Sources are asked in the process of the test, by the kit's door for all of them.
        "tests" => &["ambassadors/kit", "contract", "tests"],
        // What it is measured against may be a source of its own, served as all are.
        "benches" => &["ambassadors/kit", "contract", "sidecar", "storage", "tests"],
        _ => &[],
    }
}

/// Crates that only one of ours may link, directly. What no user gets, the servers of the tests, may look at a store with its
/// client too.
const HEAVY: [(&str, &str); 6] = [
    ("rusqlite", "queue-manager"),
    ("rdkafka", "kafka-ambassador"),
    ("lapin", "rabbitmq-ambassador"),
    ("redis", "redis-ambassador"),
    ("kube", "manager-kubernetes"),
    ("aws-sdk-s3", "storage-s3"),
];

/// Crates that must be nowhere in what a crate of ours pulls in.
const NEVER: [(&str, &[&str]); 3] = [
    ("contract", &["axum", "clap", "rusqlite", "aws-config", "aws-sdk-s3"]),
    ("process", &["axum", "clap", "serde", "reqwest"]),
    ("queue-manager", &["aws-config", "aws-sdk-s3"]),
];

fn violations(edges: &[(String, String, String)]) -> Vec<String> {
    // An edge is (crate, its folder, what it depends on: a folder of ours or the name of a crate of others).
    let mut found = Vec::new();
    for (krate, folder, on) in edges {
        let owner = HEAVY.iter().find(|(heavy, owner)| heavy == on && owner != krate);
        if let Some((_, owner)) = owner.filter(|_| room(folder) != "tests") {
            found.push(format!("{krate} links {on}, which only {owner} may"));
        }
        if let Some(target) = on.strip_prefix("path:")
            && !allowed(room(folder)).contains(&room(target))
        {
            found.push(format!("{krate} ({folder}) depends on {target}"));
        }
    }
    found
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .other_options(["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned))
        .exec()
        .expect("cargo metadata")
}

fn direct(metadata: &Metadata) -> Vec<(String, String, String)> {
    let root = &metadata.workspace_root;
    let folder =
        |path: &cargo_metadata::camino::Utf8Path| path.strip_prefix(root).expect("in the workspace").to_string();
    let mut edges = Vec::new();
    for package in metadata.workspace_packages() {
        let own = folder(package.manifest_path.parent().expect("a folder"));
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            let on = match &dependency.path {
                Some(path) => format!("path:{}", folder(path)),
                None => dependency.name.clone(),
            };
            edges.push((package.name.to_string(), own.clone(), on));
        }
    }
    edges
}

#[test]
fn no_family_imports_another() {
    let found = violations(&direct(&metadata()));
    assert!(found.is_empty(), "forbidden dependency edges:\n  {}", found.join("\n  "));
}

#[test]
fn every_forbidden_kind_of_edge_is_found() {
    let edge = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    for bad in [
        edge("files-ambassador", "ambassadors/files", "path:workers/kit"),
        edge("script-worker", "workers/script", "path:ambassadors/kit"),
        edge("queue-manager", "manager", "path:ambassadors/kit"),
        edge("queue-manager", "manager", "path:workers/kit"),
        edge("ambassador-kit", "ambassadors/kit", "path:ambassadors/files"),
        edge("worker-kit", "workers/kit", "path:workers/script"),
        edge("files-ambassador", "ambassadors/files", "path:ambassadors/s3"),
        edge("contract", "contract", "path:sidecar"),
        edge("process", "process", "path:contract"),
        edge("worker-kit", "workers/kit", "rusqlite"),
        edge("s3-ambassador", "ambassadors/s3", "aws-sdk-s3"),
    ] {
        assert_eq!(violations(std::slice::from_ref(&bad)).len(), 1, "{bad:?} passed");
    }
    assert_eq!(violations(&[edge("queue-manager", "manager", "rusqlite")]), Vec::<String>::new());
}

#[test]
fn what_must_stay_light_is_light() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let name: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p.name.to_string())).collect();
    for (krate, never) in NEVER {
        let start = metadata.workspace_packages().into_iter().find(|p| p.name == krate).expect("a crate of ours");
        let (mut todo, mut seen) = (vec![&start.id], BTreeSet::new());
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            let node = resolve.nodes.iter().find(|node| node.id == *id).expect("in the graph");
            todo.extend(
                node.deps
                    .iter()
                    .filter(|dep| dep.dep_kinds.iter().any(|k| k.kind != DependencyKind::Development))
                    .map(|dep| &dep.pkg),
            );
        }
        for id in seen {
            let name = name.get(id).expect("in the list");
            assert!(!never.contains(&name.as_str()), "{krate} pulls in {name}");
        }
    }
}

/// `make demo` is what people try first, and the SDK alone takes minutes to compile.
#[test]
fn the_demo_never_waits_for_a_heavy_client() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).expect("the Makefile");
    let recipe = makefile.split("\ndemo:").nth(1).expect("a target named demo");
    let build = recipe.lines().find_map(|line| line.trim().strip_prefix("cargo build ")).expect("it builds");
    let demo = pulled_in(build);
    assert!(demo.iter().any(|name| name == "ffmpeg-worker"), "{build} gives {demo:?}");
    let light = |name: &&String| !name.starts_with("aws-") && !HEAVY.iter().any(|(heavy, _)| heavy == name);
    let heavy: Vec<_> = demo.iter().filter(|name| !light(name) && *name != "rusqlite").collect();
    assert!(heavy.is_empty(), "cargo build {build} waits for {heavy:?}");

    // What users get has them.
    let worker = pulled_in("--locked -p ffmpeg-worker");
    assert!(worker.iter().any(|name| name == "storage-https"), "{worker:?}");
    assert!(worker.iter().any(|name| name == "aws-sdk-s3"), "{worker:?}");
}

/// It is copied into every image that is a stage. What it depends on is asked of a build of it alone: among the whole family's,
/// features are those that any of them wants.
#[test]
fn a_shim_speaks_to_nobody() {
    let shim = pulled_in("--locked -p stage-shim");
    for never in ["storage", "storage-https", "reqwest", "rustls", "aws-sdk-s3"] {
        assert!(!shim.contains(never), "stage-shim pulls in {never}");
    }
}

/// The crates that `cargo build` compiles when it is called with these words.
fn pulled_in(words: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(words.split_whitespace())
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(tree.status.success(), "cargo tree {words}: {}", String::from_utf8_lossy(&tree.stderr));
    let lines = String::from_utf8_lossy(&tree.stdout).into_owned();
    lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
