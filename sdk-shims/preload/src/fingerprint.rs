//! What tells an open file from every other one, and from itself under another name: statx(2).
//!
//! A file's ctime moves when it is renamed, linked, unlinked or made, so as long as device, inode and ctime stay, the
//! same file has the same names in the same folders. Folders that move do not show here. `remembered` asks.

use crate::arch::number;
use crate::sys::{self, Errno};

/// `struct stat` has no mount, so it is `struct statx` that is asked for, as words; both processors are little-endian.
type Words = [u64; 32];

/// How this kernel takes the path of a call that means the descriptor itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmptyPath {
    /// A null pointer, since Linux 6.11: nothing to be copied.
    Null,
    /// An empty string.
    Text,
}

impl EmptyPath {
    /// Tries both on a descriptor that is open; `None` where the kernel, or a filter, knows neither.
    pub(crate) fn of_kernel(descriptor: i32) -> Option<Self> {
        [Self::Null, Self::Text].into_iter().find(|path| Fingerprint::of(descriptor, *path).is_ok())
    }

    fn address(self) -> usize {
        match self {
            Self::Null => 0,
            Self::Text => c"".as_ptr() as usize,
        }
    }
}

/// A file at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    device: u64,
    inode: u64,
    /// ctime: seconds since 1970, and nanoseconds.
    changed: [u64; 2],
    /// The mount that it was reached by; 0 before Linux 5.8, which does not tell.
    mount: u64,
    mode: u64,
    links: u64,
}

impl Fingerprint {
    #[inline(never)]
    pub(crate) fn of(descriptor: i32, path: EmptyPath) -> Result<Self, Errno> {
        const AT_EMPTY_PATH: usize = 0x1000;
        const MNT_ID: usize = 0x1000;
        /// `STATX_TYPE`, `_MODE`, `_NLINK`, `_CTIME` and `_INO`.
        const NEEDED: usize = 1 | 2 | 4 | 0x80 | 0x100;
        let mut words: Words = [0; 32];
        let descriptor = usize::try_from(descriptor).map_err(|_| Errno::BADF)?;
        let into = words.as_mut_ptr() as usize;
        let arguments = [descriptor, path.address(), AT_EMPTY_PATH, NEEDED | MNT_ID, into, 0];
        sys::check(sys::pass(number::STATX, arguments))?;
        let told = words.first().copied().unwrap_or_default();
        if told & NEEDED as u64 == NEEDED as u64 { Ok(Self::read(&words)) } else { Err(Errno::NOSYS) }
    }

    fn read(words: &Words) -> Self {
        let [_, _, links, mode, inode, _, _, _, _, _, _, _, seconds, nanoseconds, _, _, _, device, mount, ..] =
            *words;
        let changed = [seconds, nanoseconds & 0xffff_ffff];
        Self { device, inode, changed, mount, mode: mode >> 32 & 0xffff, links: links & 0xffff_ffff }
    }

    /// Whether it is a regular file with one name. A folder stands for what is in it, and of several names one may be
    /// denied and another not.
    pub(crate) const fn is_file_of_one_name(&self) -> bool {
        const S_IFMT: u64 = 0o170_000;
        const S_IFREG: u64 = 0o100_000;
        self.mode & S_IFMT == S_IFREG && self.links == 1
    }

    /// Whether any change after `now` (seconds) must show in the ctime: it is at least a whole second older. Kernels
    /// stamp by the tick, and ext4 with inodes of 128 bytes by the second.
    pub(crate) const fn is_settled(&self, now: u64) -> bool {
        let [seconds, _] = self.changed;
        seconds < now.saturating_sub(1)
    }

    /// Everything that a name depends on.
    pub(crate) const fn words(&self) -> [u64; 5] {
        let [seconds, nanoseconds] = self.changed;
        [self.device, self.inode, seconds, nanoseconds, self.mount]
    }
}

/// Where a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a file system that is not known to keep ctimes: one over a network or in user space may say anything.
    Unknown,
    /// On one that keeps them.
    Writable,
    /// The same, mounted read-only: nothing can be moved there.
    ReadOnly,
}

impl Place {
    #[inline(never)]
    pub(crate) fn of(descriptor: i32) -> Self {
        let mut words = [0_u64; 15];
        let Ok(argument) = usize::try_from(descriptor) else { return Self::Unknown };
        let arguments = [argument, words.as_mut_ptr() as usize, 0, 0, 0, 0];
        if sys::check(sys::pass(number::FSTATFS, arguments)).is_err() {
            return Self::Unknown;
        }
        let [kind, _, _, _, _, _, _, _, _, _, flags, ..] = words;
        Self::from(kind, flags)
    }

