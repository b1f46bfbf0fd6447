//! `ca trust` and `ca untrust`: in a root and a home of their own, by the system's own programs.

use std::path::Path;
use std::process::Command;

use crate::support::{Folder, TestCa, skipped};

const INTERCEPT: &str = "[intercept]\nca_certificate = \"ca.pem\"\nca_key = \"ca.key\"\n";

/// With a CA, a PATH, and this folder as home.
async fn folder() -> Folder {
    let folder = Folder::with(INTERCEPT).env("PATH", "/usr/bin:/bin");
    let home = folder.path().display().to_string();
    let folder = folder.env("HOME", &home);
    assert_eq!(folder.run(&["ca", "init"]).await.code, Some(0));
    folder
}

fn there_is(program: &str) -> bool {
    let there = ["/usr/bin", "/usr/sbin"].iter().any(|folder| Path::new(folder).join(program).is_file());
    if !there {
        skipped(program);
    }
    there
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn debians_store_has_the_ca_until_it_is_taken_out() {
    if !there_is("update-ca-certificates") {
        return;
    }
    let folder = folder().await;
    let root = folder.path().join("root");
    for below in [
        "usr/local/share/ca-certificates",
        "usr/share/ca-certificates",
        "etc/ssl/certs",
        "etc/ca-certificates/update.d",
    ] {
        std::fs::create_dir_all(root.join(below)).unwrap();
    }
    // One that the system has trusted before.
    let before = TestCa::new().pem();
    std::fs::write(root.join("usr/share/ca-certificates/before.crt"), &before).unwrap();
    std::fs::write(root.join("etc/ca-certificates.conf"), "before.crt\n").unwrap();
    let (local, bundle) =
        (root.join("usr/local/share/ca-certificates"), root.join("etc/ssl/certs/ca-certificates.crt"));
    let files = || std::fs::read_dir(&local).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let ca = folder.read("ca.pem");

    let dry = folder.run(&["ca", "trust", "--root", "root", "--dry-run"]).await;
    assert_eq!((dry.code, dry.stderr.as_str()), (Some(0), "nothing is done: --dry-run\n"), "{dry:?}");
    assert!(dry.stdout.starts_with("the system (Debian, Ubuntu, Alpine)\n  write   /"), "{dry:?}");
    assert_eq!((files().len(), bundle.exists()), (0, false));

    for _again in 0..2 {
        let done = folder.run(&["ca", "trust", "--root", "root"]).await;
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        assert_eq!(done.stdout, dry.stdout);
        assert!(files()[0].to_str().unwrap().starts_with("attache-"), "{:?}", files());
        let all = text_of(&bundle);
        assert!(all.contains(ca.trim()) && all.contains(before.trim()), "{all}");
    }
    let undone = folder.run(&["ca", "untrust", "--root", "root"]).await;
    assert_eq!((undone.code, undone.stderr.as_str()), (Some(0), ""), "{undone:?}");
    assert_eq!((files().len(), text_of(&bundle).trim()), (0, before.trim()));
    let links = std::fs::read_dir(root.join("etc/ssl/certs")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = links.filter(|name| name.to_string_lossy().contains("attache")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn browsers_databases_have_the_ca_until_it_is_taken_out() {
    if !there_is("certutil") {
        return;
    }
    let folder = folder().await;
    let databases = [".pki/nssdb", ".mozilla/firefox/abc.default"].map(|below| folder.path().join(below));
    let certutil = |database: &Path, args: &[&str]| {
        let of = format!("sql:{}", database.display());
        let output = Command::new("certutil").args([&["-d", &of][..], args].concat()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for database in &databases {
        std::fs::create_dir_all(database).unwrap();
        certutil(database, &["-N", "--empty-password"]);
    }
    let done = folder.run(&["ca", "trust", "--nss"]).await;
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert_eq!(done.stdout.matches("the NSS database sql:").count(), 2, "{done:?}");
    for database in &databases {
        let listed = certutil(database, &["-L"]);
        let trusted = listed.lines().find(|line| line.starts_with("attache "));
        assert!(trusted.is_some_and(|line| line.trim_end().ends_with("C,,")), "{listed}");
    }
    let undone = folder.run(&["ca", "untrust", "--nss"]).await;
    assert_eq!((undone.code, undone.stderr.as_str()), (Some(0), ""), "{undone:?}");
    for database in &databases {
        assert!(!certutil(database, &["-L"]).contains("attache "));
    }
    let twice = folder.run(&["ca", "untrust", "--nss"]).await;
    assert!(twice.code == Some(1) && twice.stderr.contains("certutil failed: "), "{twice:?}");
}

#[tokio::test]
async fn where_there_is_no_store_or_no_ca_that_is_said() {
    let folder = folder().await;
    std::fs::create_dir_all(folder.path().join("empty")).unwrap();
    let none = folder.run(&["ca", "trust", "--root", "empty"]).await;
    assert!(none.code == Some(1) && none.stderr.contains("has no store that is known"), "{none:?}");
    let nothing = Folder::with("").run(&["ca", "trust"]).await;
    assert!(nothing.code == Some(1) && nothing.stderr.contains("attache ca init"), "{nothing:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_only_tells_of_a_ca_runs_no_program_of_a_configuration_and_reads_no_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder().await;
    std::fs::create_dir_all(folder.path().join("root/usr/share/pki/trust/anchors")).unwrap();
    let show = ["ca", "show"];
    let trust = ["ca", "trust", "--root", "root", "--dry-run"];
    let export = ["ca", "export"];
    let env = ["env", "--write-bundle", "bundle.pem"];
    let commands: [&[&str]; 4] = [&show, &trust, &export, &env];
    let all = async |toml: &str, code: i32, told: &str| {
        folder.write("proxy.toml", toml);
        for command in commands {
            let finished = folder.run(command).await;
            assert_eq!(finished.code, Some(code), "{command:?}: {finished:?}");
            assert!(finished.stderr.contains(told), "{command:?}: {finished:?}");
            assert!(!folder.path().join("ran").exists(), "{command:?}");
        }
    };
    let marks = "{ command = [\"touch\", \"ran\"] }";
    all(&format!("[intercept]\nca_certificate = \"ca.pem\"\nca_key = {marks}\n"), 0, "").await;
    // A key that this user may not read, and so does not even see; root reads everything.
    all(&INTERCEPT.replace("ca.key", "elsewhere/ca.key"), 0, "").await;
    // The certificate itself: where another user may write the file, it is that user who says what runs.
    let printed = "[intercept]\nca_certificate = { command = [\"cat\", \"ca.pem\"] }\nca_key = \"ca.key\"\n";
    all(printed, 0, "").await;
    let file = folder.path().join("proxy.toml");
    let chmod = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o666);
    let trapped = printed.replace("\"cat\", \"ca.pem\"", "\"touch\", \"ran\"");
    all(&trapped, 78, "is what a program prints, and another user may write this file or its folder").await;
    chmod(0o644);
    // As root with a file of another user's.
    if std::os::unix::fs::chown(&file, Some(65534), None).is_ok() {
        all(&trapped, 78, "and so choose what is run; write ca_certificate = \"ca.pem\"").await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_in_the_path_is_not_taken_for_the_systems() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder().await;
    let bin = folder.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let trap = format!("#!/bin/sh\ntouch '{}'\n", folder.path().join("trapped").display());
    for name in ["update-ca-certificates", "certutil", "chroot"] {
        std::fs::write(bin.join(name), &trap).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let folder = folder.env("PATH", &format!("{}:/usr/bin:/bin", bin.display()));
    for below in [".pki/nssdb", "debian/usr/local/share/ca-certificates", "suse/usr/share/pki/trust/anchors"] {
        std::fs::create_dir_all(folder.path().join(below)).unwrap();
    }
    std::fs::write(folder.path().join(".pki/nssdb/cert9.db"), "").unwrap();
    for args in [["--nss", "--config=proxy.toml"], ["--root", "debian"], ["--root", "suse"]] {
        let finished = folder.run(&[&["ca", "trust"], &args[..]].concat()).await;
        assert!(finished.code.is_some() && !folder.path().join("trapped").exists(), "{args:?}: {finished:?}");
        let shown = finished.stdout.contains("run     /usr/") || finished.stderr.contains("certutil");
        assert!(shown && !finished.stdout.contains("/bin/bin"), "{args:?}: {finished:?}");
    }
}
