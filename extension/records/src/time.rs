//! Points in time as records print them: RFC 3339 in UTC with milliseconds.
//!
//! It reads no clock: whoever writes a record brings the time. Nothing here allocates.

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
    fn clocks_are_cut_to_milliseconds() {
        assert_eq!(Timestamp::from_clock(1, 999_999_999), Timestamp(1999));
        assert_eq!(Timestamp::from_clock(u64::MAX, 0), Timestamp(u64::MAX));
    }
}
