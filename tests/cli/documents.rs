//! get, list, delete, stats, check, compact.

use crate::command::{NOTES, Place, with_input};

#[test]
fn get_prints_a_document() {
    let place = Place::with_notes();
    let ran = place.run("get rainbow").exits(0);
    assert!(ran.out.starts_with("rainbow  Rainbow\n"), "{}", ran.out);
    assert!(ran.out.contains("red at about 42 degrees."), "{}", ran.out);
    assert_eq!(ran.err, "");
}

#[test]
fn get_gives_back_what_was_ingested() {
    let place = Place::with_notes();
    let notes = std::fs::read_to_string(NOTES).expect("the sample collection");
    for line in notes.lines().step_by(17) {
        let note: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let id = note["id"].as_str().expect("a string");
        let document = place.run_args(["get", id, "--json"]).exits(0).object();
        assert_eq!(document["id"], note["id"]);
        assert_eq!(document["text"], note["text"]);
        assert_eq!(document["title"], note["title"]);
        assert_eq!(document["fields"]["topic"], note["topic"]);
        assert_eq!(document["fields"].get("year"), note.get("year"));
        assert!(document["source"].is_string(), "{document}");
        assert_eq!(
            place.run_args(["get", id, "--text"]).exits(0).out,
            note["text"].as_str().expect("a string")
        );
    }
}

#[test]
fn an_unknown_id_exits_1_and_the_known_are_printed() {
    let place = Place::with_notes();
    let ran = place
        .run("get rainbow no-such-note lever --json")
        .exits(1)
        .says(&["no-such-note"]);
    let ids: Vec<_> = ran
        .objects()
        .iter()
        .map(|document| document["id"].clone())
        .collect();
    assert_eq!(ids, ["rainbow", "lever"]);
}

#[test]
fn list_names_every_document_once() {
    let place = Place::with_notes();
    let all = place.run("list --json").exits(0).objects();
    let notes = std::fs::read_to_string(NOTES).expect("the sample collection");
    assert_eq!(all.len(), notes.lines().count());
    let mut ids: Vec<_> = all
        .iter()
        .filter_map(|object| object["id"].as_str())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len());
    let part = place
        .run("list --json --limit 5 --offset 10")
        .exits(0)
        .objects();
    assert_eq!(part, all[10..15]);
    let people = place.run("list --limit 1").exits(0).out;
    assert!(people.contains(" B  b-tree  B-tree"), "{people}");
}

#[test]
fn an_empty_list_exits_1() {
    let ran = Place::with_notes()
        .run("list --offset 1000")
        .exits(1)
        .says(&["99 documents"]);
    assert_eq!(ran.out, "");
}

#[test]
fn collections_are_listed_and_kept_apart() {
    let place = Place::with_notes();
    place.write("a.txt", "A ship in a bottle.");
    place.run("ingest a.txt -c other -q").exits(0);
    let collections = place.run("list --collections --json").exits(0).objects();
    assert_eq!(
        collections,
        [
            serde_json::json!({"collection": "default", "documents": 99, "passages": 99}),
            serde_json::json!({"collection": "other", "documents": 1, "passages": 1}),
        ]
    );
    assert_eq!(
        place
            .run("query rainbow -c other --json")
            .exits(0)
            .objects()
            .len(),
        1
    );
    place
        .run("query x -c nowhere")
        .fails_saying(&["nowhere", "default, other"]);
}

#[test]
fn a_deleted_document_is_gone() {
    let place = Place::with_notes();
    place
        .run("delete rainbow lever")
        .exits(0)
        .says(&["deleted 2 documents"]);
    place.run("get rainbow").exits(1);
    let hits = place.run("query rainbow --json -k 99").exits(0).objects();
    assert_eq!(hits.len(), 97);
    assert!(
        hits.iter()
            .all(|hit| hit["id"] != "rainbow" && hit["id"] != "lever")
    );
}

#[test]
fn deleting_an_unknown_id_exits_1_and_deletes_the_others() {
    let place = Place::with_notes();
    let deleted = place
        .run("delete rainbow no-such-note --json")
        .exits(1)
        .says(&["no-such-note"])
        .object();
    assert_eq!(
        deleted,
        serde_json::json!({"deleted": 1, "unknown": ["no-such-note"], "dry_run": false})
    );
    place.run("get rainbow").exits(1);
}

#[test]
fn a_dry_run_deletes_nothing() {
    let place = Place::with_notes();
    let ran = place
        .run("delete rainbow --dry-run")
        .exits(0)
        .says(&["would delete 1 document"]);
    assert_eq!(ran.out, "rainbow\n");
    place.run("get rainbow").exits(0);
}

