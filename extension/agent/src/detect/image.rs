//! What a process runs, told by the vector that the kernel laid out for it at its last exec (`/proc/<pid>/auxv`).
//!
//! A fork has its parent's; every exec, of the same file too, makes another, since addresses in it are random. So it
//! tells an exec that no plane saw from a fork, and a program without an interpreter from one with. It decides
//! nothing; [`super`] asks.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use ringfence_policy::Linkage;

use crate::proc;

/// Most bytes of the vector; it has about 350.
const MAX_VECTOR: u64 = 2048;
/// Types of the entries that are looked at (getauxval(3)): addresses of the program's headers, of its interpreter (0
/// where it has none), of its entry, of random bytes, of the kernel's own code, and of the file's name.
const ENTRIES: [u64; 6] = [3, BASE, 9, 25, 33, NAME];
const BASE: u64 = 7;
/// The kernel fills the vector while others may read it, and this entry after all others that are looked at.
const NAME: u64 = 31;

/// What a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Image {
    /// Equal for two processes where neither has executed anything since one was forked from the other.
    pub(super) mark: u64,
    /// Whether a program interpreter (the dynamic loader) was put beside it.
    interpreted: bool,
}

impl Image {
    /// The image of process `id`; `None` where it is gone, is in the middle of an exec, or cannot be looked at.
    pub(super) fn of(proc: &Path, id: u32, state: &RandomState) -> Option<Self> {
        let vector = proc::limited(&proc.join(id.to_string()).join("auxv"), MAX_VECTOR)?;
        // That of a program of 32 bits has half the width.
        let native = values::<8>(&vector);
        let (is_native, values) = (native.is_some(), native.or_else(|| values::<4>(&vector))?);
        let base = ENTRIES.iter().zip(values).any(|(kind, value)| *kind == BASE && value != 0);
        Some(Self { mark: state.hash_one(values), interpreted: base && is_native })
    }

    /// How the executable at `path` was loaded. A binary of another architecture counts as static: either way the
    /// preload library is not in it.
    pub(super) fn linkage(&self, path: &[u8]) -> Linkage {
        const LOADERS: [&[u8]; 5] = [b"ld-linux", b"ld-musl", b"ld.so", b"ld-2.", b"ld64.so"];
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        match self.interpreted {
            true => Linkage::Dynamic,
            false if LOADERS.iter().any(|start| name.starts_with(start)) => Linkage::Loader,
            false => Linkage::Static,
        }
    }
}

/// The values of the entries that are looked at, of a vector whose fields have `WIDTH` bytes; `None` where it is not
/// complete.
fn values<const WIDTH: usize>(vector: &[u8]) -> Option<[u64; ENTRIES.len()]> {
    let number = |field: &[u8]| field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let mut values = [0; ENTRIES.len()];
    for (kind, value) in vector.chunks_exact(2 * WIDTH).map(|entry| entry.split_at(WIDTH)) {
        let at = ENTRIES.iter().position(|wanted| *wanted == number(kind));
        if let Some(slot) = at.and_then(|at| values.get_mut(at)) {
            *slot = number(value);
        }
    }
    values.last().is_some_and(|name| *name != 0).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn the_same_program_executed_again_has_another_image() {
        let state = RandomState::new();
        let image = |id| Image::of(Path::new("/proc"), id, &state);
        let sleep = || {
            let child =
                Command::new("sleep").arg("600").stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // Spawning returns when the new program's memory is there, a little before the vector in it is.
            let deadline = Instant::now() + Duration::from_secs(30);
            while image(child.id()).is_none() && Instant::now() < deadline {
                std::thread::yield_now();
            }
            child
        };
        let mut children = [sleep(), sleep()];
        let [one, two] = [image(children[0].id()), image(children[1].id())];
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_ne!(one.mark, two.mark);
        assert_eq!(one.linkage(b"/usr/bin/sleep"), Linkage::Dynamic);
        assert_eq!(image(children[0].id()), None);
    }

    #[test]
    fn what_has_no_interpreter_is_static_or_the_loader_itself() {
        let image = Image { mark: 1, interpreted: false };
        assert_eq!(image.linkage(b"/var/task/tool"), Linkage::Static);
        assert_eq!(image.linkage(b"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"), Linkage::Loader);
    }

    #[test]
    fn a_vector_that_the_kernel_is_filling_is_none() {
        let vector = std::fs::read("/proc/self/auxv").unwrap();
        assert!(values::<8>(&vector).is_some());
        for entries in 0..8 {
            assert_eq!(values::<8>(&vector[..entries * 16]), None);
        }
        assert_eq!(values::<8>(&[0; 16]), None, "in the middle of an exec");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(vector in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (values::<8>(&vector), values::<4>(&vector));
        }
    }
}
