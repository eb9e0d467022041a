//! The stages know nothing of each other, and each foreign engine is named in one place.

use std::fs;
use std::path::{Path, PathBuf};

const STAGES: [&str; 4] = ["ingest", "encoder", "segment", "store"];
/// What a stage may name of this crate, beside itself.
const LEAVES: [&str; 8] = [
    "error", "document", "vector", "filter", "home", "outline", "random", "scratch",
];

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a source folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            found.push((path, code));
        }
    }
    found
}

/// Tests may use what the stage itself may not.
fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn a_stage_names_only_itself_and_the_leaves() {
    let mut checked = 0;
    for stage in STAGES {
        for (path, code) in sources(&src().join(stage))
            .into_iter()
            .filter(|(path, _)| !is_test(path))
        {
            for rest in code.split("crate::").skip(1) {
                let module: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let known = module == stage || LEAVES.contains(&module.as_str());
                // `crate::{a, b}` would hide what it names; `crate::Type` names a re-export.
                assert!(known, "{} names crate::{module}", path.display());
                checked += 1;
            }
        }
    }
    assert!(
        checked > 50,
        "only {checked} imports were seen: the test looks in the wrong place"
    );
}

#[test]
fn leaves_name_only_leaves() {
    for leaf in LEAVES {
        let file = src().join(leaf).with_extension("rs");
        let files = if file.exists() {
            vec![(file.clone(), fs::read_to_string(file).expect("UTF-8"))]
        } else {
            sources(&src().join(leaf))
        };
        for (path, code) in files {
            for rest in code.split("crate::").skip(1) {
                let module: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                assert!(
                    LEAVES.contains(&module.as_str()),
                    "{} names crate::{module}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn each_engine_is_named_in_one_place() {
    let all = sources(&src());
    for (engine, home) in [
        ("ort::", "encoder/session"),
        ("hnsw_rs::", "segment/builder/hnsw.rs"),
        ("sled::", "store/kv.rs"),
        ("bincode::", "store/codec.rs"),
        ("tantivy::", "segment/text"),
        ("unpdf::", "ingest/extract/pdf.rs"),
        ("undoc::", "ingest/extract/office.rs"),
    ] {
        check_home(&all, engine, &[home]);
    }
    // Collections go out and in by its low-level columns, and files of others come in by Arrow's.
    let homes = [
        "database/transfer/columns.rs",
        "ingest/read/arrow.rs",
        "ingest/tests/columns.rs",
    ];
    check_home(&all, "parquet::", &homes);
}

fn check_home(all: &[(PathBuf, String)], engine: &str, homes: &[&str]) {
    let named = |code: &str| {
        code.match_indices(engine)
            .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let files: Vec<&PathBuf> = all
        .iter()
        .filter(|(_, code)| named(code))
        .map(|(path, _)| path)
        .collect();
    assert!(!files.is_empty(), "{engine} is named nowhere");
    for path in files {
        let is_home = |home: &&str| path.starts_with(src().join(home));
        assert!(
            homes.iter().any(is_home),
            "{engine} is named in {}",
            path.display()
        );
    }
}

#[test]
fn every_module_file_is_in_its_folders_table() {
    for (path, _) in sources(&src())
        .iter()
        .filter(|(path, _)| path.ends_with("mod.rs") && !is_test(path))
    {
        let text = fs::read_to_string(path).expect("UTF-8");
        let folder = path.parent().expect("a folder");
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_test = name.starts_with("tests");
            if name != "mod.rs" && !is_test && (name.ends_with(".rs") || entry.path().is_dir()) {
                assert!(
                    text.contains(&format!("`{name}")),
                    "{} does not tell of {name}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_documents_name_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for document in [
        "README.md",
        "benches/README.md",
        "fuzz/README.md",
        "migrations/README.md",
        "CHANGELOG.md",
    ] {
        let text = fs::read_to_string(root.join(document)).expect("UTF-8");
        let folder = root.join(document);
        let folder = folder.parent().expect("a folder");
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(link, _)| folder.join(link));
        let quoted = text.split('`').skip(1).step_by(2).filter(|word| {
            let roots = [
                "src/",
                "tests/",
                "benches/",
                "examples/",
                "migrations/",
                ".ci/",
            ];
            roots.iter().any(|root| word.starts_with(root)) && !word.contains(char::is_whitespace)
        });
        let links = links.filter(|link| !link.to_string_lossy().contains("://"));
        // A path in backticks counts from the root, or from the document's own package.
        let from = |word: &str| {
            [root.join(word), folder.join(word)]
                .into_iter()
                .find(|path| path.exists())
        };
        let quoted = quoted.map(|word| from(word).unwrap_or_else(|| root.join(word)));
        for file in links.chain(quoted) {
            assert!(file.exists(), "{document} names {}", file.display());
            named += 1;
        }
    }
    assert!(named > 5, "only {named} names were found");
}
