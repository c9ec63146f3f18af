//! Amounts: bytes, dates and multiples of a percentile.
//!
//! Each is exact (no floating point), so that printing and reading give the same value. The sections use them.

use std::fmt;

use super::diagnostic::Findings;
use super::value::{Node, Strength, Value, integer, print_string, wrong};

/// A number of bytes, written as an integer or as `"64MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Binary units, the largest first; then the decimal ones that people also write.
const UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    fn parse(text: &str) -> Option<Self> {
        let (unit, factor) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit))?;
        let digits = text.strip_suffix(unit)?.trim_end();
        let number: u64 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
        number.checked_mul(factor).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().take(3).find(|(_, factor)| self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Value for ByteSize {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let text = node.get_ref().as_str();
        // u64::MAX stands for "none" in the compiled form, and no machine has it.
        let size = text
            .and_then(Self::parse)
            .or_else(|| integer(node).map(Self))
            .filter(|size| (1..1 << 62).contains(&size.0));
        if size.is_none() {
            wrong(
                node,
                findings,
                "a size in bytes",
                "write \"64MiB\" (units: B, KiB, MiB, GiB), or a number of bytes",
            );
        }
        size
    }

    fn print(&self, out: &mut String) {
        print_string(&self.to_string(), out);
    }

    fn schema() -> String {
        "{\"anyOf\": [{\"type\": \"integer\", \"minimum\": 1}, {\"type\": \"string\", \
         \"pattern\": \"^[0-9]+ *([KMG]iB|[kKMG]B|B)$\"}]}"
            .to_owned()
    }
}

/// A day of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Year of the common era.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
}

impl Date {
    /// The day on which the second `seconds` after 1970-01-01T00:00:00Z lies.
    #[must_use]
    pub fn from_unix_seconds(seconds: u64) -> Self {
        // Days to civil date in the proleptic Gregorian calendar: eras of 400 years that begin on the first of March.
        let days = seconds / 86_400 + 719_468;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
        Self {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month: u8::try_from(month).unwrap_or(1),
            day: u8::try_from(day).unwrap_or(1),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Value for Date {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let whole = node.get_ref().as_datetime().filter(|date| date.time.is_none() && date.offset.is_none());
        let Some(date) = whole.and_then(|datetime| datetime.date) else {
            wrong(node, findings, "a date", "write a day without quotes: 2026-12-24");
            return None;
        };
        Some(Self { year: date.year, month: date.month, day: date.day })
    }

    fn print(&self, out: &mut String) {
        out.push_str(&self.to_string());
    }

    fn schema() -> String {
        "{\"type\": \"string\", \"format\": \"date\"}".to_owned()
    }
}

/// `"p99 * 1.5"`: a multiple of what the function usually needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Threshold {
    /// Percentile of past invocations, 1 to 99.
    pub percentile: u8,
    /// Factor in thousandths: 1500 for 1.5.
    pub factor_milli: u32,
}

impl Threshold {
    fn parse(text: &str) -> Option<Self> {
        let (percentile, factor) = text.strip_prefix('p')?.split_once('*')?;
        let percentile = percentile.trim_end().parse().ok().filter(|value| (1..=99).contains(value))?;
        let (whole, part) = factor.trim().split_once('.').unwrap_or((factor.trim(), "0"));
        let digits = |text: &str| {
            !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole) || !digits(part) {
            return None;
        }
        let factor_milli = whole.parse::<u32>().ok()? * 1000 + format!("{part:0<3}").parse::<u32>().ok()?;
        (factor_milli > 0).then_some(Self { percentile, factor_milli })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{} * {}", self.percentile, self.factor_milli / 1000)?;
        match self.factor_milli % 1000 {
            0 => Ok(()),
            part => f.write_str(format!(".{part:03}").trim_end_matches('0')),
        }
    }
}

impl Value for Threshold {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let threshold = node.get_ref().as_str().and_then(Self::parse);
        if threshold.is_none() {
            wrong(
                node,
                findings,
                "a multiple of a percentile",
                "write \"p99 * 3\" (p1 to p99, a factor with up to 3 decimals)",
            );
        }
        threshold
    }

    fn print(&self, out: &mut String) {
        print_string(&self.to_string(), out);
    }

    fn schema() -> String {
        "{\"type\": \"string\", \"pattern\": \"^p[1-9][0-9]? *\\\\* *[0-9]{1,3}([.][0-9]{1,3})?$\"}"
            .to_owned()
    }

    fn strength(&self) -> Strength {
        Strength::Reports
    }
}

#[cfg(test)]
mod tests {
    use super::{ByteSize, Date, Threshold};

    #[test]
    fn sizes_are_read_in_their_units() {
        assert_eq!(ByteSize::parse("64MiB"), Some(ByteSize(64 << 20)));
        assert_eq!(ByteSize::parse("1 kB"), Some(ByteSize(1000)));
        assert_eq!(ByteSize::parse("MiB"), None);
        assert_eq!(ByteSize::parse("-1B"), None);
        assert_eq!(ByteSize::parse("99999999999GiB"), None);
        assert_eq!(ByteSize(1536).to_string(), "1536B");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let day = |seconds| Date::from_unix_seconds(seconds).to_string();
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_399), "2000-02-28");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(1_798_070_400), "2026-12-24");
        assert_eq!(day(1_798_070_399), "2026-12-23");
    }

    #[test]
    fn thresholds_are_exact() {
        for text in ["p99 * 3", "p50 * 1.5", "p1 * 0.001"] {
            assert_eq!(Threshold::parse(text).map(|threshold| threshold.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Threshold::parse("p99*3"), Threshold::parse("p99 * 3"));
        assert_eq!(Threshold::parse("p100 * 3"), None);
        assert_eq!(Threshold::parse("p99 * 0"), None);
    }
}
