//! Points in time as records print them: RFC 3339 in UTC with milliseconds.
//!
//! It reads no clock: the writer of a record brings the time. Nothing here allocates.

use core::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Timestamp(pub u64);

/// Last moment that four digits of a year can say; later ones print as this one.
const LAST: u64 = 253_402_300_799_999;
const DAY: u64 = 86_400_000;

impl Timestamp {
    /// A moment from seconds and nanoseconds, as `clock_gettime(2)` gives it.
    #[must_use]
    pub const fn from_clock(seconds: u64, nanoseconds: u32) -> Self {
        Self(seconds.saturating_mul(1000).saturating_add(nanoseconds as u64 / 1_000_000))
    }

    /// Reads RFC 3339 in UTC, `2026-11-30T21:40:12.123Z`, with any number of digits behind the point or none; cut to
    /// milliseconds. `None` for anything else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let number = |at: usize, length: usize| number(text.get(at..at + length)?);
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if !marks.iter().all(|(at, mark)| text.get(*at) == Some(mark)) {
            return None;
        }
        let days = days_since_1970(number(0, 4)?, number(5, 2)?, number(8, 2)?)?;
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        let fraction = match text.get(19..)? {
            b"Z" => 0,
            [b'.', digits @ .., b'Z'] if !digits.is_empty() => thousandths(digits)?,
            _ => return None,
        };
        let is_time = hour < 24 && minute < 60 && second < 61;
        let seconds = hour * 3600 + minute * 60 + second;
        is_time.then(|| Self(days * DAY + seconds * 1000 + fraction))
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum: u64, digit| {
        digit.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

/// The first three digits behind a point.
fn thousandths(digits: &[u8]) -> Option<u64> {
    number(digits)?;
    let digit = |at: usize| digits.get(at).map_or(0, |digit| u64::from(digit - b'0'));
    Some(digit(0) * 100 + digit(1) * 10 + digit(2))
}

/// The reverse of [`civil`].
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - u64::from(month <= 2);
    let from_march = (month + 9) % 12;
    let in_year = (153 * from_march + 2) / 5 + day - 1;
    (year * 365 + year / 4 - year / 100 + year / 400 + in_year).checked_sub(719_468)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.0.min(LAST);
        let (year, month, day) = civil(moment / DAY);
        let rest = moment % DAY;
        let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000)
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Counts from 0000-03-01, so that the leap day is the last of a year, in eras of 400 years (146,097 days).
const fn civil(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    const TO_MARCH_0000: u64 = 719_468;
    let days = days + TO_MARCH_0000;
    let in_era = days % ERA;
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + days / ERA * 400 + (month <= 2) as u64;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn known_moments_print_as_the_calendar_has_them() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_795_309_323_456, "2026-11-22T01:02:03.456Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ];
        for (moment, expected) in table {
            assert_eq!(Timestamp(moment).to_string(), expected);
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for moment in [0, 951_782_400_000, 1_709_164_799_999, 1_709_251_199_000, 1_795_309_323_456] {
            let text = Timestamp(moment).to_string();
            assert_eq!(Timestamp::parse(text.as_bytes()), Some(Timestamp(moment)), "{text}");
        }
        assert_eq!(Timestamp::parse(b"1970-01-01T00:00:01Z"), Some(Timestamp(1000)));
        assert_eq!(Timestamp::parse(b"1970-01-01T00:00:01.1234567Z"), Some(Timestamp(1123)));
        for text in
            ["", "t", "1970-01-01", "1969-01-01T00:00:00Z", "1970-13-01T00:00:00Z", "1970-01-01T00:00:00.Z"]
        {
            assert_eq!(Timestamp::parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let _ = Timestamp::parse(&text);
        }

        #[test]
        fn digits_anywhere_never_panic(text in "[0-9T:.Z-]{0,40}") {
            let _ = Timestamp::parse(text.as_bytes());
        }
    }

    #[test]
    fn clocks_are_cut_to_milliseconds() {
        assert_eq!(Timestamp::from_clock(1, 999_999_999), Timestamp(1999));
        assert_eq!(Timestamp::from_clock(u64::MAX, 0), Timestamp(u64::MAX));
    }
}
