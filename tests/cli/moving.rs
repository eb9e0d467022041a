//! export, import, snapshot, compact --purge, and the space of what is deleted.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{Place, with_input};

/// Documents of user-supplied vectors, as an export has them.
fn points(documents: u64) -> String {
    let mut lines = format!(
        "{{\"vecdb_export\":1,\"collection\":\"points\",\"metric\":\"cosine\",\"dimension\":4,\"encoder\":null,\
         \"documents\":{documents},\"vectors\":true}}\n"
    );
    for id in 0..documents {
        let text = format!(
            "text {id} {:x}",
            (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        );
        let turn = id as f64 / 100.0;
        let vector = [
            turn.sin(),
            turn.cos(),
            (turn * 7.0).sin(),
            1.0 + (id % 97) as f64,
        ]
        .map(|x| x as f32);
        let end = text.len();
        lines += &serde_json::json!({
            "id": format!("p{id}"), "text": text, "fields": {"tenth": id % 10},
            "passages": [{"start": 0, "end": end, "vector": vector}],
        })
        .to_string();
        lines.push('\n');
    }
    lines
}

fn bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries
        .map(|entry| entry.metadata().expect("a file").len())
        .sum()
}

#[test]
fn an_exported_collection_is_imported_with_its_vectors_and_answers_as_before() {
    let place = Place::with_notes();
    place
        .run("export out.jsonl --vectors")
        .exits(0)
        .says(&["exported 99 documents with 99 passages to out.jsonl"]);
    let other = |line: &str| {
        let mut command = crate::command::binary();
        command
            .current_dir(place.path(""))
            .args(line.split_whitespace())
            .arg("--db")
            .arg(place.path("b.vecdb"));
        with_input(&mut command, b"")
    };
    // Without the encoder: the vectors come along.
    let imported = other("import out.jsonl --json --model nowhere")
        .exits(0)
        .object();
    assert_eq!(
        (&imported["added"], &imported["tokens"]),
        (&99.into(), &0.into()),
        "{imported}"
    );
    let query = "query rainbow --json -k 99 --exact";
    assert_eq!(
        other(query).exits(0).objects(),
        place.run(query).exits(0).objects()
    );
    for id in ["rainbow", "b-tree"] {
        let get = format!("get {id} --json");
        assert_eq!(other(&get).exits(0).out, place.run(&get).exits(0).out);
    }
    // Known as the encoder's own: the same notes again encode nothing.
    let mut again = crate::command::binary();
    again
        .arg("ingest")
        .arg(crate::command::NOTES)
        .args(["--json", "--db"])
        .arg(place.path("b.vecdb"));
    let again = with_input(&mut again, b"").exits(0).object();
    assert_eq!(again["tokens"], 0, "{again}");
    other("import out.jsonl").exits(0).says(&["99 unchanged"]);
}

#[test]
fn without_vectors_texts_are_exported_to_stdout_and_encoded_on_import() {
    let place = Place::with_notes();
    let exported = place.run("export").exits(0);
    let lines = exported.objects();
    assert_eq!(
        (lines.len(), &lines[0]["documents"]),
        (100, &Value::from(99))
    );
    assert!(lines[1].get("passages").is_none() && lines[1]["text"].is_string());
    let mut import = place.command();
    import.args(["import", "-", "-c", "again", "--json"]);
    let imported = with_input(&mut import, exported.out.as_bytes())
        .exits(0)
        .object();
    assert_eq!(
        (&imported["added"], &imported["vectors"]),
        (&99.into(), &false.into())
    );
    assert_ne!(imported["tokens"], 0);
    let query = |collection: &str| {
        place
            .run(&format!("query rainbow --json -k 5 -c {collection}"))
            .exits(0)
            .out
    };
    assert_eq!(query("again"), query("default"));
}

#[test]
fn what_cannot_be_exported_or_imported_is_an_error_that_says_why() {
    let place = Place::with_notes();
    place
        .run("export -c nowhere")
        .fails_saying(&["nowhere", "default"]);
    place
        .run("export no/such/folder/x.jsonl")
        .fails_saying(&["cannot create", "no/such/folder"]);
    assert!(!place.path("no").exists());
    place.run("export x --format xlsx").exits(2);
    place
        .run("import nothing.jsonl")
        .fails_saying(&["cannot open nothing.jsonl"]);
    place.write("foreign.jsonl", "{\"id\": \"a\", \"text\": \"b\"}\n");
    place
        .run("import foreign.jsonl")
        .fails_saying(&["foreign.jsonl:1", "vecdb ingest"]);
    let mut export = fs::read_to_string(place.write("p.jsonl", points(5))).expect("written");
    export.truncate(export.len() - 30);
    place.write("cut.jsonl", export);
    place
        .run("import cut.jsonl")
        .fails_saying(&["cut.jsonl:6", "not a document"]);
    place
        .run("import p.jsonl -c default")
        .fails_saying(&["default", "encoder"]);
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("none.vecdb");
    crate::command::vecdb("export --db", [missing.as_path()]).fails_saying(&["no database"]);
    assert!(!missing.exists());
}

