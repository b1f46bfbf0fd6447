//! `attache man`: the manual pages, made of the same words as `--help`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Command};
use clap_mangen::Man;

use super::man_sections;
use super::output::{Failure, talk, text};
use crate::config;

/// What the foot and the head of each page say.
const SOURCE: &str = concat!("attache ", env!("CARGO_PKG_VERSION"));
const MANUAL: &str = "attache";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache man | man -l -                     read it
  SOURCE_DATE_EPOCH=0 attache man            with this date, in seconds since 1970, instead of today's
  attache man --directory ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write attache.1, a page for each command and proxy.toml.5 into this directory, instead of printing the main page.
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

/// The main page, one for each command below it, and that of the configuration file.
pub(super) fn pages(commands: Command) -> std::io::Result<Vec<Page>> {
    let mut root = commands.disable_help_subcommand(true);
    root.build();
    let date = date();
    let mut commands = vec![root];
    let file = config::manual_page(&date, SOURCE, MANUAL);
    let mut pages = vec![Page { name: "proxy.toml.5".to_owned(), roff: file.into_bytes() }];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|below| !below.is_hide_set()).cloned());
        pages.push(page(&command, &date)?);
    }
    Ok(pages)
}

fn page(command: &Command, date: &str) -> std::io::Result<Page> {
    let man = Man::new(command.clone());
    let name = man.get_filename();
    let title = name.trim_end_matches(".1").to_uppercase();
    let man = man.title(title).date(date).manual(MANUAL).source(SOURCE);
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(&mut roff)?;
    }
    let mut roff = one_break_at_a_time(&String::from_utf8_lossy(&roff));
    roff.push_str(&man_sections::sections(command));
    Ok(Page { name, roff: roff.into_bytes() })
}

/// A break beside an empty line is one of the two too many, of which `mandoc -Tlint` warns.
fn one_break_at_a_time(roff: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in roff.lines().map(str::trim_end) {
        let space = |line: &str| matches!(line, "" | ".br" | ".sp");
        match lines.last_mut() {
            Some(last) if space(last) && space(line) => *last = ".sp",
            _ => lines.push(line),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// When the pages were made: what is packed at one commit is packed alike again (<https://reproducible-builds.org/specs/source-date-epoch/>).
fn date() -> String {
    let packed = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.trim().parse().ok());
    let since = packed.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    let at = humantime::format_rfc3339_seconds(since.unwrap_or_else(SystemTime::now)).to_string();
    at.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_that_follow_each_other_become_one() {
        assert_eq!(one_break_at_a_time("a \n.br\n\n.br\nb\n.br\nc\n"), "a\n.sp\nb\n.br\nc\n");
    }

    #[test]
    fn a_date_is_a_day() {
        let date = date();
        assert!(date.len() == 10 && date.split('-').count() == 3, "{date}");
    }
}
