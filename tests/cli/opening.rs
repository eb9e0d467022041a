//! Databases that are missing, foreign, newer, locked, or of another encoder.

use std::path::{Path, PathBuf};

use crate::command::{NOTES, Place, copy_folder, vecdb, vecdb_args};

#[test]
fn commands_that_read_make_no_database() {
    let place = Place::empty();
    for line in [
        "query x",
        "get x",
        "list",
        "list --collections",
        "stats",
        "delete x",
        "check",
    ] {
        place
            .run(line)
            .fails_saying(&["there is no database at", "notes.vecdb"]);
        assert!(!place.db().exists(), "{line} made a database");
    }
}

#[test]
fn the_variable_names_the_database() {
    let place = Place::with_notes();
    let ran = crate::command::binary()
        .env("VECDB_DB", place.db())
        .args(["get", "rainbow", "--json"])
        .output();
    let ran = crate::command::Ran::from(ran.expect("the binary starts")).exits(0);
    assert_eq!(ran.object()["id"], "rainbow");
}

#[test]
fn a_foreign_folder_is_left_alone() {
    let place = Place::empty();
    std::fs::create_dir(place.db()).expect("a folder");
    place.write("notes.vecdb/letter.txt", "Dear reader");
    place.write("new.txt", "some text");
    for line in ["query x", "list", "stats", "check", "ingest new.txt"] {
        place.run(line).fails_saying(&["is not a vecdb database"]);
    }
    let files: Vec<_> = std::fs::read_dir(place.db())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(files, ["letter.txt"]);
}

#[test]
fn a_newer_format_is_refused_by_name_and_left_alone() {
    let place = Place::with_notes();
    let stamp = place.write("notes.vecdb/FORMAT", "vecdb 99 1\n");
    place.write("new.txt", "some text");
    for line in [
        "query x",
        "list",
        "delete rainbow",
        "ingest new.txt",
        "check",
    ] {
        place
            .run(line)
            .fails_saying(&["has format 99", "install a newer vecdb"]);
    }
    let left = std::fs::read_to_string(stamp).expect("the stamp");
    assert_eq!(left, "vecdb 99 1\n");
}

#[test]
fn a_file_is_no_database() {
    let place = Place::empty();
    place.write("notes.vecdb", "not a folder");
    place.run("list").exits(2);
}

#[test]
fn a_second_writer_is_told_who_holds_the_database_and_readers_are_not_kept_out() {
    let place = Place::with_notes();
    place.write("new.txt", "some text");
    let held = vecdb::Database::open(place.db()).expect("the database opens");
    place.run("ingest new.txt").fails_saying(&[
        "is open for writing in another process",
        &std::process::id().to_string(),
    ]);
    place
        .run("delete rainbow")
        .fails_saying(&["is open for writing in another process"]);
    for line in [
        "get rainbow",
        "query rainbow",
        "list",
        "list --collections",
        "stats",
        "stats --recall",
        "delete rainbow --dry-run",
    ] {
        place.run(line).exits(0);
    }
    held.close().expect("the database closes");
    place.run("delete rainbow").exits(0);
}

#[test]
fn a_model_folder_without_a_tokenizer_is_named() {
    let place = Place::with_notes();
    let model = place.path("model");
    copy_folder(&model_folder(), &model);
    std::fs::remove_file(model.join("tokenizer.json")).expect("the tokenizer");
    let model = model.to_str().expect("UTF-8");
    place
        .run_args(["query", "x", "--model", model])
        .fails_saying(&[model, "tokenizer.json"]);
}

#[test]
fn a_collection_of_another_encoder_is_not_queried() {
    let place = Place::with_notes();
    let model = place.path("model");
    copy_folder(&model_folder(), &model);
    let pooling = model.join("1_Pooling").join("config.json");
    let config = std::fs::read_to_string(&pooling).expect("the pooling settings");
    let other = config
        .replace(
            "\"pooling_mode_mean_tokens\": true",
            "\"pooling_mode_mean_tokens\": false",
        )
        .replace(
            "\"pooling_mode_cls_token\": false",
            "\"pooling_mode_cls_token\": true",
        );
    assert_ne!(config, other, "the settings are as the test expects");
    std::fs::write(&pooling, other).expect("the pooling settings");
    let model = model.to_str().expect("UTF-8");
    let words = ["was made by encoder", "\"default\""];
    place
        .run_args(["query", "x", "--model", model])
        .fails_saying(&words);
    place.write("new.txt", "some text");
    place
        .run_args(["ingest", "new.txt", "--model", model])
        .fails_saying(&words);
    // What needs no encoder goes on.
    place
        .run_args(["get", "rainbow", "--model", model])
        .exits(0);
}

#[test]
fn a_missing_runtime_is_named_with_the_way_out() {
    let place = Place::with_notes();
    let ran = place
        .run("query x --runtime /no/such/libonnxruntime.so")
        .fails_saying(&["ONNX Runtime", "vecdb setup"]);
    assert!(
        ran.err.contains("/no/such/libonnxruntime.so"),
        "{}",
        ran.err
    );
}

#[test]
fn a_database_can_be_moved() {
    let place = Place::with_notes();
    let elsewhere = place.path("elsewhere.vecdb");
    std::fs::rename(place.db(), &elsewhere).expect("the folder moves");
    let ran = vecdb("get rainbow --json --db", [elsewhere.as_path()]).exits(0);
    assert_eq!(ran.object()["id"], "rainbow");
    vecdb("ingest --db", [elsewhere.as_path(), Path::new(NOTES)]).exits(0);
}

fn model_folder() -> PathBuf {
    let doctor = vecdb_args(["doctor", "--json"]).exits(0).object();
    PathBuf::from(
        doctor["model"]["folder"]
            .as_str()
            .expect("the model's folder"),
    )
}

#[test]
fn an_ingestion_without_an_encoder_leaves_nothing_behind() {
    let place = Place::empty();
    place.write("a.txt", "a text");
    place
        .run("ingest a.txt --model nowhere")
        .fails_saying(&["nowhere"]);
    assert!(!place.db().exists());
}
