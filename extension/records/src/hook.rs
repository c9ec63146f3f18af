//! What brings a language hook into a program: variables that gain a part, variables that are set, an argument.
//!
//! The guard writes the list into the handoff, and applies it itself where it starts the runtime directly. Behind a wrapper
//! the preload library applies it at the exec of the runtime's own executable, so no wrapper sees it or loses it. The hooks
//! take their part out again (`sitecustomize.py`, `ringfence.cjs`): what they do is the inverse of [`Entry::gained`].
//! It takes any bytes; what it cannot read it leaves out.

/// One thing that a hook needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// `NAME=path`: the path goes in front of a list that is separated by colons.
    Path(&'a [u8]),
    /// `NAME=option`: the option goes in front of a list that is separated by blanks.
    Option(&'a [u8]),
    /// `NAME=value`: the variable has this value.
    Set(&'a [u8]),
    /// An argument, right behind the program's name.
    Argument(&'a [u8]),
}

impl<'a> Entry<'a> {
    /// Writes the entry with `put`, which appends bytes. A NUL ends it, so a variable in it can be used where it stands.
    pub fn encode(&self, mut put: impl FnMut(&[u8])) {
        let (mark, text) = match self {
            Self::Path(text) => (b'P', text),
            Self::Option(text) => (b'O', text),
            Self::Set(text) => (b'S', text),
            Self::Argument(text) => (b'A', text),
        };
        put(&[mark]);
        put(text);
        put(b"\0");
    }

    /// The entry whose text ends where the NUL stands.
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (mark, text) = bytes.split_first()?;
        match mark {
            b'P' => Some(Self::Path(text)),
            b'O' => Some(Self::Option(text)),
            b'S' => Some(Self::Set(text)),
            b'A' => Some(Self::Argument(text)),
            _ => None,
        }
    }

    /// The variable's name; empty for an argument.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        match self {
            Self::Path(text) | Self::Option(text) | Self::Set(text) => {
                text.split(|byte| *byte == b'=').next().unwrap_or_default()
            }
            Self::Argument(_) => &[],
        }
    }

    /// What `NAME=` and the variable's new value consist of, where its value was `before`. An empty value is told from an
    /// absent one by what follows our part: a slash of its own for a path, a blank for an option.
    #[must_use]
    pub fn gained<'b>(&'b self, before: Option<&'b [u8]>) -> [&'b [u8]; 4] {
        match *self {
            Self::Path(text) => {
                let own = text.get(self.name().len() + 1..).unwrap_or_default();
                match former(before, own, b':') {
                    None => [text, b"", b"", b""],
                    Some(b"") => [text, b":", own, b"/"],
                    Some(rest) => [text, b":", rest, b""],
                }
            }
            Self::Option(text) => {
                let own = text.get(self.name().len() + 1..).unwrap_or_default();
                match former(before, own, b' ') {
                    None => [text, b"", b"", b""],
                    Some(rest) => [text, b" ", rest, b""],
                }
            }
            Self::Set(text) | Self::Argument(text) => [text, b"", b"", b""],
        }
    }
}

/// The value without our own part in front, which a program may have that the hook was not loaded into.
fn former<'a>(before: Option<&'a [u8]>, own: &[u8], separator: u8) -> Option<&'a [u8]> {
    let before = before?;
    match before.strip_prefix(own).map(<[u8]>::split_first) {
        Some(None) => None,
        Some(Some((first, rest))) if *first == separator => {
            let was_empty = separator == b':' && rest.strip_prefix(own) == Some(b"/");
            Some(if was_empty { b"" } else { rest })
        }
        _ => Some(before),
    }
}

/// The entries of a list.
pub fn entries(list: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    list.split(|byte| *byte == 0).filter_map(Entry::decode)
}

/// Words of a command that are looked at.
const MAX_WORDS: usize = 64;

