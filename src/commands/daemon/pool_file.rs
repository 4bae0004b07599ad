//! The pool file, read, and kept as it was when it could last be read.

use std::path::{Path, PathBuf};
use supervisor::workers::config::PoolFile;

/// The pool file of a daemon that goes on whatever becomes of the file.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Where it lies, without links.
    pub config: PathBuf,
    /// Where it is kept as it was when it could last be read.
    pub last: Option<PathBuf>,
}

impl Kept {
    /// Reads it as it is now, and keeps that, if it will do.
    pub fn read(
        &self,
        will_do: impl FnOnce(&PoolFile) -> Result<(), String>,
    ) -> Result<PoolFile, String> {
        let (file, text) = read(&self.config)?;
        will_do(&file)?;
        if let Some(last) = &self.last {
            let new = last.with_extension("new");
            let kept = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, last));
            if let Err(error) = kept {
                crate::render::warn(format!("{}: {error}", last.display()));
            }
        }
        Ok(file)
    }

    /// Reads it as it is, or, where it cannot be read now, as it was when it last could. Workers that wait for their daemon are not to
    /// wait for whoever edits a file.
    pub fn read_or_last(&self) -> Result<PoolFile, String> {
        self.read(|_| Ok(())).or_else(|why| {
            let last = self.last.as_ref().ok_or_else(|| why.clone())?;
            let text = std::fs::read_to_string(last).map_err(|_| why.clone())?;
            crate::render::warn(format!(
                "{why}\nthe pool file is used as it was when it could last be read"
            ));
            parse(&self.config, &self.config, text)
        })
    }
}

/// Reads a pool file; its text, too.
pub fn read(path: &Path) -> Result<(PoolFile, String), String> {
    let shown = path.display();
    let real = path.canonicalize();
    let real = real.map_err(|error| format!("pool file {shown}: {error}; --config names one"))?;
    let text = std::fs::read_to_string(&real);
    let text = text.map_err(|error| format!("pool file {shown}: {error}"))?;
    Ok((parse(path, &real, text.clone())?, text))
}

fn parse(path: &Path, real: &Path, text: String) -> Result<PoolFile, String> {
    let directory = real.parent().unwrap_or(Path::new("/"));
    let shown = path.display().to_string();
    PoolFile::parse(&shown, text, directory).map_err(|error| error.to_string())
}
