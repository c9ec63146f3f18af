//! Text in a buffer of fixed size, for paths under `/proc` and short messages on paths that must not allocate.
//!
//! It decides nothing: what does not fit is cut. The supervisor and the modules under `sys` use it.

use std::io;

/// Up to `N` bytes.
#[derive(Debug, Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Text<N> {
    /// No text.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; N], used: 0 }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    /// The text; empty where the bytes are not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Adds bytes, as many as there is room for.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.used..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.used += count;
    }

    /// A C string over the bytes, the last one being given up for the end; `None` where they hold a NUL.
    #[must_use]
    pub fn as_c_str(&mut self) -> Option<&std::ffi::CStr> {
        let end = self.used.min(N.saturating_sub(1));
        *self.bytes.get_mut(end)? = 0;
        std::ffi::CStr::from_bytes_with_nul(self.bytes.get(..=end)?).ok()
    }
}

impl<const N: usize> io::Write for Text<N> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Text;
    use std::io::Write as _;

    #[test]
    fn what_does_not_fit_is_cut() {
        let mut text = Text::<8>::new();
        write!(text, "/proc/{}/exe", 12).unwrap();
        assert_eq!(text.as_str(), "/proc/12");
        assert_eq!(text.as_c_str().unwrap().to_bytes(), b"/proc/1");
    }

    #[test]
    fn a_nul_makes_no_path() {
        let mut text = Text::<8>::new();
        text.push(b"a\0b");
        assert!(text.as_c_str().is_none());
    }
}
