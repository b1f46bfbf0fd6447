use std::path::Path;

use crate::config::testing::keep;
use crate::config::{Config, ConfigFile, STARTER};

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        keep(folder.path());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn load(&self) -> Result<Config, Vec<String>> {
        let path = self.0.path().join("proxy.toml");
        let prefix = format!("{}/", self.0.path().display());
        Config::load(&path).map_err(|errors| errors.to_string().lines().map(|line| line.replace(&prefix, "")).collect())
    }

    fn problems(&self) -> Vec<String> {
        self.load().err().unwrap_or_default()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

const MAIN: &str = "include = [\"conf.d/*.toml\"]\n[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";
const ORDERS: &str = "[upstreams.orders]\norigin = \"https://orders.test\"\ncredential = \"orders\"\n[credentials.orders]\nkind = \"bearer\"\ntoken = { file = \"token\" }\n";
const BILLING: &str = "[upstreams.billing]\norigin = \"https://billing.test\"\n[limits]\ndrain = \"7s\"\n";

#[test]
fn several_files_are_one_configuration() {
    let folder = Folder::with(&[
        ("proxy.toml", MAIN),
        ("conf.d/20-billing.toml", BILLING),
        ("conf.d/10-orders.toml", ORDERS),
        ("conf.d/token", "sentinel"),
        ("conf.d/.10-orders.toml", "what an editor leaves"),
        ("conf.d/notes.txt", "no TOML"),
        ("conf.d/below/30.toml", "below = 1"),
    ]);
    let read = folder.load().unwrap();
    let names: Vec<_> = read.upstreams.iter().map(|upstream| upstream.connection.name.as_str()).collect();
    assert_eq!(names, ["orders", "billing"], "in the order of the files' names");
    assert_eq!((read.limits.drain.as_secs(), read.warnings.len()), (7, 0));
    let path = folder.path().join("proxy.toml");
    assert_eq!(read.file.clone().map(|file| file.digest), ConfigFile::digest(&path));
    for (name, text) in [("conf.d/10-orders.toml", ""), ("conf.d/40-new.toml", "[callers.a]\n")] {
        let before = ConfigFile::digest(&path);
        folder.write(name, text);
        assert_ne!(before, ConfigFile::digest(&path), "{name}");
    }
    std::fs::remove_file(folder.path().join("conf.d/40-new.toml")).unwrap();
    let without = ConfigFile::digest(&path);
    folder.write("conf.d/.swap.toml", "x");
    assert_eq!(without, ConfigFile::digest(&path));
}

#[test]
fn problems_name_the_file_that_they_are_in() {
    let folder = Folder::with(&[
        ("proxy.toml", MAIN),
        ("conf.d/a.toml", "[upstreams.a]\norigin = \"https://a.test\"\ncredential = \"none\"\n"),
        (
            "conf.d/b.toml",
            "\n[upstreams.b]\norigin = 5\npats = \"/\"\n[credentials.b]\nkind = \"bearer\"\ntoken = { file = \"none\" }\n",
        ),
    ]);
    let found = folder.problems();
    let places: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        ["conf.d/a.toml:3:14", "conf.d/b.toml:3:10", "conf.d/b.toml:4:1", "conf.d/b.toml:7:18"],
        "{found:#?}"
    );
    assert!(found[3].contains("conf.d/none"), "a path is relative to the file it stands in: {found:#?}");
    folder.write("conf.d/a.toml", "[upstreams.a\n");
    folder.write("conf.d/b.toml", "x = ${\n");
    let found = folder.problems();
    assert!(found[0].starts_with("conf.d/a.toml:1:") && found[1].starts_with("conf.d/b.toml:1:"), "{found:#?}");
}

#[test]
fn what_stands_in_two_files_is_a_problem_that_names_both() {
    let folder = Folder::with(&[
        ("proxy.toml", MAIN),
        ("conf.d/a.toml", BILLING),
        ("conf.d/b.toml", &format!("# the same again\n{BILLING}[listeners.proxy]\nmode = \"socks5\"\n")),
    ]);
    assert_eq!(
        folder.problems(),
        [
            "conf.d/b.toml:2:12: `upstreams.billing` stands in conf.d/a.toml:1:12 already; keep one of the two",
            "conf.d/b.toml:4:2: `limits` stands in conf.d/a.toml:3:2 already; keep one of the two",
            "conf.d/b.toml:6:12: `listeners.proxy` stands in proxy.toml:2:12 already; keep one of the two",
        ]
    );
}

