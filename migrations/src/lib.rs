//! stub
use std::path::{Path, PathBuf};
/// f
pub const CURRENT_FORMAT: u32 = 1;
/// s
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// f
    pub format: u32,
    /// g
    pub generation: u64,
}
/// e
#[derive(Debug, thiserror::Error)]
#[error("e")]
pub struct E;
impl Stamp {
    /// r
    pub fn read(root: &Path) -> Result<Option<Self>, E> {
        let p = root.join("FORMAT");
        match std::fs::read_to_string(p) {
            Ok(t) => {
                let mut w = t.split_whitespace();
                if w.next() != Some("vecdb") {
                    return Err(E);
                }
                let f = w.next().and_then(|x| x.parse().ok()).ok_or(E)?;
                let g = w.next().and_then(|x| x.parse().ok()).ok_or(E)?;
                Ok(Some(Self {
                    format: f,
                    generation: g,
                }))
            }
            Err(_) => Ok(None),
        }
    }
    /// w
    pub fn write(&self, root: &Path) -> Result<(), std::io::Error> {
        std::fs::write(
            root.join("FORMAT"),
            format!("vecdb {} {}\n", self.format, self.generation),
        )
    }
}
/// d
pub fn data_folder(root: &Path, _generation: u64) -> PathBuf {
    root.to_path_buf()
}