    /// By `f_type` and `f_flags` of statfs(2).
    const fn from(kind: u64, flags: u64) -> Self {
        const ST_RDONLY: u64 = 1;
        const ST_VALID: u64 = 0x20;
        // ext4, XFS, tmpfs, overlayfs, squashfs and EROFS. Not btrfs, whose snapshots keep inode and ctime.
        if !matches!(kind, 0xef53 | 0x5846_5342 | 0x0102_1994 | 0x794c_7630 | 0x7371_7368 | 0xe0f5_e1e2) {
            Self::Unknown
        } else if flags & (ST_VALID | ST_RDONLY) == ST_VALID | ST_RDONLY {
            Self::ReadOnly
        } else {
            Self::Writable
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    /// An empty folder of this test's own: on the disk, and in memory where there is a place for that.
    pub(crate) fn folders(name: &str) -> Vec<PathBuf> {
        let made = |parent: &Path| {
            let folder = parent.join(format!("ringfence-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).ok().map(|()| folder)
        };
        [&std::env::temp_dir(), Path::new("/dev/shm")].into_iter().filter_map(made).collect()
    }

    pub(crate) fn fingerprint(path: &Path) -> Fingerprint {
        let file = File::open(path).unwrap();
        let both = [EmptyPath::Null, EmptyPath::Text].map(|path| Fingerprint::of(file.as_raw_fd(), path));
        let [null, text] = both;
        let text = text.unwrap();
        assert_eq!(null.unwrap_or(text), text, "both ways of asking tell the same");
        text
    }

    /// One that stands for these words.
    pub(crate) fn made_of(words: [u64; 5]) -> Fingerprint {
        let [device, inode, seconds, nanoseconds, mount] = words;
        Fingerprint { device, inode, changed: [seconds, nanoseconds], mount, mode: 0o100_644, links: 1 }
    }

    /// Waits until the next change of `path` must show in its ctime.
    pub(crate) fn settle(path: &Path) {
        while !fingerprint(path).is_settled(sys::now().0) {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    #[test]
    fn a_file_is_another_after_whatever_gives_it_another_name() {
        for folder in folders("fingerprint") {
            let [file, other] = ["file", "other"].map(|name| folder.join(name));
            for name in ["file", "target", "gone"] {
                std::fs::write(folder.join(name), name).unwrap();
            }
            settle(&folder.join("gone"));
            let before = fingerprint(&file);
            assert_eq!(before, fingerprint(&file), "nothing has happened");
            assert!(before.is_file_of_one_name());

            std::fs::rename(&file, &other).unwrap();
            let renamed = fingerprint(&other);
            assert_ne!(renamed.words(), before.words(), "{} rename", folder.display());

            let before = fingerprint(&folder.join("target"));
            std::fs::hard_link(folder.join("target"), folder.join("second")).unwrap();
            let linked = fingerprint(&folder.join("target"));
            assert!(!linked.is_file_of_one_name());
            assert_ne!(linked.words(), before.words(), "{} link", folder.display());
            std::fs::remove_file(folder.join("target")).unwrap();
            let last = fingerprint(&folder.join("second"));
            assert!(last.is_file_of_one_name());
            assert_ne!(last.words(), before.words(), "{} unlink", folder.display());

            let before = fingerprint(&folder.join("gone"));
            std::fs::remove_file(folder.join("gone")).unwrap();
            for name in 0..20 {
                let path = folder.join(format!("new{name}"));
                std::fs::write(&path, "new").unwrap();
                assert_ne!(fingerprint(&path).words(), before.words(), "{} made anew", folder.display());
            }
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }

    #[test]
    fn what_is_no_file_of_one_name_is_told() {
        assert!(!fingerprint(Path::new("/")).is_file_of_one_name(), "a folder");
        assert!(!fingerprint(Path::new("/dev/null")).is_file_of_one_name(), "a device");
        assert_eq!(EmptyPath::of_kernel(-1), None);
    }

    #[test]
    fn a_change_shows_only_where_the_last_one_is_a_second_old() {
        let changed_at = |seconds| Fingerprint { changed: [seconds, 0], ..fingerprint(Path::new("/")) };
        assert!(changed_at(98).is_settled(100));
        assert!(!changed_at(99).is_settled(100), "perhaps 99.999, and a clock that goes by the second");
        assert!(!changed_at(200).is_settled(100), "from the future");
        assert!(!changed_at(u64::MAX).is_settled(100), "from before 1970");
    }

    #[test]
    fn only_known_file_systems_keep_ctimes() {
        const VALID: u64 = 0x20;
        assert_eq!(Place::from(0xef53, VALID | 1), Place::ReadOnly);
        assert_eq!(Place::from(0xef53, VALID), Place::Writable);
        assert_eq!(Place::from(0xef53, 1), Place::Writable, "flags that are none");
        // NFS, FUSE, btrfs, procfs, sysfs, 9p, memfd's hugetlbfs.
        for kind in [0x6969, 0x6573_5546, 0x9123_683e, 0x9fa0, 0x6265_6572, 0x0102_1997, 0x9584_58f6] {
            assert_eq!(Place::from(kind, VALID | 1), Place::Unknown);
        }
        let place = |path: &str| Place::of(File::open(path).unwrap().as_raw_fd());
        assert_eq!(place("/proc/self/status"), Place::Unknown);
        assert_eq!(place("/sys/kernel"), Place::Unknown);
        assert_eq!(Place::of(-1), Place::Unknown);
    }
}
