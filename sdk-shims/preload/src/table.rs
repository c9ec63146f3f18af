//! The list of libc's sites that a process hands to the programs it starts, so that they need not search for them.
//!
//! Searching through libc's text is most of what a start costs. A text is known by its object's build id; of each
//! site only the offset is listed, and the process that takes over the list looks at the call there and the code before it: a list
//! that does not fit makes sites go unseen. It comes in the environment, beside the
//! variable without which the library would not be at work at all. `start` reads and fills it, `exec` hands it on.

/// The variable that holds the list.
pub(crate) const VARIABLE: &[u8] = b"RINGFENCE_SITES";
/// glibc 2.36 and its loader take 300 bytes, glibc 2.31 with libpthread 400.
pub(crate) const ROOM: usize = 1024;
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-";
/// Set in a digit that is not a number's last.
const MORE: u32 = 32;
/// Ends the list of one text. No digit.
const END: u8 = b'.';

/// Which sites of which text are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// First bytes of the object's build id.
    pub(crate) build: u64,
    pub(crate) length: usize,
    /// Which calls were wanted, one bit for each set of them.
    pub(crate) wants: u32,
}

/// `RINGFENCE_SITES=…` with its NUL, as it is handed on.
#[derive(Debug)]
pub(crate) struct Table {
    text: [u8; ROOM],
    used: usize,
}

impl Table {
    pub(crate) fn new() -> Self {
        let mut table = Self { text: [0; ROOM], used: 0 };
        for byte in VARIABLE.iter().chain(b"=") {
            table.put(*byte);
        }
        table
    }

    /// Lists the `calls` of a text, ascending offsets. Where there is no room for all of them, none is listed.
    pub(crate) fn add(&mut self, key: Key, calls: impl Iterator<Item = u32>) {
        let before = self.used;
        if self.put_list(key, calls).is_none() {
            self.text.get_mut(before..).unwrap_or_default().fill(0);
            self.used = before;
        }
    }

    fn put_list(&mut self, key: Key, calls: impl Iterator<Item = u32>) -> Option<()> {
        for number in key.numbers()? {
            self.put_number(number)?;
        }
        let mut last = 0;
        for call in calls {
            self.put_number(call.checked_sub(last)?)?;
            last = call;
        }
        self.put(END)
    }

    fn put_number(&mut self, mut number: u32) -> Option<()> {
        while number >= MORE {
            self.put_digit((number % MORE) | MORE)?;
            number /= MORE;
        }
        self.put_digit(number)
    }

    fn put_digit(&mut self, digit: u32) -> Option<()> {
        self.put(*DIGITS.get(digit as usize)?)
    }

    /// The last byte stays a NUL.
    fn put(&mut self, byte: u8) -> Option<()> {
        let slot = self.text.get_mut(..ROOM - 1)?.get_mut(self.used)?;
        *slot = byte;
        self.used += 1;
        Some(())
    }

    /// The variable's address, where anything is listed.
    pub(crate) fn address(&self) -> Option<usize> {
        (self.used > VARIABLE.len() + 1).then_some(self.text.as_ptr() as usize)
    }

    #[cfg(test)]
    fn value(&self) -> &[u8] {
        &self.text[VARIABLE.len() + 1..self.used]
    }
}

impl Key {
    fn numbers(self) -> Option<[u32; 4]> {
        let low = u32::try_from(self.build & u64::from(u32::MAX)).ok()?;
        let high = u32::try_from(self.build >> 32).ok()?;
        Some([low, high, u32::try_from(self.length).ok()?, self.wants])
    }
}

/// Offsets of the calls that `value` lists for a text, where it does for at least the calls that are wanted here.
pub(crate) fn listed(value: &[u8], key: Key) -> Option<impl Iterator<Item = u32>> {
    let [low, high, length, wants] = key.numbers()?;
    let mut lists = value.split(|byte| *byte == END).map(|list| Numbers { list });
    let list = lists.find_map(|mut list| {
        let found = [list.next()?, list.next()?, list.next()?];
        let wanted = list.next()?;
        (found == [low, high, length] && wanted & wants == wants).then_some(list)
    })?;
    Some(list.scan(0_u32, |last, step| {
        *last = last.checked_add(step)?;
        Some(*last)
    }))
}

/// The numbers of one list.
struct Numbers<'v> {
    list: &'v [u8],
}

impl Iterator for Numbers<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (mut number, mut shift) = (0_u32, 0);
        loop {
            let (digit, rest) = self.list.split_first()?;
            self.list = rest;
            let digit = value_of(*digit)?;
            number |= (digit % MORE).checked_shl(shift)?;
            if digit < MORE {
                return Some(number);
            }
            shift += MORE.trailing_zeros();
        }
    }
}

fn value_of(digit: u8) -> Option<u32> {
    let value = match digit {
        b'0'..=b'9' => digit - b'0',
        b'A'..=b'Z' => digit - b'A' + 10,
        b'a'..=b'z' => digit - b'a' + 36,
        b'+' => 62,
        b'-' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = Key { build: 0xfedc_ba98_7654_3210, length: 0x15_5000, wants: 0b11 };

    fn numbers(value: &[u8], key: Key) -> Option<Vec<u32>> {
        listed(value, key).map(Iterator::collect)
    }

    #[test]
    fn a_list_is_for_one_text_and_for_no_more_calls_than_it_was_made_for() {
        let mut table = Table::new();
        table.add(Key { build: 1, ..KEY }, [7, 9].into_iter());
        table.add(KEY, [0, 31, 32, 0x15_4fff].into_iter());
        let value = table.value();
        assert_eq!(numbers(value, KEY), Some(vec![0, 31, 32, 0x15_4fff]));
        assert_eq!(numbers(value, Key { wants: 0b01, ..KEY }), Some(vec![0, 31, 32, 0x15_4fff]));
        assert_eq!(numbers(value, Key { build: 1, ..KEY }), Some(vec![7, 9]));
        for other in [Key { build: 2, ..KEY }, Key { length: 1, ..KEY }, Key { wants: 0b100, ..KEY }] {
            assert_eq!(numbers(value, other), None);
        }
    }

    #[test]
    fn a_list_that_has_no_room_is_left_out() {
        let mut table = Table::new();
        assert_eq!(table.address(), None);
        table.add(KEY, (0..2000).map(|index| index * 1000));
        assert_eq!(table.address(), None);
        table.add(KEY, [5].into_iter());
        assert_eq!(numbers(table.value(), KEY), Some(vec![5]));
        assert!(table.address().is_some());
    }

    proptest! {
        #[test]
        fn what_was_listed_is_read_back(steps in proptest::collection::vec(0..50_000_u32, 0..120)) {
            let calls: Vec<u32> = steps.iter().scan(0, |sum, step| { *sum += step; Some(*sum) }).collect();
            let mut table = Table::new();
            table.add(KEY, calls.iter().copied());
            if table.address().is_some() {
                prop_assert_eq!(numbers(table.value(), KEY), Some(calls));
            }
        }

        #[test]
        fn garbage_never_panics(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = numbers(&value, KEY);
        }
    }
}
