//! `attache man`: the manual pages, made of the same words as `--help`.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use super::Cli;
use super::output::{Failure, talk, text};

#[derive(Debug, Args)]
#[command(after_help = "\
  attache man | man -l -                     read it
  attache man --directory ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write attache.1 and a page for each command into this directory, instead of printing the main page.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Pages that are there already are written anew: nobody edits them.
pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    let pages = pages().map_err(Failure::failed)?;
    let Some(directory) = &args.directory else {
        let main = pages.into_iter().find(|page| page.name == "attache.1");
        return text(&main.map(|page| page.roff).unwrap_or_default());
    };
    let cannot = |error| Failure::failed(format!("cannot write into {}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(cannot)?;
    for page in &pages {
        std::fs::write(directory.join(&page.name), &page.roff).map_err(cannot)?;
    }
    talk(format_args!("{} pages are in {}", pages.len(), directory.display()))
}

/// One manual page.
struct Page {
    /// `attache-run.1`
    name: String,
    roff: Vec<u8>,
}

/// The main page, and one for each command below it.
fn pages() -> std::io::Result<Vec<Page>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut commands = vec![root];
    let mut pages = Vec::new();
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|below| !below.is_hide_set()).cloned());
        pages.push(page(command)?);
    }
    Ok(pages)
}

fn page(command: Command) -> std::io::Result<Page> {
    let man = Man::new(command).manual("attache").source(concat!("attache ", env!("CARGO_PKG_VERSION")));
    let mut roff = Vec::new();
    man.render(&mut roff)?;
    Ok(Page { name: man.get_filename(), roff })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        for command in Cli::command().get_subcommands() {
            let name = format!("attache-{}.1", command.get_name());
            assert!(names.contains(&name.as_str()), "{name}: {names:?}");
        }
        assert!(names.contains(&"attache.1"));
        for page in &pages {
            let roff = String::from_utf8(page.roff.clone()).unwrap();
            assert!(roff.contains(".TH attache") && roff.contains(".SH NAME"), "{}", page.name);
        }
    }
}