#[test]
fn the_space_of_what_is_deleted_returns_after_short_commands() {
    let place = Place::empty();
    place.write("p.jsonl", points(6_000));
    place.run("import p.jsonl -q").exits(0);
    let segments = place.db().join("segments");
    let full = bytes(&segments);
    for tenth in 0..5 {
        place
            .run_args([
                "delete",
                "-c",
                "points",
                "--filter",
                &format!("tenth = {tenth}"),
            ])
            .exits(0);
        let stats = place.run("stats -c points --json").exits(0).object();
        let count = |key: &str| {
            stats[key]
                .as_u64()
                .unwrap_or_else(|| panic!("{key} in {stats}"))
        };
        let (live, dead) = (count("passages"), count("dead_passages"));
        assert_eq!(live, 6_000 - 600 * (tenth + 1));
        assert!(dead * 5 <= live + dead, "{dead} dead beside {live}");
    }
    let left = bytes(&segments);
    assert!(left * 10 < full * 7, "{left} bytes of {full} are left");
}

#[test]
fn a_purge_proves_that_nothing_is_left_and_says_so() {
    let place = Place::empty();
    place.write("p.jsonl", points(50));
    place.run("import p.jsonl -q").exits(0);
    place.run("delete -c points p7").exits(0);
    let purged = place.run("compact --purge --json").exits(0).object();
    assert_eq!(purged["proved"], true, "{purged}");
    assert_eq!(
        (&purged["erased_documents"], &purged["stored_documents"]),
        (&1.into(), &49.into())
    );
    assert!(purged["windows"].as_u64() > Some(1), "{purged}");
    // What the user would do.
    fn grep(folder: &Path, wanted: &[u8]) -> usize {
        let entries = fs::read_dir(folder)
            .expect("a folder")
            .flatten()
            .map(|entry| entry.path());
        let count = |path: std::path::PathBuf| match path.is_dir() {
            true => grep(&path, wanted),
            false => fs::read(path)
                .expect("readable")
                .windows(wanted.len())
                .filter(|w| *w == wanted)
                .count(),
        };
        entries.map(count).sum()
    }
    let text = |id: u64| {
        format!(
            "text {id} {:x}",
            (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        )
    };
    assert_eq!(grep(&place.db(), text(7).as_bytes()), 0);
    assert!(grep(&place.db(), b"p8") > 0);
    let again = place.run("compact --purge").exits(0);
    assert!(again.out.contains("erased 0 documents"), "{}", again.out);
    // What may hold it is named, and the exit code tells.
    fs::create_dir(place.db().join("segments/old")).expect("made");
    fs::write(place.db().join("segments/old/x.seg"), text(8)).expect("written");
    let unproved = place.run("compact --purge").exits(2);
    assert!(
        unproved.out.contains("x.seg is not in use"),
        "{}",
        unproved.out
    );
}

#[test]
fn a_snapshot_is_a_database() {
    let place = Place::with_notes();
    let made = place.run("snapshot monday.vecdb --json").exits(0).object();
    assert_eq!(
        (&made["documents"], &made["complete"]),
        (&99.into(), &true.into()),
        "{made}"
    );
    place.run("delete rainbow").exits(0);
    let monday = |line: &str| {
        let mut command = crate::command::binary();
        command
            .args(line.split_whitespace())
            .arg("--db")
            .arg(place.path("monday.vecdb"));
        with_input(&mut command, b"")
    };
    monday("get rainbow").exits(0);
    assert!(monday("check").exits(0).out.contains("is sound"));
    place.run("get rainbow").exits(1);
    place
        .run("snapshot monday.vecdb")
        .fails_saying(&["monday.vecdb", "not empty"]);
    place
        .run("snapshot copied.vecdb --copy")
        .exits(0)
        .says(&["98 documents", "0 files linked"]);
}
