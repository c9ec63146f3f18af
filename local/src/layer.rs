//! What stands at /opt: the layer's zip, unpacked with its modes and links, and further directories merged over it.
//!
//! Decides what a layer may contain (Lambda's limit of 250 MB, no path outside). Called once a run, before the sandbox.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::read::ZipFile;

use crate::error::LocalError;
use crate::options::LayerChoice;

/// Where `scripts/build-layer` leaves the layer.
const DEFAULT_ZIP: &str = "build/ringfence-layer-x86_64.zip";
/// Lambda's limit for function and layers unzipped, in bytes.
const UNZIPPED_MAX: u64 = 250 * 1024 * 1024;
/// Longest target of a symbolic link (`PATH_MAX`), in bytes.
const LINK_MAX: u64 = 4096;

/// The zip that was chosen, if any.
///
/// # Errors
/// When no zip was named and none stands at the usual place.
pub fn chosen_zip(choice: &LayerChoice) -> Result<Option<PathBuf>, LocalError> {
    match choice {
        LayerChoice::None => Ok(None),
        LayerChoice::Zip(path) => Ok(Some(path.clone())),
        LayerChoice::Default if Path::new(DEFAULT_ZIP).is_file() => Ok(Some(PathBuf::from(DEFAULT_ZIP))),
        LayerChoice::Default => Err(LocalError::environment(
            "find the layer",
            format!(
                "no {DEFAULT_ZIP} here; build it with scripts/build-layer, or name it with --layer, or run with --no-layer"
            ),
        )),
    }
}

/// Unpacks an archive into `to`.
///
/// # Errors
/// A broken archive, a path that leads outside, more than 250 MB, or the file system's.
pub fn unpack(archive: &Path, to: &Path) -> Result<(), LocalError> {
    let file = File::open(archive).map_err(|e| LocalError::file(archive, e))?;
    let mut zip = ZipArchive::new(file).map_err(|e| LocalError::file(archive, e))?;
    let (mut links, mut left) = (Vec::new(), UNZIPPED_MAX);
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(|e| LocalError::file(archive, e))?;
        let link = unpack_entry(&mut entry, to, &mut left).map_err(|e| LocalError::file(archive, e))?;
        links.extend(link);
    }
    // Links come last, so that no entry is ever written through one.
    for (place, target) in links {
        symlink(target, &place).map_err(|e| LocalError::file(&place, e))?;
    }
    Ok(())
}

fn unpack_entry<R: Read + ?Sized>(
    entry: &mut ZipFile<'_, R>,
    to: &Path,
    left: &mut u64,
) -> io::Result<Option<(PathBuf, String)>> {
    let inside = entry.enclosed_name().ok_or_else(|| invalid("a path leads outside".into()))?;
    let place = to.join(inside);
    let mode = entry.unix_mode();
    if entry.is_dir() {
        fs::create_dir_all(&place)?;
        fs::set_permissions(&place, fs::Permissions::from_mode(mode.unwrap_or(0o755) & 0o777))?;
        return Ok(None);
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    if entry.is_symlink() {
        let mut target = String::new();
        entry.take(LINK_MAX).read_to_string(&mut target)?;
        return Ok(Some((place, target)));
    }
    let mut out = File::create(&place)?;
    let written = io::copy(&mut entry.take(*left), &mut out)?;
    *left -= written;
    if *left == 0 {
        return Err(invalid("more than 250 MB unzipped, Lambda's limit".into()));
    }
    fs::set_permissions(&place, fs::Permissions::from_mode(mode.unwrap_or(0o644) & 0o777))?;
    Ok(None)
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Copies a directory's content over `to`, as a further layer: its files win.
///
/// # Errors
/// The file system's, with the path.
pub fn merge(from: &Path, to: &Path) -> Result<(), LocalError> {
    let listing = fs::read_dir(from).map_err(|e| LocalError::file(from, e))?;
    for entry in listing {
        let entry = entry.map_err(|e| LocalError::file(from, e))?;
        let (source, place) = (entry.path(), to.join(entry.file_name()));
        copy_entry(&source, &place).map_err(|e| LocalError::file(&source, e))?;
        if fs::symlink_metadata(&source).is_ok_and(|m| m.is_dir()) {
            merge(&source, &place)?;
        }
    }
    Ok(())
}

fn copy_entry(source: &Path, place: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(source)?;
    let existing = fs::symlink_metadata(place);
    if existing.as_ref().is_ok_and(|m| !m.is_dir()) {
        fs::remove_file(place)?;
    }
    if kind.is_symlink() {
        symlink(fs::read_link(source)?, place)
    } else if kind.is_dir() {
        fs::create_dir_all(place)?;
        fs::set_permissions(place, kind.permissions())
    } else {
        fs::copy(source, place).map(drop)
    }
}

/// The names of what will be started as extensions: executable files in `opt`/extensions, sorted.
///
/// # Errors
/// The file system's.
pub fn extensions(opt: &Path) -> Result<Vec<String>, LocalError> {
    let place = opt.join("extensions");
    let Ok(listing) = fs::read_dir(&place) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|e| LocalError::file(&place, e))?;
        let target = fs::metadata(entry.path());
        if target.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(build: impl FnOnce(&mut ZipWriter<File>)) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut zip = ZipWriter::new(file.reopen().unwrap());
        build(&mut zip);
        zip.finish().unwrap();
        file
    }

    #[test]
    fn modes_and_links_survive() {
        let zip = archive(|zip| {
            zip.start_file("extensions/e", SimpleFileOptions::default().unix_permissions(0o711)).unwrap();
            zip.write_all(b"x").unwrap();
            zip.add_symlink("bin/e", "../extensions/e", SimpleFileOptions::default()).unwrap();
        });
        let to = tempfile::tempdir().unwrap();
        unpack(zip.path(), to.path()).unwrap();
        let mode = fs::metadata(to.path().join("bin/e")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o711);
        assert_eq!(extensions(to.path()).unwrap(), ["e"]);
    }

    #[test]
    fn a_path_outside_is_refused() {
        let zip = archive(|zip| {
            zip.start_file("../evil", SimpleFileOptions::default()).unwrap();
        });
        let to = tempfile::tempdir().unwrap();
        let inner = to.path().join("opt");
        fs::create_dir(&inner).unwrap();
        let _ = unpack(zip.path(), &inner);
        assert!(!to.path().join("evil").exists());
    }

    #[test]
    fn a_further_layer_wins() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(b.path().join("python")).unwrap();
        fs::write(a.path().join("f"), "old").unwrap();
        fs::write(b.path().join("f"), "new").unwrap();
        fs::write(b.path().join("python/m.py"), "m").unwrap();
        merge(b.path(), a.path()).unwrap();
        assert_eq!(fs::read(a.path().join("f")).unwrap(), b"new");
        assert!(a.path().join("python/m.py").is_file());
    }
}
