//! eval.

use crate::command::Place;

/// Three documents and three judged queries, each of which one document answers plainly; one query of another split.
fn beir_folder(place: &Place) {
    std::fs::create_dir_all(place.path("tiny/qrels")).expect("folders");
    place.write(
        "tiny/corpus.jsonl",
        "{\"_id\": \"d1\", \"title\": \"\", \"text\": \"Bread rises because yeast gives off gas.\"}\n\
         {\"_id\": \"d2\", \"title\": \"\", \"text\": \"The Moon raises the tides.\"}\n\
         {\"_id\": \"d3\", \"title\": \"\", \"text\": \"Locks lift ships over the hill.\"}\n",
    );
    place.write(
        "tiny/queries.jsonl",
        "{\"_id\": \"q1\", \"text\": \"why does dough grow\"}\n{\"_id\": \"q2\", \"text\": \"ebb and flow of the sea\"}\n\
         {\"_id\": \"q3\", \"text\": \"canal boats going uphill\"}\n{\"_id\": \"q9\", \"text\": \"asked by another split\"}\n",
    );
    place.write(
        "tiny/qrels/test.tsv",
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\nq3\td3\t1\n",
    );
    place.run("ingest tiny -q").exits(0);
}

#[test]
fn a_beir_folder_is_ingested_and_measured() {
    let place = Place::empty();
    beir_folder(&place);
    let result = place.run("eval tiny --json").exits(0).object();
    assert_eq!(result["queries"], 3);
    assert_eq!(
        result["measures"],
        serde_json::json!({"nDCG@10": 1.0, "MRR@10": 1.0, "Recall@100": 1.0})
    );
    assert_eq!(
        (
            &result["queries_without_judgements"],
            &result["judged_queries_missing"]
        ),
        (&0.into(), &0.into())
    );
    let people = place.run("eval tiny").exits(0).out;
    assert_eq!(
        people,
        "nDCG@10     1.0000\nMRR@10      1.0000\nRecall@100  1.0000\nqueries     3\n"
    );
}

#[test]
fn wrong_answers_lower_the_measures_and_the_run_is_written() {
    let place = Place::empty();
    beir_folder(&place);
    // The second query now asks for a document that is not the nearest; one judged query is not in the file.
    let qrels = place.write(
        "wrong.tsv",
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td3\t1\nq7\td1\t1\n",
    );
    let line = [
        "eval",
        "--queries",
        "tiny/queries.jsonl",
        "--qrels",
        qrels.to_str().expect("UTF-8"),
        "--run-out",
        "run.trec",
        "--json",
        "-k",
        "1",
    ];
    let result = place.run_args(line).exits(0).object();
    assert_eq!(
        result["measures"],
        serde_json::json!({"nDCG@1": 0.5, "MRR@1": 0.5, "Recall@100": 1.0})
    );
    assert_eq!(result["judged_queries_missing"], 1);
    let run = std::fs::read_to_string(place.path("run.trec")).expect("the run");
    assert_eq!(run.lines().count(), 2 * 3, "{run}");
    assert!(run.starts_with("q1 Q0 d1 1 "), "{run}");
}

#[test]
fn a_folder_of_another_layout_is_an_error() {
    let place = Place::with_notes();
    place
        .run("eval .")
        .fails_saying(&["corpus.jsonl", "queries.jsonl"]);
    beir_folder(&place);
    place
        .run("eval tiny --split dev")
        .fails_saying(&["dev", "test"]);
}