#[test]
fn ids_to_delete_can_come_from_a_file_or_stdin() {
    let place = Place::with_notes();
    place.write("gone.txt", "rainbow\nlever\n\n");
    place
        .run("delete --from-file gone.txt")
        .exits(0)
        .says(&["deleted 2 documents"]);
    with_input(
        place.command().args(["delete", "--from-file", "-"]),
        b"salt\r\nknife\n",
    )
    .exits(0)
    .says(&["deleted 2 documents"]);
    assert_eq!(place.run("stats --json").exits(0).object()["documents"], 95);
    place
        .run("delete --from-file nowhere.txt")
        .fails_saying(&["nowhere.txt"]);
}

#[test]
fn what_matches_a_filter_is_listed_as_the_index_finds_it_and_deleted() {
    let place = Place::with_notes();
    for filter in [
        "topic = 'physics' and year < 1900",
        "not exists year",
        "level = 'advanced' and (year >= 1989 or topic in ('kitchen', 'music'))",
        "year != 1970",
        "title = 'x'",
    ] {
        let ids = |verb: &[&str]| {
            let ran = place.run_args([verb, &["--json", "--filter", filter]].concat());
            let mut ids: Vec<String> = ran
                .objects()
                .iter()
                .map(|object| object["id"].to_string())
                .collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(
            ids(&["list"]),
            ids(&["query", "anything", "-k", "99"]),
            "{filter}"
        );
    }
    place
        .run_args(["delete", "--filter", "year >>"])
        .fails_saying(&["^"]);
    let ran = place.run_args(["delete", "--filter", "topic = 'music'"]);
    ran.exits(0).says(&["deleted 6 documents"]);
    place
        .run_args(["list", "--filter", "topic = 'music'"])
        .exits(1);
    place
        .run_args(["delete", "--filter", "topic = 'music'"])
        .exits(1);
    assert_eq!(place.run("stats --json").object()["documents"], 93);
}

#[test]
fn stats_count() {
    let place = Place::with_notes();
    let stats = place.run("stats --json").exits(0).object();
    for (key, value) in [
        ("documents", 99),
        ("passages", 99),
        ("dead_passages", 0),
        ("dimension", 384),
    ] {
        assert_eq!(stats[key], value, "{key} in {stats}");
    }
    assert_eq!(
        (&stats["collection"], &stats["metric"]),
        (&"default".into(), &"cosine".into())
    );
    assert!(
        stats["bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 99 * 384),
        "{stats}"
    );
    assert_eq!(
        stats["encoder"]["fingerprint"].as_str().map(str::len),
        Some(32),
        "{stats}"
    );
    let people = place.run("stats").exits(0).out;
    assert!(people.contains("384 components, cosine"), "{people}");
}

#[test]
fn stats_measure_recall_for_each_filter() {
    let place = Place::with_notes();
    let filters = ["--filter", "year >= 1900", "--filter", "topic = 'nothing'"];
    let stats = place
        .run_args([&["stats", "--json", "--recall"], &filters[..]].concat())
        .exits(0)
        .object();
    // So few notes are scanned, and a scan misses nothing.
    let expected = |filter: serde_json::Value, found: bool| {
        let part = |part: f64| found.then_some(part);
        let low = stats["recall"][0]["low"].as_f64().expect("a number");
        serde_json::json!({
            "filter": filter, "k": 10, "recall": part(1.0), "low": part(low), "high": part(1.0),
            "queries": if found { 99 } else { 0 },
        })
    };
    let told = stats["recall"].as_array().expect("a list");
    assert_eq!(told.len(), 3, "{stats}");
    assert_eq!(told[0], expected(serde_json::Value::Null, true));
    assert_eq!(told[1], expected("year >= 1900".into(), true));
    assert_eq!(told[2], expected("topic = 'nothing'".into(), false));

    let people = place
        .run_args(
            [
                &["stats", "--recall", "--samples", "40", "-k", "5"],
                &filters[..],
            ]
            .concat(),
        )
        .exits(0)
        .out;
    for line in [
        "  recall@5   1.000 (0.912 to 1.000), 40 passages asked\n",
        "40 passages asked, where year >= 1900\n",
        "  recall@5   nothing to find, where topic = 'nothing'\n",
    ] {
        assert!(people.contains(line), "{line:?} in\n{people}");
    }
    assert_eq!(place.run("stats --json").object().get("recall"), None);
    place
        .run("stats --recall --filter year>")
        .fails_saying(&["year>"]);
    place
        .run("stats --recall --target-recall 2")
        .fails_saying(&["recall"]);
    place.run("stats --samples 5").exits(2).says(&["--recall"]);
}

#[test]
fn a_sound_database_passes_the_check() {
    let place = Place::with_notes();
    let ran = place.run("check").exits(0);
    assert!(ran.out.contains("is sound ("), "{}", ran.out);
    let report = place.run("check --json").exits(0).object();
    assert_eq!(report["problems"], serde_json::json!([]));
    assert!(
        report["bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 99 * 384),
        "{report}"
    );
}

#[test]
fn a_flipped_bit_is_found_and_exits_2() {
    let place = Place::with_notes();
    let segment = largest_file(&place.db());
    let mut bytes = std::fs::read(&segment).expect("the segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&segment, bytes).expect("the segment");
    let name = segment
        .file_name()
        .and_then(|name| name.to_str())
        .expect("UTF-8");
    let ran = place.run("check").exits(2).says(&["is damaged: 1 problem"]);
    assert!(ran.out.contains(name), "{} does not name {name}", ran.out);
    let report = place.run("check --json").exits(2).object();
    assert_eq!(
        report["problems"].as_array().map(Vec::len),
        Some(1),
        "{report}"
    );
}

#[test]
fn a_repair_names_what_is_lost_keeps_the_rest_and_exits_0() {
    let place = Place::with_notes();
    let segment = largest_file(&place.db());
    let mut bytes = std::fs::read(&segment).expect("the segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&segment, &bytes).expect("the segment");
    place.run("query x").fails_saying(&["vecdb check --repair"]);
    let again = Place::empty();
    crate::command::copy_folder(&place.db(), &again.db());

    let repaired = place.run("check --repair --json").exits(0).object();
    assert_eq!(repaired["problems"], serde_json::json!([]));
    let affected = &repaired["affected"][0];
    assert_eq!(affected["effect"], "lost");
    assert_eq!(affected["unnamed"], 0);
    let ids = affected["ids"].as_array().expect("a list");
    assert!((1..99).contains(&ids.len()), "{repaired}");
    let left = place.run("list --json").exits(0).objects();
    assert_eq!(left.len() + ids.len(), 99);
    place.run("check").exits(0).says(&["aside"]);
    place.run("check --deep").exits(0);

    let ran = again.run("check --repair").exits(0).says(&["is now"]);
    assert!(ran.out.contains("is now sound"), "{}", ran.out);
    for id in ids {
        let line = format!("\n  {}\n", id.as_str().expect("a string"));
        assert!(ran.out.contains(&line), "{}", ran.out);
    }
    let ran = again.run("check --repair").exits(0);
    assert!(ran.out.contains("is sound"), "{}", ran.out);
}

fn largest_file(folder: &std::path::Path) -> std::path::PathBuf {
    let mut folders = vec![folder.to_path_buf()];
    let mut largest = (0, folder.to_path_buf());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
            let entry = entry.expect("the folder can be listed");
            // sled's own checksums are another matter than a segment's.
            if entry.path().is_dir() && entry.file_name() != "meta" {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                let size = entry.metadata().expect("the file's size").len();
                if size > largest.0 {
                    largest = (size, entry.path());
                }
            }
        }
    }
    largest.1
}

#[test]
fn compact_merges_what_is_due_and_says_so() {
    let place = Place::empty();
    let database = vecdb::Database::options()
        .merging(vecdb::Merging::on_request())
        .open(place.db())
        .expect("opens");
    let points = database
        .create_collection("points", vecdb::CollectionOptions::vectors(2))
        .expect("a collection");
    for id in ["a", "b", "c", "d", "e"] {
        let vector = vecdb::Vector::new(vec![1.0, 2.0]).expect("finite");
        let document = vecdb::Document::new(id, "text");
        points.add_vectors([(document, vector)]).expect("adds");
        database.flush().expect("seals");
    }
    points.delete(["c"]).expect("deletes");
    drop(points);
    database.close().expect("closes");
    let stats = place.run("stats").exits(0).out;
    assert!(stats.contains("4 to be merged"), "{stats}");
    let made = place.run("compact --json").exits(0).object();
    for (name, expected) in [
        ("merges", 1),
        ("merged_segments", 4),
        ("passages", 4),
        ("dead_passages", 0),
        ("segments", 1),
    ] {
        assert_eq!(made[name], expected, "{name} of {made}");
    }
    assert_eq!(made["interrupted"], false);
    let stats = place.run("stats --json").exits(0).object();
    assert_eq!(
        (&stats["segments"], &stats["due_segments"]),
        (&1.into(), &0.into())
    );
    let again = place
        .run("compact")
        .exits(0)
        .says(&["nothing to merge", "1 segment"]);
    assert_eq!(again.out, "");
    place.run("check").exits(0);
}
