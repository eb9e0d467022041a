//! Where and how an encoder runs: devices, sessions, cancelling.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn on(device: Device) -> Result<Encoder> {
    encoder();
    Encoder::open(&EncoderOptions {
        device,
        ..EncoderOptions::default()
    })
}

#[test]
fn a_gpu_that_cannot_be_had_is_an_error_that_says_what_is_missing() {
    for (device, feature, built) in [
        (Device::Cuda, "cuda", cfg!(feature = "cuda")),
        (Device::TensorRt, "tensorrt", cfg!(feature = "tensorrt")),
    ] {
        let in_library = encoder().providers_available();
        if in_library
            .iter()
            .any(|name| name.eq_ignore_ascii_case(feature))
        {
            // A machine with such a library: whether it works is not this test's subject.
            continue;
        }
        let error = on(device).expect_err("no such device here");
        let words = error.to_string();
        assert!(matches!(error, Error::Device { .. }), "{error:?}");
        assert!(
            words.starts_with(&format!("device \"{feature}\" cannot be used")),
            "{words}"
        );
        let missing = match built {
            false => format!("build with `--features {feature}`"),
            true => format!("{} (", encoder().runtime_path().display()),
        };
        assert!(words.contains(&missing), "{words}");
    }
}

#[test]
fn auto_and_cpu_run_on_the_processor_where_there_is_nothing_else() {
    let cpu = on(Device::Cpu).expect("opens");
    assert_eq!((cpu.provider().as_str(), cpu.device_note()), ("CPU", None));
    if encoder().providers_available() == ["CPU"] {
        let auto = on(Device::Auto).expect("opens");
        assert_eq!(auto.provider(), "CPU");
        // A build for GPUs says why it uses none.
        let told = auto
            .device_note()
            .is_some_and(|note| note.contains("has CPU"));
        assert_eq!(told, cfg!(feature = "cuda"));
        assert_eq!(auto.fingerprint(), cpu.fingerprint());
    }
}

#[test]
fn the_first_queries_and_the_later_ones_have_the_same_vector() {
    let fresh = Encoder::open(&EncoderOptions {
        threads: Some(3),
        ..EncoderOptions::default()
    })
    .expect("opens");
    let first = fresh.encode_query("where rivers end").expect("a vector");
    // Enough for every kind of session: mapped, packed and wide.
    for _ in 0..24 {
        let again = fresh.encode_query("where rivers end").expect("a vector");
        assert!(cosine(&first, &again) > 0.99999);
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let again = fresh.encode_query("where rivers end").expect("a vector");
                assert!(cosine(&first, &again) > 0.99999);
            });
        }
    });
}

#[test]
fn encoding_ends_where_progress_says_so_and_goes_on_afterwards() {
    let texts = (0..200).map(|n| format!("Text {n}. {}", "More of it. ".repeat(20)));
    let windows: Vec<Window> = texts
        .flat_map(|text| encoder().windows(None, &text).expect("windows"))
        .collect();
    let done = AtomicUsize::new(0);
    let result = encoder().encode_with(&windows, |rows| {
        match done.fetch_add(rows, Ordering::Relaxed) + rows < 20 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    let done = done.into_inner();
    assert!((20..100).contains(&done), "{done} of {}", windows.len());

    let all = AtomicUsize::new(0);
    let vectors = encoder().encode_with(&windows[..30], |rows| {
        all.fetch_add(rows, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    assert_eq!(vectors.expect("vectors").len(), 30);
    assert_eq!(all.into_inner(), 30);
}
