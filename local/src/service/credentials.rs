//! The role's credentials: made up, in AWS's format, and valid nowhere.
//!
//! Without words in them, so that a filter that removes credentials from a text removes nothing else. The same in every
//! run, so that a test can find them wherever they turn up. Called by the launch.

/// Name and value of each variable. The values are in two parts, since scanners of repositories look for whole ones.
pub(crate) const CREDENTIALS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", concat!("ASIA", "ID6J7ND33WQAEIZA")),
    ("AWS_SECRET_ACCESS_KEY", concat!("XfFPjjZF1hask/jsVVJo", "gTD4CsySJ9WzlQ/ACRNE")),
    (
        "AWS_SESSION_TOKEN",
        concat!(
            "IQoJb3JpZ2luX2Vjv5RcG/07P1M+i8tZ9kVTKXvJ0vkcXkXCbPdD0brlkQPG3A+7HEccQXxZU98QBQfYYP28Fob3BDlXqBF7QXq5",
            "nnyEK4v/WDOQ6uPesc9ANGuUhFJrFQ7IXJLcShElML5hzDXzASlnWZ0dOmN3wzEKzd3pCX8wHqMtBfwrGevTZc4NnQ4RYos9OA1d",
            "vA0BrvbW846Zf5VhRdUH4D+LTc51opMpJbX1Xsw61C9z6V9/WKu5HnI1JiDqNqsfg5HVQCo49kXodQhN9wz7OF1keq4c1RnJxAFu",
            "XL+TkLsfEFJwHKtsTxuxv3e6LDIu8uC2mOm0",
        ),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_awss_format_and_no_word_of_ours() {
        let [(_, id), (_, secret), (_, token)] = CREDENTIALS else { panic!("three") };
        assert!(id.len() == 20 && id.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)));
        assert!(secret.len() == 40 && token.len() > 300);
        for (_, value) in CREDENTIALS {
            let lower = value.to_lowercase();
            assert!(!["ringfence", "local", "secret", "lambda"].iter().any(|word| lower.contains(word)));
        }
    }
}
