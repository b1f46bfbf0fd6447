//! Which configuration a command means: a flag, a profile, a variable, the folder that it runs in, the user's own.

use crate::support::Folder;

/// One upstream of this name, reached without a token.
fn configuration(name: &str) -> String {
    format!(
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.{name}]\norigin = \"https://{name}.test\"\n"
    )
}

/// A folder without a configuration, whose user has profiles.
fn profiles(variable: &str, below: &str) -> Folder {
    let folder = Folder::new();
    let own = folder.path().join("home").join(below).join("attache");
    std::fs::create_dir_all(&own).unwrap();
    for name in ["proxy", "orders", "billing"] {
        std::fs::write(own.join(format!("{name}.toml")), configuration(name)).unwrap();
    }
    let home = folder.path().join("home").display().to_string();
    folder.env(variable, &home)
}

/// The file that `check` read, from the folder of profiles.
async fn read(folder: &Folder, args: &[&str]) -> String {
    let finished = folder.run(&[&["check"], args].concat()).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let path = finished.stdout.split(" is right").next().unwrap().to_owned();
    path.rsplit_once("/attache/").map_or(path.clone(), |(_, name)| format!("own {name}"))
}

#[tokio::test]
async fn a_profile_is_found_from_any_folder() {
    for folder in [profiles("HOME", ".config"), profiles("XDG_CONFIG_HOME", "")] {
        assert_eq!(read(&folder, &["-p", "orders"]).await, "own orders.toml");
        assert_eq!(read(&folder, &[]).await, "own proxy.toml");
        let folder = folder.env("ATTACHE_CONFIG", "other.toml");
        folder.write("proxy.toml", &configuration("here"));
        folder.write("other.toml", &configuration("other"));
        assert_eq!(read(&folder, &[]).await, "other.toml");
        assert_eq!(read(&folder, &["--config", "proxy.toml"]).await, "proxy.toml");
        assert_eq!(read(&folder, &["--profile", "billing"]).await, "own billing.toml", "a flag goes before a variable");
        let folder = folder.env("ATTACHE_CONFIG", "");
        assert_eq!(read(&folder, &[]).await, "proxy.toml", "what lies in the folder goes before the user's own");
    }
}

#[tokio::test]
async fn every_command_takes_a_profile() {
    let folder = profiles("HOME", ".config");
    let explained = folder.run(&["explain", "GET", "http://orders.test/", "-p", "orders", "--json"]).await;
    assert_eq!(explained.json()["upstream"], "orders", "{explained:?}");
    let env = folder.run(&["env", "-p", "orders"]).await;
    assert!(env.stderr.contains("listener \"proxy\" takes a free port"), "{env:?}");
    let ran = folder.run(&["exec", "-p", "orders", "--", "sh", "-c", "echo $ATTACHE_EXEC"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "orders\n"), "{ran:?}");
    let status = folder.run(&["status", "-p", "orders"]).await;
    assert!(status.stderr.contains("/attache/orders.toml has no [admin] listener to ask"), "{status:?}");
}

#[tokio::test]
async fn where_it_looked_is_said() {
    let folder = Folder::new().env("HOME", "/surely/not/there");
    for command in [&["check"][..], &["run"], &["token", "a"], &["env"], &["ca", "show"], &["exec", "--", "true"]] {
        let finished = folder.run(command).await;
        assert_eq!(
            (finished.code, finished.stderr.as_str()),
            (
                Some(78),
                "proxy.toml: there is no configuration: ./proxy.toml is not there, nor is /surely/not/there/.config/attache/proxy.toml; \
                 name a file with --config or ATTACHE_CONFIG, a profile with -p, or write one with `attache init`\n"
            ),
            "{command:?}"
        );
    }
    let checked = folder.run(&["check", "--json"]).await;
    assert!(
        checked.code == Some(78)
            && checked.json()["problems"][0].as_str().unwrap().contains("./proxy.toml is not there")
    );
    let unknown = profiles("HOME", ".config").run(&["check", "-p", "order"]).await;
    assert_eq!(unknown.code, Some(78));
    assert!(
        unknown.stderr.ends_with(
            "/attache/order.toml: there is no profile \"order\"; the profiles there are billing, orders, proxy; `attache init -p order` writes it\n"
        ),
        "{unknown:?}"
    );
    let path = folder.run(&["check", "-p", "../orders"]).await;
    assert!(path.code == Some(2) && path.stderr.contains("a file is named with --config"), "{path:?}");
    let both = folder.run(&["check", "-p", "a", "--config", "b.toml"]).await;
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[tokio::test]
async fn init_writes_a_profile_and_never_the_file_that_is_fallen_back_to() {
    let folder = Folder::new();
    let home = folder.path().join("home");
    let folder = folder.env("HOME", &home.display().to_string());
    let written = folder.run(&["init", "-p", "orders"]).await;
    assert_eq!(written.code, Some(0), "{written:?}");
    assert!(written.stderr.contains("  attache check --live -p orders "), "{written:?}");
    assert!(home.join(".config/attache/orders.toml").is_file());
    std::fs::rename(home.join(".config/attache/orders.toml"), home.join(".config/attache/proxy.toml")).unwrap();
    assert_eq!(folder.run(&["init"]).await.code, Some(0));
    assert!(folder.path().join("proxy.toml").is_file(), "here");
}

#[tokio::test]
async fn a_folder_in_place_of_the_file_is_no_reason_to_write_one() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("proxy.toml")).unwrap();
    let finished = folder.run(&["check"]).await;
    assert!(finished.code == Some(78) && !finished.stderr.contains("attache init"), "{finished:?}");
    assert!(finished.stderr.contains("proxy.toml: the configuration file cannot be read: "), "{finished:?}");
}
