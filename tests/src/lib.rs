//! End-to-end tests live in the folders beside this one; what they share would stand here.