/// Whether a Python interpreter that is started with these words behind its name leaves PYTHONPATH or `site` out (`-E`,
/// `-I`, `-S`): no hook can be loaded then, and nothing would take its variable away again.
#[must_use]
pub fn python_takes_no_hook<'a>(words: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut skips = false;
    for word in words.take(MAX_WORDS) {
        if core::mem::take(&mut skips) {
            continue;
        }
        let Some(flags) = word.strip_prefix(b"-").filter(|flags| !flags.is_empty()) else { return false };
        if let Some(long) = flags.strip_prefix(b"-") {
            skips = long == b"check-hash-based-pycs";
            continue;
        }
        for (at, flag) in flags.iter().enumerate() {
            match flag {
                b'E' | b'I' | b'S' => return true,
                b'c' | b'm' => return false,
                b'W' | b'X' => {
                    skips = at + 1 == flags.len();
                    break;
                }
                _ => {}
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(parts: [&[u8]; 4]) -> String {
        String::from_utf8(parts.concat()).unwrap()
    }

    #[test]
    fn a_path_goes_first_and_tells_an_empty_value_from_none() {
        let path = Entry::Path(b"PYTHONPATH=/r");
        assert_eq!(text(path.gained(None)), "PYTHONPATH=/r");
        assert_eq!(text(path.gained(Some(b""))), "PYTHONPATH=/r:/r/");
        assert_eq!(text(path.gained(Some(b"/a:/b"))), "PYTHONPATH=/r:/a:/b");
        assert_eq!(text(path.gained(Some(b"/read"))), "PYTHONPATH=/r:/read");
        for once in [&b"PYTHONPATH=/r"[..], b"PYTHONPATH=/r:/r/", b"PYTHONPATH=/r:/a"] {
            let before = once.strip_prefix(b"PYTHONPATH=");
            assert_eq!(path.gained(before).concat(), once, "applied twice");
        }
    }

    #[test]
    fn an_option_goes_first_and_tells_an_empty_value_from_none() {
        let option = Entry::Option(b"NODE_OPTIONS=--require /r");
        assert_eq!(text(option.gained(None)), "NODE_OPTIONS=--require /r");
        assert_eq!(text(option.gained(Some(b""))), "NODE_OPTIONS=--require /r ");
        assert_eq!(text(option.gained(Some(b"--x"))), "NODE_OPTIONS=--require /r --x");
        for once in [&b"--require /r"[..], b"--require /r ", b"--require /r --x"] {
            assert_eq!(option.gained(Some(once)).concat(), [b"NODE_OPTIONS=", once].concat());
        }
    }

    #[test]
    fn interpreters_that_leave_the_variable_out_are_known() {
        let told = |command: &str| python_takes_no_hook(command.split_whitespace().map(str::as_bytes));
        for command in [
            "-I x.py",
            "-E",
            "-uS -c x",
            "-X dev -I",
            "-Wd -sE",
            "-W default -I",
            "--check-hash-based-pycs always -I",
        ] {
            assert!(told(command), "{command}");
        }
        for command in [
            "x.py -I",
            "-c x -I",
            "-mI -E",
            "-X I",
            "-W E x",
            "- -I",
            "",
            "-u -s -B /var/runtime/bootstrap.py -E",
        ] {
            assert!(!told(command), "{command}");
        }
    }

    proptest! {
        #[test]
        fn a_list_is_read_as_it_was_written(texts in proptest::collection::vec("[A-Z]{1,8}=[a-z/ ]{0,20}", 0..5), marks in proptest::collection::vec(0..4_u8, 5)) {
            let entries_of = |(text, mark): (&'_ String, &u8)| -> Vec<u8> {
                let text = text.as_bytes();
                let entry = [Entry::Path(text), Entry::Option(text), Entry::Set(text), Entry::Argument(text)][usize::from(*mark)];
                let mut bytes = Vec::new();
                entry.encode(|part| bytes.extend_from_slice(part));
                bytes
            };
            let list: Vec<u8> = texts.iter().zip(&marks).flat_map(entries_of).collect();
            let mut again = Vec::new();
            entries(&list).for_each(|entry| entry.encode(|part| again.extend_from_slice(part)));
            prop_assert_eq!(again, list);
        }

        #[test]
        fn garbage_never_panics(list in proptest::collection::vec(any::<u8>(), 0..80), before in proptest::collection::vec(any::<u8>(), 0..40)) {
            for entry in entries(&list) {
                let _ = entry.gained(Some(&before));
                let _ = entry.gained(None);
            }
            let _ = python_takes_no_hook(list.split(|byte| *byte == 0));
        }
    }
}
