//! Texts for people, kept in the repository as they are shown, so that they are read in review.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The texts of one folder below `tests/snapshots`, each in a file of its own. With `UPDATE_SNAPSHOTS=1` what is different
/// is written, and the test fails all the same: a person has to read it first.
pub struct Snapshots {
    folder: PathBuf,
    seen: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Snapshots {
    pub fn of(folder: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(folder);
        Self { folder, seen: BTreeSet::new(), wrong: Vec::new() }
    }

    /// Compares one.
    pub fn compare(&mut self, name: &str, text: &str) {
        let file = format!("{name}.txt");
        let path = self.folder.join(&file);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(self.seen.insert(file), "{name} is there twice");
        // One line end at the end, as editors leave it.
        let text = format!("{}\n", text.trim_end());
        if kept == text {
            return;
        }
        let line = kept.lines().zip(text.lines()).take_while(|(kept, shown)| kept == shown).count();
        let at = |text: &str| text.lines().nth(line).unwrap_or("(its end)").to_owned();
        self.wrong.push(format!("{}:{}\n  kept: {}\n  now:  {}", path.display(), line + 1, at(&kept), at(&text)));
        if updates() {
            std::fs::create_dir_all(&self.folder).unwrap();
            std::fs::write(&path, text).unwrap();
        }
    }

    /// Fails if one is different, or if there is one that nothing shows any more.
    #[track_caller]
    pub fn finish(mut self) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if self.seen.contains(name) {
                continue;
            }
            self.wrong.push(format!("{} is shown by nothing", path.display()));
            if updates() {
                std::fs::remove_file(&path).unwrap();
            }
        }
        let next = if updates() {
            "written; read them, and test again without UPDATE_SNAPSHOTS"
        } else {
            "UPDATE_SNAPSHOTS=1 writes them"
        };
        assert!(self.wrong.is_empty(), "{}\n{next}", self.wrong.join("\n"));
    }
}

fn updates() -> bool {
    std::env::var_os("UPDATE_SNAPSHOTS").is_some()
}
