//! `docs/architecture.md` speaks of the code as it is: its paths exist, its functions are where it says, and no fault point
//! of the sources is missing from its walk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use longshore_tests::programs::root;
use longshore_tests::sources;

const PAGE: &str = "docs/architecture.md";

/// What stands between backquotes, each with the text that goes before it; fenced blocks are left out.
fn spans() -> Vec<(String, String)> {
    let page = fs::read_to_string(root().join(PAGE)).expect("the page");
    let prose: String = page.split("```").step_by(2).collect();
    let parts: Vec<String> =
        prose.split('`').map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(parts.len() % 2 == 1, "a backquote is not closed");
    parts.chunks_exact(2).filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone()))).collect()
}

fn is_path(span: &str) -> bool {
    const TOP: [&str; 10] = [
        "ambassadors/",
        "contract/",
        "docs/",
        "examples/",
        "manager/",
        "process/",
        "sidecar/",
        "storage/",
        "tests/",
        "workers/",
    ];
    TOP.iter().any(|top| span.starts_with(top))
}

#[test]
fn every_path_it_names_exists() {
    let paths: BTreeSet<String> = spans().into_iter().map(|(_, span)| span).filter(|span| is_path(span)).collect();
    assert!(paths.len() > 50, "only {} paths were found on the page", paths.len());
    let missing: Vec<_> = paths.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "{PAGE} names what does not exist: {missing:?}");
}

/// A function is written `name()`, and is in the file named last before it, or in the one that follows as "in `path`".
#[test]
fn every_function_it_names_is_where_it_says() {
    let spans = spans();
    let (mut last, mut wrong, mut found) = (String::new(), Vec::new(), 0);
    for (n, (_, span)) in spans.iter().enumerate() {
        if is_path(span) {
            last.clone_from(span);
            continue;
        }
        let Some(name) = span.strip_suffix("()") else { continue };
        let next = spans.get(n + 1).filter(|(between, next)| matches!(between.as_str(), "in" | "of") && is_path(next));
        let file = next.map_or(&last, |(_, path)| path);
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        let is_defined = ["(", "<"].iter().any(|opening| text.contains(&format!("fn {name}{opening}")));
        if !is_defined {
            wrong.push(format!("{name} in {file}"));
        }
        found += 1;
    }
    assert!(found > 50, "only {found} functions were found on the page");
    assert!(wrong.is_empty(), "{PAGE} names what is not there: {wrong:#?}");
}

#[test]
fn every_fault_point_has_its_line() {
    let families = ["executor.", "files.", "kafka.", "manager.", "multi.", "s3.", "stage.", "worker."];
    let named: BTreeSet<String> = spans()
        .into_iter()
        .map(|(_, span)| span)
        .filter(|span| families.iter().any(|family| span.starts_with(family)))
        .collect();
    let points = sources::fault_points();
    assert!(points.len() > 20, "only {} fault points were found in the sources", points.len());
    let missing: Vec<_> = points.difference(&named).collect();
    assert!(missing.is_empty(), "{PAGE} does not say what a kill leaves at {missing:?}");
    let gone: Vec<_> = named.difference(&points).collect();
    assert!(gone.is_empty(), "{PAGE} speaks of fault points that no source has: {gone:?}");
}

/// The same point at two places would be killed at the first only, and its line in the table would be about both.
#[test]
fn no_two_places_share_a_fault_point() {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for path in sources::files() {
        let text = fs::read_to_string(path).expect("a source file");
        for point in sources::fault_points_of(&text) {
            *places.entry(point.to_owned()).or_default() += 1;
        }
    }
    places.retain(|_, count| *count > 1);
    assert!(places.is_empty(), "passed in more than one place: {places:?}");
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let (mut pages, mut todo) = (Vec::new(), vec![root().to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let ours = !name.starts_with('.') && !matches!(name.as_str(), "target" | "demo-out");
            if ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(path);
            } else if name.ends_with(".md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() > 10, "only {} pages were found", pages.len());
    let mut broken = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        let prose: String = text.split("```").step_by(2).collect();
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            let is_file = !target.is_empty() && !target.contains("://");
            if is_file && !page.parent().expect("it lies in a folder").join(target).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links: {broken:#?}");
}
