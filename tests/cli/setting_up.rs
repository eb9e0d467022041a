//! setup, doctor, demo.

use crate::command::{Place, vecdb, vecdb_args, with_input};

#[test]
fn the_demo_answers_its_questions() {
    let ran = vecdb_args(["demo"])
        .exits(0)
        .says(&["added 99 passages of 99 documents"]);
    for id in ["photosynthesis", "migration", "maillard", "write-ahead-log"] {
        assert!(
            ran.out.contains(&format!("  {id}  ")),
            "{id} is not among the hits:\n{}",
            ran.out
        );
    }
    assert!(ran.out.contains("Next:"), "{}", ran.out);
}

#[test]
fn the_demo_s_database_can_be_kept() {
    let place = Place::empty();
    let hits = place.run("demo --json").exits(0).objects();
    assert_eq!(hits.len(), 8);
    assert!(
        hits[0]["query"].is_string()
            && hits[0]["filter"].is_null()
            && hits[7]["filter"].is_string()
    );
    assert!(
        hits[6..]
            .iter()
            .all(|hit| hit["fields"]["topic"] == "databases")
    );
    assert_eq!(place.run("stats --json").exits(0).object()["documents"], 99);
    place.run("demo").exits(0).says(&["99 unchanged"]);
}

#[test]
fn the_demo_leaves_the_user_s_own_database_alone() {
    let place = Place::empty();
    let ran = crate::command::binary()
        .env("VECDB_DB", place.db())
        .arg("demo")
        .output()
        .expect("the binary starts");
    crate::command::Ran::from(ran).exits(0);
    assert!(!place.db().exists());
    // Named on the command line it is used, whatever the variable says.
    let ran = crate::command::binary()
        .env("VECDB_DB", place.path("other.vecdb"))
        .args(["demo", "--db"])
        .arg(place.db())
        .output()
        .expect("the binary starts");
    crate::command::Ran::from(ran).exits(0);
    assert!(place.db().exists() && !place.path("other.vecdb").exists());
}

#[test]
fn the_doctor_finds_nothing_wrong() {
    let report = vecdb_args(["doctor", "--json"]).exits(0).object();
    assert_eq!(report["problems"], serde_json::json!([]));
    assert_eq!(report["model"]["dimension"], 384);
    assert!(
        report["self_test"]["tokens_per_second"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0),
        "{report}"
    );
    let people = vecdb_args(["doctor"]).exits(0).out;
    assert!(
        people.contains(report["runtime"]["version"].as_str().expect("the version")),
        "{people}"
    );
}

#[test]
fn the_doctor_names_what_is_missing_and_exits_2() {
    let place = Place::empty();
    let report = vecdb("doctor --json --model", [place.path("no-model").as_path()])
        .exits(2)
        .object();
    assert!(report["model"].is_null(), "{report}");
    assert!(
        report["problems"]
            .as_array()
            .is_some_and(|problems| problems
                .iter()
                .any(|problem| problem.to_string().contains("no-model"))),
        "{report}"
    );
}

#[test]
fn a_second_set_up_changes_nothing() {
    let report = vecdb_args(["setup", "--json"]).exits(0).object();
    assert_eq!(report["changes"], serde_json::json!([]));
    let ran = vecdb_args(["setup"]).exits(0);
    assert!(
        ran.out.starts_with(&format!(
            "ONNX Runtime {}",
            report["runtime_version"].as_str().expect("the version")
        )),
        "{}",
        ran.out
    );
}

#[test]
fn a_model_folder_that_is_none_is_refused() {
    let place = Place::empty();
    std::fs::create_dir(place.path("hollow")).expect("a folder");
    vecdb("setup --model", [place.path("hollow").as_path()])
        .exits(2)
        .says(&["vecdb: the model folder ", "hollow cannot be used"]);
}

#[test]
fn the_model_is_written_for_other_programs_and_nothing_is_overwritten() {
    let place = Place::with_notes();
    let folder = place.path("exported");
    let export = || vecdb_args(["model".as_ref(), "export".as_ref(), folder.as_os_str()]);
    export().exits(0);
    for file in ["model.onnx", "tokenizer.json", "config.json"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    export().fails_saying(&["model.onnx"]);
}

#[test]
fn a_device_or_precision_that_cannot_be_had_is_said_and_what_runs_is_told() {
    let place = Place::with_notes();
    if !cfg!(feature = "cuda") {
        place
            .run("query text --device cuda")
            .fails_saying(&["device \"cuda\" cannot be used", "--features cuda"]);
    }
    place
        .run("query text --device gpu")
        .exits(2)
        .says(&["\"gpu\"", "tensorrt"]);
    place
        .run("query text --precision f16 --device cpu")
        .fails_saying(&["precision f16"]);
    place
        .run("query text --device-memory much")
        .exits(2)
        .says(&["a size is a number of bytes"]);
    place.run("query 'rivers' --precision int8").exits(0);
    let told = place.run("stats --device cpu").exits(0).out;
    assert!(told.contains("runs on    CPU"), "{told}");
    let stats = place.run("stats --json --device cpu").exits(0).object();
    assert_eq!(stats["provider"], "CPU");
}

#[test]
fn the_runtime_reports_to_nobody_and_leaves_the_home_folder_alone() {
    let doctor = vecdb_args(["doctor", "--json"]).exits(0).object();
    let data = doctor["home"].as_str().expect("the data folder");
    let place = Place::with_notes();
    let home = place.path("home");
    std::fs::create_dir(&home).expect("made");
    let mut command = place.command();
    for name in ["ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI"] {
        command.env_remove(name);
    }
    command.env("HOME", &home).env("VECDB_HOME", data);
    with_input(command.args(["query", "ship"]), b"").exits(0);
    // ONNX Runtime's telemetry writes an identifier of the device here, and what it has not sent yet.
    assert_eq!(std::fs::read_dir(&home).expect("listed").count(), 0);
}
