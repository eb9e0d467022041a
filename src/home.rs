//! The data folder: where `vecdb setup` puts the runtime library and models, and where the encoder looks for them.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Names the data folder instead of the platform's.
pub(crate) const HOME_VARIABLE: &str = "VECDB_HOME";
/// Names the model folder instead of the data folder's.
pub(crate) const MODEL_VARIABLE: &str = "VECDB_MODEL_DIR";
/// The model that `vecdb setup` fetches.
pub(crate) const DEFAULT_MODEL: &str = "all-MiniLM-L6-v2";
/// The file beside the models that names the one to use.
pub(crate) const DEFAULT_FILE: &str = "default";

/// `VECDB_HOME`, else the platform's folder for local data with `vecdb` in it; `None` where the system names none.
pub(crate) fn home() -> Option<PathBuf> {
    home_from(std::env::var_os(HOME_VARIABLE), dirs::data_local_dir())
}

/// `VECDB_MODEL_DIR`, else the data folder's model, whether or not anything is there.
pub(crate) fn model_folder() -> Option<PathBuf> {
    let variable = std::env::var_os(MODEL_VARIABLE).filter(|folder| !folder.is_empty());
    variable
        .map(PathBuf::from)
        .or_else(|| Some(default_model(&home()?)))
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

fn default_model(home: &Path) -> PathBuf {
    let models = home.join("models");
    let named = fs::read_to_string(models.join(DEFAULT_FILE)).ok();
    let named = named
        .as_deref()
        .map(str::trim)
        .filter(|name| is_plain_name(name));
    models.join(named.unwrap_or(DEFAULT_MODEL))
}

/// One folder name, and nothing that leads elsewhere.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    )
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

    #[test]
    fn the_default_file_names_the_model_and_cannot_lead_out_of_the_models() {
        let home = tempfile::tempdir().expect("a folder");
        let models = home.path().join("models");
        assert_eq!(default_model(home.path()), models.join(DEFAULT_MODEL));
        fs::create_dir(&models).expect("made");
        for (text, expected) in [
            ("mine\n", "mine"),
            ("../../etc", DEFAULT_MODEL),
            ("", DEFAULT_MODEL),
        ] {
            fs::write(models.join(DEFAULT_FILE), text).expect("written");
            assert_eq!(default_model(home.path()), models.join(expected));
        }
    }
}
