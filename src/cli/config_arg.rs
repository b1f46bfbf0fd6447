//! Which configuration file a command means, and reading it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{self, Failure, Level};
use crate::config::{Config, ConfigErrors, Problem};

/// Names the file, where no flag does.
const VARIABLE: &str = "ATTACHE_CONFIG";

/// The file's name in a folder.
const FILE: &str = "proxy.toml";

#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text")]
pub(super) struct ConfigArg {
    /// The configuration file. Default: $ATTACHE_CONFIG, else ./proxy.toml, else ~/.config/attache/proxy.toml.
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A configuration by its name: ~/.config/attache/NAME.toml.
    #[arg(short, long, global = true, value_name = "NAME", conflicts_with = "config", value_parser = profile)]
    profile: Option<String>,
}

fn profile(name: &str) -> Result<String, &'static str> {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(usual) {
        return Err("a profile is a name of letters, digits, \"_\", \".\" and \"-\"; a file is named with --config");
    }
    Ok(name.to_owned())
}

impl ConfigArg {
    /// The file that is meant and is there.
    pub(super) fn path(&self) -> Result<PathBuf, Failure> {
        self.find().map_err(Failure::Config)
    }

    /// As [`ConfigArg::path`], for commands that tell problems in a form of their own.
    pub(super) fn find(&self) -> Result<PathBuf, ConfigErrors> {
        if let Some(name) = &self.profile {
            let path = in_own_folder(name)?;
            return if is_there(&path) { Ok(path) } else { Err(no_profile(name, &path)) };
        }
        if let Some(named) = self.named() {
            return Ok(named);
        }
        let (here, own) = (PathBuf::from(FILE), own_folder(&current).map(|folder| folder.join(FILE)));
        if is_there(&here) {
            return Ok(here);
        }
        match own {
            Some(own) if is_there(&own) => Ok(own),
            own => Err(nowhere(own.as_deref())),
        }
    }

    /// True if there is no file, and no profile was asked for.
    pub(super) fn names_nothing(&self) -> bool {
        self.profile.is_none() && self.find().map_or(true, |path| !is_there(&path))
    }

    /// Where a file is to be written: the one that is named, else `./proxy.toml`. The folder of profiles is made if need be.
    pub(super) fn to_write(&self) -> Result<PathBuf, Failure> {
        let Some(name) = &self.profile else {
            return Ok(self.named().unwrap_or_else(|| PathBuf::from(FILE)));
        };
        let path = in_own_folder(name).map_err(Failure::Config)?;
        if let Some(folder) = path.parent() {
            let made = private_folders().create(folder);
            made.map_err(|error| Failure::failed(format!("cannot make {}: {error}", folder.display())))?;
        }
        Ok(path)
    }

    /// The profile that is named.
    pub(super) fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    fn named(&self) -> Option<PathBuf> {
        let variable = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        self.config.clone().or_else(variable)
    }
}

/// Nobody else is to write what this user's commands read.
fn private_folders() -> std::fs::DirBuilder {
    let mut folders = std::fs::DirBuilder::new();
    folders.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folders, 0o700);
    folders
}

fn current(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// `attache` among this user's configurations.
fn own_folder(current: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The base directory specification wants relative paths ignored.
    let folder = |name: &str| current(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || folder("HOME").or_else(|| folder("USERPROFILE")).map(|home| home.join(".config"));
    folder("XDG_CONFIG_HOME").or_else(home).map(|parent| parent.join("attache"))
}

fn in_own_folder(name: &str) -> Result<PathBuf, ConfigErrors> {
    let folder = own_folder(&current).ok_or_else(|| ConfigErrors {
        source: format!("{name}.toml"),
        problems: vec![Problem::new(
            "profiles are kept in the folder of this user, and neither XDG_CONFIG_HOME nor HOME names one",
            "set HOME, or name the file with --config",
        )],
    })?;
    Ok(folder.join(format!("{name}.toml")))
}

/// What cannot be looked at is read all the same: the system says why not.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

fn nowhere(own: Option<&Path>) -> ConfigErrors {
    let beside = own.map_or_else(String::new, |own| format!(", nor is {}", own.display()));
    let what = format!("there is no configuration: ./{FILE} is not there{beside}");
    let remedy =
        format!("name a file with --config or {VARIABLE}, a profile with -p, or write one with `attache init`");
    ConfigErrors { source: FILE.to_owned(), problems: vec![Problem::new(what, remedy)] }
}

fn no_profile(name: &str, path: &Path) -> ConfigErrors {
    let mut others: Vec<String> =
        path.parent().and_then(|folder| std::fs::read_dir(folder).ok()).map_or_else(Vec::new, |entries| {
            let stem = |path: PathBuf| {
                let is_toml = path.extension().is_some_and(|extension| extension == "toml");
                Some(path.file_stem()?.to_str()?.to_owned()).filter(|stem| is_toml && profile(stem).is_ok())
            };
            entries.filter_map(Result::ok).filter_map(|entry| stem(entry.path())).collect()
        });
    others.sort();
    let remedy = match others.as_slice() {
        [] => format!("write it with `attache init -p {name}`"),
        others => format!("the profiles there are {}; `attache init -p {name}` writes it", others.join(", ")),
    };
    let problem = Problem::new(format!("there is no profile {name:?}"), remedy);
    ConfigErrors { source: path.display().to_string(), problems: vec![problem] }
}

/// Loads a file, says what is unwise about it, and fails with everything that is wrong with it.
pub(super) fn load(config: &ConfigArg) -> Result<Config, Failure> {
    checked(Config::load(&config.path()?))
}

/// The same for commands that serve nothing, or bring a listener of their own.
pub(super) fn load_without_listeners(config: &ConfigArg) -> Result<Config, Failure> {
    checked(Config::load_without_listeners(&config.path()?))
}

/// Says what is unwise about a configuration.
pub(super) fn warn(config: &Config) -> Result<(), Failure> {
    output::problems(Level::Warning, &config.source, &config.warnings)
}

fn checked(loaded: Result<Config, ConfigErrors>) -> Result<Config, Failure> {
    let config = loaded.map_err(Failure::Config)?;
    warn(&config)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_profiles_is_where_users_keep_such_files() {
        let folder = |variables: &[(&str, &str)]| {
            let variables: Vec<(String, OsString)> =
                variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
            own_folder(&move |name| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
        };
        assert_eq!(folder(&[("HOME", "/home/a")]), Some("/home/a/.config/attache".into()));
        assert_eq!(folder(&[("HOME", "/home/a"), ("XDG_CONFIG_HOME", "/c")]), Some("/c/attache".into()));
        assert_eq!(folder(&[("HOME", "/home/a"), ("XDG_CONFIG_HOME", "c")]), Some("/home/a/.config/attache".into()));
        assert_eq!(folder(&[]), None);
    }
}
