//! What a person asks of a command line besides its work: completions for a shell, manual pages, and the packs.
//!
//! It must not know what a command does: clap's definition of it is all that is read.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use ringfence_policy::PACKS;

use crate::Cli;
use crate::policy::printed;

/// Print completions for a shell.
///
/// Example: `ringfence completions bash >/etc/bash_completion.d/ringfence`
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "ringfence", &mut text);
        printed(&String::from_utf8_lossy(&text))
    }
}

/// Print the manual page, or write one for each command.
///
/// Example: `ringfence man --out /usr/local/share/man/man1`
#[derive(Args)]
pub(crate) struct Man {
    /// Where the pages of all commands go; without it the page of ringfence is printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        let written = match &self.out {
            None => page(Cli::command()).and_then(|page| std::io::stdout().write_all(&page)),
            Some(folder) => write_all(folder),
        };
        match written {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("ringfence man: {error}");
                ExitCode::from(3)
            }
        }
    }
}

fn page(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}

fn write_all(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}

/// Prints the names of the packs, each with what it says of itself.
pub(crate) fn print_packs() -> ExitCode {
    let line = |(name, text): (&str, &str)| {
        let about: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        format!("{name}: {}\n", about.join(" "))
    };
    printed(&PACKS.into_iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path()).unwrap();
        for name in ["ringfence", "ringfence-diff", "ringfence-local-invoke"] {
            let page = fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{page}");
        }
    }

    #[test]
    fn every_pack_says_what_it_is_for() {
        for (name, text) in PACKS {
            assert!(text.starts_with("# "), "{name}");
        }
    }
}
