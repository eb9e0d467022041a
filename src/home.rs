//! The data folder: where `vecdb setup` puts the runtime library and the default model.

use std::ffi::OsString;
use std::path::PathBuf;

/// Names the data folder instead of the platform's.
pub(crate) const HOME_VARIABLE: &str = "VECDB_HOME";
/// The model that `vecdb setup` fetches.
pub(crate) const DEFAULT_MODEL: &str = "all-MiniLM-L6-v2";

/// `VECDB_HOME`, else the platform's folder for local data with `vecdb` in it; `None` where the system names none.
pub(crate) fn home() -> Option<PathBuf> {
    home_from(std::env::var_os(HOME_VARIABLE), dirs::data_local_dir())
}

/// Where the default model lies once it is set up.
pub(crate) fn default_model() -> Option<PathBuf> {
    Some(home()?.join("models").join(DEFAULT_MODEL))
}

/// Where set-up puts runtime libraries, one folder a version.
pub(crate) fn runtimes() -> Option<PathBuf> {
    Some(home()?.join("runtime"))
}

fn home_from(variable: Option<OsString>, platform: Option<PathBuf>) -> Option<PathBuf> {
    match variable {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => platform.map(|folder| folder.join("vecdb")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_platforms_folder() {
        let platform = Some(PathBuf::from("/p"));
        assert_eq!(
            home_from(Some("/v".into()), platform.clone()),
            Some(PathBuf::from("/v"))
        );
        assert_eq!(
            home_from(Some("".into()), platform.clone()),
            Some(PathBuf::from("/p").join("vecdb"))
        );
        assert_eq!(
            home_from(None, platform),
            Some(PathBuf::from("/p").join("vecdb"))
        );
        assert_eq!(home_from(None, None), None);
    }
}
