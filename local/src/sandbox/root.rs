//! The file system that function and extensions see: a new root made of read-only pieces of the host and fresh
//! directories, so that nothing is left behind on the host and nothing of it can be changed.
//!
//! Decides what is visible where. Called once by the sandbox's first process, in a mount name space of its own.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::plan::{Lang, SandboxPlan};

/// What of the host is visible at its own place, where it exists.
const HOST_DIRECTORIES: &[&str] = &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "sys"];
/// Devices of a Lambda environment.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS: &[(&str, &str)] =
    &[("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")];
/// Where the host's /etc is mounted. One level deep, so that its relative links still lead where they should.
const HOST_ETC: &str = ".etc";

/// A failed step and the system's answer.
pub(super) type Step<T> = Result<T, (String, io::Error)>;

trait Named<T> {
    fn named(self, step: impl FnOnce() -> String) -> Step<T>;
}

impl<T, E: Into<io::Error>> Named<T> for Result<T, E> {
    fn named(self, step: impl FnOnce() -> String) -> Step<T> {
        self.map_err(|error| (step(), error.into()))
    }
}

/// Builds the root of `plan` and moves into it.
///
/// # Errors
/// The first step that failed, with the system's answer.
pub(super) fn build(plan: &SandboxPlan) -> Step<()> {
    let root = plan.root.as_path();
    // Directories that are made on the way to another one have to be open to uid 993 too.
    umask(Mode::from_bits_truncate(0o022));
    plain_mount(None, Path::new("/"), "", MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    tmpfs(root, "mode=0755,size=4m")?;
    host_directories(root)?;
    etc(root, &plan.etc)?;
    devices(root)?;
    fresh_directories(root, plan)?;
    function_directories(root, plan)?;
    enter(root)
}

fn host_directories(root: &Path) -> Step<()> {
    for name in HOST_DIRECTORIES {
        let (host, here) = (Path::new("/").join(name), root.join(name));
        let Ok(kind) = fs::symlink_metadata(&host) else { continue };
        if kind.is_symlink() {
            let target = fs::read_link(&host).named(|| format!("read link {}", host.display()))?;
            link(&target, &here)?;
        } else if kind.is_dir() {
            directory(&here, 0o755)?;
            bind(&host, &here)?;
        }
    }
    Ok(())
}

/// /etc is links to the host's entries, but for the files in `own`, which may be nested.
fn etc(root: &Path, own: &Path) -> Step<()> {
    directory(&root.join(HOST_ETC), 0o755)?;
    bind(Path::new("/etc"), &root.join(HOST_ETC))?;
    overlay(root, Path::new(""), own)
}

/// Makes `etc/inside` of links to the host's entries, with the entries of `own` in their place.
fn overlay(root: &Path, inside: &Path, own: &Path) -> Step<()> {
    let here = root.join("etc").join(inside);
    directory(&here, 0o755)?;
    for entry in entries(own)? {
        let place = here.join(entry.file_name());
        if entry.path().is_dir() {
            overlay(root, &inside.join(entry.file_name()), &entry.path())?;
        } else {
            fs::copy(entry.path(), &place).named(|| format!("write {}", place.display()))?;
            mode(&place, 0o644)?;
        }
    }
    let host = Path::new("/etc").join(inside);
    for entry in fs::read_dir(&host).into_iter().flatten().flatten() {
        let place = here.join(entry.file_name());
        if fs::symlink_metadata(&place).is_err() {
            link(&Path::new("/").join(HOST_ETC).join(inside).join(entry.file_name()), &place)?;
        }
    }
    Ok(())
}

fn devices(root: &Path) -> Step<()> {
    let dev = root.join("dev");
    directory(&dev, 0o755)?;
    for name in DEVICES {
        let (host, here) = (Path::new("/dev").join(name), dev.join(name));
        file(&here)?;
        plain_mount(Some(&host), &here, "", MsFlags::MS_BIND, None)?;
    }
    DEVICE_LINKS.iter().try_for_each(|(name, target)| link(Path::new(target), &dev.join(name)))
}

fn fresh_directories(root: &Path, plan: &SandboxPlan) -> Step<()> {
    for name in ["var", "var/tmp", "var/lang", "var/lang/bin", "var/policy", "run", "proc", "tmp", "home"] {
        directory(&root.join(name), 0o755)?;
    }
    link(Path::new("/run"), &root.join("var/run"))?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    plain_mount(Some(Path::new("proc")), &root.join("proc"), "proc", quiet, None)?;
    tmpfs(&root.join("tmp"), &format!("mode=1777,size={}", plan.tmp_bytes))
}

fn function_directories(root: &Path, plan: &SandboxPlan) -> Step<()> {
    for (host, name) in [(&plan.task, "var/task"), (&plan.runtime, "var/runtime"), (&plan.opt, "opt")] {
        directory(&root.join(name), 0o755)?;
        bind_readable(host, &root.join(name))?;
    }
    if let Some(policy) = &plan.policy {
        let place = root.join("var/policy/policy.toml");
        fs::copy(policy, &place).named(|| format!("copy {}", policy.display()))?;
        mode(&place, 0o644)?;
    }
    if let Some(text) = &plan.entrypoint {
        text_file(&root.join("lambda-entrypoint.sh"), text, 0o755)?;
    }
    lang(&root.join("var/lang"), &plan.lang)
}

fn lang(here: &Path, lang: &Lang) -> Step<()> {
    if let Some(prefix) = &lang.prefix {
        bind_readable(prefix, here)?;
    } else {
        lang.links.iter().try_for_each(|(name, target)| link(target, &here.join("bin").join(name)))?;
        lang.files.iter().try_for_each(|(name, text)| text_file(&here.join(name), text, 0o644))?;
        lang.mounts.iter().try_for_each(|(name, _)| directory(&here.join(name), 0o755))?;
    }
    lang.mounts.iter().try_for_each(|(name, host)| bind_readable(host, &here.join(name)))
}

fn text_file(place: &Path, text: &str, bits: u32) -> Step<()> {
    fs::write(place, text).named(|| format!("write {}", place.display()))?;
    mode(place, bits)
}

/// Mounts `host` at `here`. A directory that others may not enter (mode 0700, as made by mktemp) is mounted entry by
/// entry into one that they may: on Lambda the directory itself belongs to the platform, only its content is the user's.
fn bind_readable(host: &Path, here: &Path) -> Step<()> {
    let found = fs::metadata(host).named(|| format!("read {}", host.display()))?;
    if found.mode() & 0o005 == 0o005 {
        return bind(host, here);
    }
    for entry in entries(host)? {
        let place = here.join(entry.file_name());
        let kind = entry.file_type().named(|| format!("read {}", entry.path().display()))?;
        if kind.is_symlink() {
            let target = fs::read_link(entry.path()).named(|| format!("read {}", entry.path().display()))?;
            link(&target, &place)?;
            continue;
        }
        if kind.is_dir() {
            directory(&place, 0o755)?;
        } else {
            file(&place)?;
        }
        bind(&entry.path(), &place)?;
    }
    Ok(())
}

/// Makes `root` the root, drops the host's, and closes the top directory for writing.
fn enter(root: &Path) -> Step<()> {
    std::env::set_current_dir(root).named(|| "enter the new root".into())?;
    nix::unistd::pivot_root(".", ".").named(|| "pivot_root".into())?;
    umount2(".", MntFlags::MNT_DETACH).named(|| "let go of the host's root".into())?;
    std::env::set_current_dir("/").named(|| "enter the new root".into())?;
    remount_read_only(Path::new("/"))
}

/// A read-only view of a host directory or file, with everything mounted below it.
fn bind(host: &Path, here: &Path) -> Step<()> {
    plain_mount(Some(host), here, "", MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
    for place in mounts_below(here)? {
        remount_read_only(&place)?;
    }
    Ok(())
}

/// The flags that a mount has must be named again: a user name space may not take any of them away.
fn remount_read_only(place: &Path) -> Step<()> {
    let has = statvfs(place).named(|| format!("look at mount {}", place.display()))?.flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    flags |= MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for (seen, kept) in [
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        flags.set(kept, has.contains(seen));
    }
    plain_mount(None, place, "", flags, None)
}

/// The mount points at and below a directory, from /proc/self/mountinfo (field 5, octal escapes for blanks).
fn mounts_below(top: &Path) -> Step<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").named(|| "read /proc/self/mountinfo".into())?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points.map(|p| PathBuf::from(unescape(p))).filter(|p| p.starts_with(top)).collect())
}

fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

fn tmpfs(place: &Path, options: &str) -> Step<()> {
    plain_mount(
        Some(Path::new("tmpfs")),
        place,
        "tmpfs",
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options),
    )
}

fn plain_mount(
    source: Option<&Path>,
    target: &Path,
    kind: &str,
    flags: MsFlags,
    options: Option<&str>,
) -> Step<()> {
    let kind = (!kind.is_empty()).then_some(kind);
    mount(source, target, kind, flags, options).named(|| format!("mount {}", target.display()))
}

fn entries(place: &Path) -> Step<Vec<fs::DirEntry>> {
    let listing = fs::read_dir(place).and_then(Iterator::collect);
    listing.named(|| format!("list {}", place.display()))
}

fn directory(place: &Path, bits: u32) -> Step<()> {
    fs::create_dir_all(place).named(|| format!("make {}", place.display()))?;
    mode(place, bits)
}

fn mode(place: &Path, bits: u32) -> Step<()> {
    let permissions = fs::Permissions::from_mode(bits);
    fs::set_permissions(place, permissions).named(|| format!("change the mode of {}", place.display()))
}

fn file(place: &Path) -> Step<()> {
    fs::write(place, "").named(|| format!("make {}", place.display()))
}

fn link(target: &Path, place: &Path) -> Step<()> {
    symlink(target, place).named(|| format!("link {}", place.display()))
}
