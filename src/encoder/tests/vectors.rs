//! What vectors are equal to, and what they do not depend on.

use super::*;

#[derive(serde::Deserialize)]
struct Golden {
    text: String,
    tokens: usize,
    vector: Vec<f32>,
}

#[test]
fn vectors_equal_those_of_an_independent_forward_pass() {
    let golden: Vec<Golden> =
        serde_json::from_str(include_str!("../../../tests/golden/minilm.json"))
            .expect("the golden file parses");
    assert!(golden.len() >= 12);
    for Golden {
        text,
        tokens,
        vector,
    } in &golden
    {
        let windows = encoder().windows(None, text).expect("windows");
        assert_eq!(windows.len(), 1, "{text:?}");
        assert_eq!(windows[0].token_count(), *tokens, "{text:?}");
        let ours = encoder().encode_passage(text).expect("a vector");
        let difference = largest_difference(ours.as_slice(), vector);
        assert!(difference <= 1e-5, "{text:?} differs by {difference:e}");
    }
    // All at once: padded, in batches, on several threads.
    let windows: Vec<Window> = golden
        .iter()
        .flat_map(|row| encoder().windows(None, &row.text).expect("windows"))
        .collect();
    let together = encoder().encode(&windows).expect("vectors");
    let differences = together
        .iter()
        .zip(&golden)
        .map(|(ours, row)| largest_difference(ours.as_slice(), &row.vector));
    let worst = differences.fold(0.0, f32::max);
    assert!(worst <= 1e-5, "a batch differs by {worst:e}");
}

#[test]
fn a_vector_does_not_depend_on_its_batch_or_on_the_threads() {
    let encoder = encoder();
    let texts: Vec<String> = (0..90)
        .map(|n| format!("Text number {n}. {}", "More of it. ".repeat(n % 40)))
        .collect();
    let windows: Vec<Window> = texts
        .iter()
        .flat_map(|text| encoder.windows(None, text).expect("windows"))
        .collect();
    let one = Encoder::open(&EncoderOptions {
        threads: Some(1),
        ..EncoderOptions::default()
    })
    .expect("opens");
    let three = Encoder::open(&EncoderOptions {
        threads: Some(3),
        ..EncoderOptions::default()
    })
    .expect("opens");
    let together = encoder.encode(&windows).expect("vectors");
    let on_one = one.encode(&windows).expect("vectors");
    let on_three = three.encode(&windows).expect("vectors");
    for (at, window) in windows.iter().enumerate() {
        let alone = &encoder
            .encode(std::slice::from_ref(window))
            .expect("a vector")[0];
        for other in [&together[at], &on_one[at], &on_three[at]] {
            assert!(
                cosine(alone, other) > 0.99999,
                "window {at}: {}",
                cosine(alone, other)
            );
        }
    }
    // Neighbours differ, so the order is proven too.
    assert!(cosine(&together[0], &together[1]) < 0.999);
}

#[test]
fn many_threads_encode_at_once() {
    let encoder = encoder();
    let expected: Vec<Vector> = (0..8)
        .map(|n| {
            encoder
                .encode_query(&format!("question {n}"))
                .expect("a vector")
        })
        .collect();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let expected = &expected[n];
            scope.spawn(move || {
                for _ in 0..6 {
                    let vector = encoder
                        .encode_query(&format!("question {n}"))
                        .expect("a vector");
                    assert!(cosine(&vector, expected) > 0.99999);
                }
            });
        }
    });
}

#[test]
fn equal_windows_give_equal_vectors_in_their_places() {
    let encoder = encoder();
    let of = |text: &str| encoder.windows(None, text).expect("windows").remove(0);
    let vectors = encoder
        .encode(&[of("a"), of("b"), of("a"), of("b")])
        .expect("vectors");
    assert_eq!(vectors[0], vectors[2]);
    assert_eq!(vectors[1], vectors[3]);
    assert_ne!(vectors[0], vectors[1]);
    assert_eq!(encoder.encode(&[]).expect("nothing").len(), 0);
}

#[test]
fn a_query_longer_than_a_window_is_still_one_unit_vector() {
    let text = "How does a log-structured merge tree compact its levels? ".repeat(80);
    let vector = encoder().encode_query(&text).expect("a vector");
    assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-5);
    let short = encoder()
        .encode_query("How does a log-structured merge tree compact its levels?")
        .expect("a vector");
    assert!(cosine(&vector, &short) > 0.8);
}

#[test]
fn meaning_is_nearer_than_words() {
    let of = |text| encoder().encode_passage(text).expect("a vector");
    let (query, near, far) = (
        of("How do I cook pasta?"),
        of("Boil the noodles in salted water."),
        of("How do I sell shares?"),
    );
    assert!(cosine(&query, &near) > cosine(&query, &far));
}

#[test]
fn a_second_runtime_in_one_process_is_refused() {
    encoder();
    let runtime = Some(PathBuf::from("/nowhere/libonnxruntime.so"));
    let error = Encoder::open(&EncoderOptions {
        runtime,
        ..EncoderOptions::default()
    })
    .expect_err("another library");
    assert!(error.to_string().contains("it can run only one"), "{error}");
}
