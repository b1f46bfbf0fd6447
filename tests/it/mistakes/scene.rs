//! One mistake: what stood in the file, what was typed, and what was said.

use crate::support::{Folder, Snapshots};

/// A configuration without a fault. `SECRET` is set.
pub const RIGHT: &str = "\
[listeners.proxy]
address = \"127.0.0.1:0\"
mode = \"forward\"

[credentials.orders]
token_endpoint = \"https://login.example.com/token\"
client_id = \"orders-batch\"
client_secret = { env = \"SECRET\" }

[upstreams.orders]
origin = \"https://orders.example.com\"
credential = \"orders\"
";

/// The mistakes of one kind.
pub struct Mistakes {
    snapshots: Snapshots,
    /// What differs from run to run, and what is shown in its place.
    masked: Vec<(String, &'static str)>,
}

impl Mistakes {
    pub fn of(kind: &str) -> Self {
        Self { snapshots: Snapshots::of(&format!("mistakes/{kind}")), masked: Vec::new() }
    }

    /// Shows this in the place of that.
    pub fn mask(&mut self, text: impl Into<String>, shown: &'static str) {
        self.masked.push((text.into(), shown));
    }

    /// `check` of the right configuration, in which this stands in the place of that.
    pub async fn line(&mut self, name: &str, right: &str, wrong: &str) {
        assert!(RIGHT.contains(right), "{right}");
        self.file(name, &RIGHT.replacen(right, wrong, 1)).await;
    }

    /// `check` of this configuration.
    pub async fn file(&mut self, name: &str, toml: &str) {
        self.command(name, &folder(toml), &["check"]).await;
    }

    /// Any command in any folder.
    pub async fn command(&mut self, name: &str, folder: &Folder, args: &[&str]) {
        let finished = folder.run(args).await;
        let mut text = String::new();
        if let Ok(toml) = std::fs::read_to_string(folder.path().join("proxy.toml")) {
            text += &wrong_lines(&toml);
        }
        text += &format!("$ attache {}\n", args.join(" "));
        text += &finished.stdout;
        text += &finished.stderr;
        text += &format!("exit code {}\n", finished.code.unwrap_or(-1));
        text = text.replace(&folder.path().display().to_string(), "FOLDER");
        self.said(name, &without_times(&text));
    }

    /// What was said elsewhere.
    pub fn said(&mut self, name: &str, text: &str) {
        let mut text = text.to_owned();
        for (what, shown) in &self.masked {
            text = text.replace(what, shown);
        }
        self.snapshots.compare(name, &text);
    }

    #[track_caller]
    pub fn finish(self) {
        self.snapshots.finish();
    }
}

/// With this configuration, and the secret where it is said to be.
pub fn folder(toml: &str) -> Folder {
    Folder::with(toml).env("SECRET", "s3cr3t")
}

/// The lines that the right configuration does not have. A text of its own is shown whole, if it is short.
fn wrong_lines(toml: &str) -> String {
    let own = !toml.contains("[credentials.orders]");
    let shown = |line: &&str| own || !RIGHT.lines().any(|right| right == *line);
    let lines = toml.lines().enumerate().filter(|(_, line)| shown(line) && !line.is_empty()).take(12);
    let lines = lines.map(|(place, line)| format!("proxy.toml:{} | {line}\n", place + 1)).collect::<String>();
    if lines.is_empty() { lines } else { lines + "\n" }
}

/// `12 ms` is another number each time, and the column as wide as it is.
fn without_times(text: &str) -> String {
    let mut words = Vec::new();
    for line in text.lines() {
        let Some((before, after)) = line.split_once(" ms") else {
            words.push(line.to_owned());
            continue;
        };
        let number = before.trim_end_matches(|digit: char| digit.is_ascii_digit());
        if number.len() == before.len() {
            words.push(line.to_owned());
        } else {
            words.push(format!("{}  N ms{after}", number.trim_end()));
        }
    }
    words.join("\n")
}
