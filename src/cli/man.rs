//! `attache man`: the manual pages, made of the same words as `--help`.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;

use super::man_sections;
use super::output::{Failure, talk, text};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache man | man -l -                     read it
  attache man --directory ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write attache.1 and a page for each command into this directory, instead of printing the main page.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Pages that are there already are written anew: they are not made to be edited.
pub(super) fn man(args: &ManArgs, commands: Command) -> Result<(), Failure> {
    let pages = pages(commands).map_err(Failure::failed)?;
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
pub(super) struct Page {
    /// `attache-run.1`
    pub(super) name: String,
    pub(super) roff: Vec<u8>,
}

/// The main page, and one for each command below it.
pub(super) fn pages(commands: Command) -> std::io::Result<Vec<Page>> {
    let mut root = commands.disable_help_subcommand(true);
    root.build();
    let mut commands = vec![root];
    let mut pages = Vec::new();
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|below| !below.is_hide_set()).cloned());
        pages.push(page(&command)?);
    }
    Ok(pages)
}

fn page(command: &Command) -> std::io::Result<Page> {
    let man = Man::new(command.clone()).manual("attache").source(concat!("attache ", env!("CARGO_PKG_VERSION")));
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(&mut roff)?;
    }
    man_sections::render(command, &mut roff)?;
    Ok(Page { name: man.get_filename(), roff })
}