#[test]
fn what_is_included_includes_nothing_and_has_to_be_there() {
    let folder = Folder::with(&[
        (
            "proxy.toml",
            &MAIN.replace("conf.d/*.toml", "conf.d/one.toml\", \"none.toml\", \"*.toml\", \"conf.d/[x\", \"**/*.toml"),
        ),
        ("conf.d/one.toml", "include = [\"two.toml\"]\n"),
    ]);
    let found = folder.problems();
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(
        found[0].contains("`include` names ") && found[0].contains("none.toml, which is not there; "),
        "{found:#?}"
    );
    assert!(found[1].contains("`include` is not a pattern: "), "{found:#?}");
    assert!(found[2].contains("`include` has `**`, which stands for folders of any depth; "), "{found:#?}");
    assert_eq!(
        found[3],
        "conf.d/one.toml:1:1: `include` stands in a file that is included itself; write it in the file that attache is started with"
    );
    let folder = Folder::with(&[("proxy.toml", &MAIN.replace("conf.d", "nowhere"))]);
    assert!(folder.load().is_ok(), "a pattern may match none");
    folder.write("proxy.toml", &MAIN.replace("[\"conf.d/*.toml\"]", "\"conf.d/*.toml\""));
    assert!(folder.problems()[0].contains("`include` is a string, not a list"));
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_write_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, STARTER).unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let warned = || -> Vec<String> {
        let read = Config::load_without_secrets(&path).unwrap();
        read.warnings.iter().map(|warning| warning.what.clone()).collect()
    };
    mode(&path, 0o644);
    assert_eq!(warned(), [""; 0]);
    mode(&path, 0o666);
    assert_eq!(warned(), ["every user of this machine may write this file, and so decide where its secrets are sent"]);
    mode(&path, 0o644);
    mode(folder.path(), 0o777);
    assert_eq!(
        warned(),
        ["every user of this machine may write the folder of this file, and so put another file in its place"]
    );
    mode(folder.path(), 0o1777);
    assert_eq!(warned(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn the_folder_that_a_link_leads_to_counts_too() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path().join("proxy.toml");
    std::fs::write(target.path().join("real.toml"), STARTER).unwrap();
    std::os::unix::fs::symlink(target.path().join("real.toml"), &path).unwrap();
    let warned = || -> Vec<String> {
        Config::load_without_secrets(&path).unwrap().warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(warned(), [""; 0]);
    std::fs::set_permissions(target.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let told = format!(
        "every user of this machine may write the folder of the file that this link leads to, and so put another file in its place; chmod go-w {}",
        target.path().canonicalize().unwrap().display()
    );
    assert_eq!(warned(), [told]);
    // Only root may give a folder away.
    std::fs::set_permissions(target.path(), std::fs::Permissions::from_mode(0o1755)).unwrap();
    if std::os::unix::fs::chown(target.path(), Some(12345), None).is_ok() {
        let found = warned();
        assert!(
            found[0].starts_with("another user, who is its owner, may write the folder of the file that this "),
            "{found:?}"
        );
        std::os::unix::fs::chown(target.path(), Some(0), None).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_or_has_no_end_is_not_read() {
    let folder = Folder::with(&[("proxy.toml", &MAIN.replace("conf.d/*.toml", "pipe\", \"conf.d/*.toml"))]);
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    let found = folder.problems();
    assert!(found.len() == 1 && found[0].contains("which cannot be read: it is no regular file; "), "{found:#?}");
    assert_eq!(ConfigFile::digest(&folder.path().join("proxy.toml")), None);
    // A pattern names files alone.
    folder.write("proxy.toml", &MAIN.replace("conf.d/*.toml", "p*"));
    assert!(folder.load().is_ok());
    folder.write("proxy.toml", &MAIN.replace("conf.d/*.toml", "/dev/zero"));
    assert!(folder.problems()[0].contains("it is no regular file"), "{:#?}", folder.problems());
    let zero = Config::load(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(zero.contains("cannot be read: it is larger than 16 MiB; "), "{zero}");
    // A pipe of the shell's is read once, at the start.
    let path = folder.path().join("pipe");
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, STARTER)
    });
    assert!(Config::load_without_secrets(&path).is_ok());
    writer.join().unwrap().unwrap();
    assert_eq!(ConfigFile::digest(&path), None);
    let ca = crate::config::testing::upstream("a", "https://a.test", "tls = { ca_file = \"pipe\" }\n");
    folder.write("proxy.toml", &crate::config::testing::forward(&ca));
    let found = folder.problems();
    assert!(found.len() == 1 && found[0].contains("pipe, which cannot be read: it is no regular file; "), "{found:#?}");
}
