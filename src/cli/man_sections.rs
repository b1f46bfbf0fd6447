//! What a manual page has besides the words of `--help`: examples as they stand, the environment, files, exit status.

use std::io::{self, Write};

use clap::Command;

/// Read by the commands that ask a running attache; no flag stands for it.
const ADMIN_TOKEN: (&str, &str) =
    ("ATTACHE_ADMIN_TOKEN", "The token of the admin listener, where the configuration's is not at hand.");

const EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "Done."),
    ("1", "Failed: stderr says of what, or with --json stdout."),
    ("2", "Usage: the command line cannot be read."),
    ("78", "Configuration: a file that is missing or wrong; every problem of it is on stderr."),
];

const FILES: [(&str, &str); 1] =
    [("./proxy.toml", "The configuration, unless --config or ATTACHE_CONFIG names another.")];

const CONFIG: (&str, &str) = ("ATTACHE_CONFIG", "The configuration file, where no flag names one.");

const PROFILES: (&str, &str) = (
    "~/.config/attache/",
    "Profiles, NAME.toml for -p NAME, and proxy.toml, which is read where ./proxy.toml is not there. XDG_CONFIG_HOME stands for ~/.config.",
);

/// The sections behind the options.
pub(super) fn render(command: &Command, to: &mut impl Write) -> io::Result<()> {
    if let Some(words) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        notes(&words.to_string(), to)?;
    }
    let asks = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
    let mut environment: Vec<(String, String)> = command
        .get_arguments()
        .filter_map(|arg| {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            Some((arg.get_env()?.to_string_lossy().into_owned(), help))
        })
        .collect();
    if environment.iter().any(|(name, _)| name == "ATTACHE_ADMIN") {
        environment.push((ADMIN_TOKEN.0.to_owned(), ADMIN_TOKEN.1.to_owned()));
    }
    if asks("profile") {
        environment.push((CONFIG.0.to_owned(), CONFIG.1.to_owned()));
    }
    list("ENVIRONMENT", environment.iter().map(|(name, what)| (name.as_str(), what.as_str())), to)?;
    if asks("config") {
        list("FILES", FILES.into_iter().chain(asks("profile").then_some(PROFILES)), to)?;
    }
    // A command that runs another says its own codes among its notes.
    if !asks("command") {
        list("EXIT STATUS", EXIT_STATUS.into_iter(), to)?;
    }
    Ok(())
}

/// As they stand on a terminal, each line with its indent; what follows on `Examples:` or `Exit codes:` is a section of its own.
fn notes(words: &str, to: &mut impl Write) -> io::Result<()> {
    let mut open = false;
    for line in words.trim_end().lines() {
        let (title, rest) = match line.split_once(": ") {
            Some(("Exit codes", rest)) => (Some("EXIT STATUS"), rest),
            _ if line == "Examples:" || line == "Start here:" => (Some("EXAMPLES"), ""),
            _ => (None, line),
        };
        if open && title.is_some() {
            writeln!(to, ".fi")?;
        }
        if title.is_some() || !open {
            writeln!(to, ".SH \"{}\"\n.nf", title.unwrap_or("NOTES"))?;
            open = true;
        }
        if title.is_none() || !rest.is_empty() {
            writeln!(to, "{}", escaped(rest))?;
        }
    }
    if open { writeln!(to, ".fi") } else { Ok(()) }
}

fn list<'a>(title: &str, entries: impl Iterator<Item = (&'a str, &'a str)>, to: &mut impl Write) -> io::Result<()> {
    for (number, (name, what)) in entries.enumerate() {
        if number == 0 {
            writeln!(to, ".SH \"{title}\"")?;
        }
        writeln!(to, ".TP\n\\fB{}\\fR\n{}", escaped(name), escaped(&what.replace('\n', " ")))?;
    }
    Ok(())
}

/// No line is a request of roff's, and a hyphen can be pasted into a shell.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(command: &Command) -> String {
        let mut roff = Vec::new();
        render(command, &mut roff).unwrap();
        String::from_utf8(roff).unwrap()
    }

    #[test]
    fn examples_keep_their_indent_and_sections_have_their_usual_names() {
        let command = Command::new("x")
            .arg(clap::Arg::new("config").long("config").env("X_CONFIG").help("A file."))
            .after_help("Examples:\n  x --go \\\n      .y\n\nMore.");
        assert_eq!(
            page(&command),
            ".SH \"EXAMPLES\"\n.nf\n  x \\-\\-go \\e\n      .y\n\nMore.\n.fi\n\
             .SH \"ENVIRONMENT\"\n.TP\n\\fBX_CONFIG\\fR\nA file.\n\
             .SH \"FILES\"\n.TP\n\\fB\\&./proxy.toml\\fR\nThe configuration, unless \\-\\-config or ATTACHE_CONFIG names another.\n\
             .SH \"EXIT STATUS\"\n"
                .to_owned()
                + ".TP\n\\fB0\\fR\nDone.\n.TP\n\\fB1\\fR\nFailed: stderr says of what, or with \\-\\-json stdout.\n\
                   .TP\n\\fB2\\fR\nUsage: the command line cannot be read.\n\
                   .TP\n\\fB78\\fR\nConfiguration: a file that is missing or wrong; every problem of it is on stderr.\n"
        );
    }

    #[test]
    fn a_command_that_runs_another_has_the_exit_codes_of_its_notes_alone() {
        let command = Command::new("x").arg(clap::Arg::new("command")).after_help("Exit codes: the command's,\nor 1");
        assert_eq!(page(&command), ".SH \"EXIT STATUS\"\n.nf\nthe command's,\nor 1\n.fi\n");
        assert_eq!(escaped(".TH"), "\\&.TH");
    }
}
