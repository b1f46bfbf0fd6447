//! What a manual page has besides the words of `--help`: examples as they stand, the environment, files, exit status.

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

/// What a process that serves does on a signal.
const SIGNALS: [(&str, &str); 2] = [
    ("SIGHUP", "The configuration is read again; a bad file leaves everything as it is."),
    (
        "SIGTERM, SIGINT",
        "Requests in progress may finish, for limits.drain at most; a second signal ends at once. Under drain_delay the first one only \
         withdraws readiness, and the next one ends that delay.",
    ),
];

/// The sections behind the options, in the order of man-pages(7).
pub(super) fn sections(command: &Command) -> String {
    let asks = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
    let words = command.get_after_long_help().or_else(|| command.get_after_help());
    let words = words.map(ToString::to_string).unwrap_or_default();
    let notes = Notes::of(&words);
    let mut page = String::new();
    match notes.exit_status.as_slice() {
        [] => list("EXIT STATUS", EXIT_STATUS.into_iter(), &mut page),
        lines => paragraphs("EXIT STATUS", lines, &mut page),
    }
    let environment = environment(command);
    list("ENVIRONMENT", environment.iter().map(|(name, what)| (name.as_str(), what.as_str())), &mut page);
    if asks("config") {
        list("FILES", FILES.into_iter().chain(asks("profile").then_some(PROFILES)), &mut page);
    }
    match command.get_name() {
        "run" => list("SIGNALS", SIGNALS.into_iter(), &mut page),
        "exec" => list("SIGNALS", [("SIGINT, SIGTERM, SIGHUP and others", PASSED_ON)].into_iter(), &mut page),
        _ => {}
    }
    paragraphs("NOTES", &notes.other, &mut page);
    as_they_stand("EXAMPLES", &notes.examples, &mut page);
    see_also(command, asks("config"), &mut page);
    page
}

const PASSED_ON: &str = "They are passed on to the command, and its end is this one's.";

fn environment(command: &Command) -> Vec<(String, String)> {
    let said = command.get_arguments().filter_map(|arg| {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        Some((arg.get_env()?.to_string_lossy().into_owned(), help))
    });
    let mut environment: Vec<(String, String)> = said.collect();
    if environment.iter().any(|(name, _)| name == "ATTACHE_ADMIN") {
        environment.push((ADMIN_TOKEN.0.to_owned(), ADMIN_TOKEN.1.to_owned()));
    }
    if command.get_arguments().any(|arg| arg.get_id() == "profile") {
        environment.push((CONFIG.0.to_owned(), CONFIG.1.to_owned()));
    }
    environment
}

/// The words behind `--help`, by what they are about.
#[derive(Debug, Default, PartialEq)]
struct Notes<'a> {
    exit_status: Vec<&'a str>,
    examples: Vec<&'a str>,
    other: Vec<&'a str>,
}

impl<'a> Notes<'a> {
    /// Examples go to the next empty line, exit codes too.
    fn of(words: &'a str) -> Self {
        let mut notes = Self::default();
        let mut part: fn(&mut Self) -> &mut Vec<&'a str> = |notes| &mut notes.other;
        for line in words.trim_end().lines() {
            if line == "Examples:" || line == "Start here:" {
                part = |notes| &mut notes.examples;
            } else if let Some(codes) = line.strip_prefix("Exit codes: ") {
                part = |notes| &mut notes.exit_status;
                notes.exit_status.push(codes);
            } else {
                if line.is_empty() {
                    part = |notes| &mut notes.other;
                }
                part(&mut notes).push(line);
            }
        }
        notes
    }
}

/// Filled, save for lines with an indent, which stand as they are.
fn paragraphs(title: &str, lines: &[&str], to: &mut String) {
    if lines.iter().all(|line| line.is_empty()) {
        return;
    }
    section(title, to);
    let written = lines.split(|line| line.is_empty()).filter(|paragraph| !paragraph.is_empty());
    for (number, paragraph) in written.enumerate() {
        if number > 0 {
            to.push_str(".PP\n");
        }
        let stands = paragraph.iter().any(|line| line.starts_with(' '));
        let lines: String = paragraph.iter().map(|line| format!("{}\n", escaped(line))).collect();
        to.push_str(&if stands { format!(".nf\n{lines}.fi\n") } else { lines });
    }
}

fn as_they_stand(title: &str, lines: &[&str], to: &mut String) {
    if lines.is_empty() {
        return;
    }
    section(title, to);
    let lines: String = lines.iter().map(|line| format!("{}\n", escaped(line))).collect();
    to.push_str(&format!(".nf\n{lines}.fi\n"));
}

fn list<'a>(title: &str, entries: impl Iterator<Item = (&'a str, &'a str)>, to: &mut String) {
    for (number, (name, what)) in entries.enumerate() {
        if number == 0 {
            section(title, to);
        }
        to.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", escaped(name), escaped(&what.replace('\n', " "))));
    }
}

/// The pages above this one, and that of the file it reads.
fn see_also(command: &Command, reads_file: bool, to: &mut String) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let above = name.match_indices('-').map(|(at, _)| (&name[..at], 1));
    let pages: Vec<String> = above
        .chain(reads_file.then_some(("proxy.toml", 5)))
        .map(|(page, number)| format!("\\fB{}\\fR({number})", escaped(page)))
        .collect();
    if !pages.is_empty() {
        section("SEE ALSO", to);
        to.push_str(&format!("{}\n", pages.join(",\n")));
    }
}

fn section(title: &str, to: &mut String) {
    to.push_str(&format!(".SH \"{title}\"\n"));
}

/// No line is a request of roff's, and a hyphen can be pasted into a shell.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_indent_and_sections_have_their_usual_names_and_order() {
        let command = Command::new("x")
            .display_name("attache-x")
            .arg(clap::Arg::new("config").long("config").env("X_CONFIG").help("A file."))
            .after_help("Examples:\n  x --go \\\n      .y\n\nMore\nof it.\n\n  as it stands");
        assert_eq!(
            sections(&command),
            ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\nDone.\n\
             .TP\n\\fB1\\fR\nFailed: stderr says of what, or with \\-\\-json stdout.\n\
             .TP\n\\fB2\\fR\nUsage: the command line cannot be read.\n\
             .TP\n\\fB78\\fR\nConfiguration: a file that is missing or wrong; every problem of it is on stderr.\n\
             .SH \"ENVIRONMENT\"\n.TP\n\\fBX_CONFIG\\fR\nA file.\n\
             .SH \"FILES\"\n.TP\n\\fB\\&./proxy.toml\\fR\n\
             The configuration, unless \\-\\-config or ATTACHE_CONFIG names another.\n\
             .SH \"NOTES\"\nMore\nof it.\n.PP\n.nf\n  as it stands\n.fi\n\
             .SH \"EXAMPLES\"\n.nf\n  x \\-\\-go \\e\n      .y\n.fi\n\
             .SH \"SEE ALSO\"\n\\fBattache\\fR(1),\n\\fBproxy.toml\\fR(5)\n"
        );
    }

    #[test]
    fn a_command_that_says_its_exit_codes_has_these_alone() {
        let command = Command::new("x").after_help("Exit codes: the command's,\nor 1\n\nAnd more");
        assert_eq!(sections(&command), ".SH \"EXIT STATUS\"\nthe command's,\nor 1\n.SH \"NOTES\"\nAnd more\n");
        assert_eq!(escaped(".TH"), "\\&.TH");
    }
}
