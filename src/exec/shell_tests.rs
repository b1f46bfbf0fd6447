use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Values with everything that a shell could take for something else; more of them than of plain letters.
fn value() -> impl Strategy<Value = String> {
    let odd = prop::sample::select("'\"\\$`!#*?[]{}()<>|&;~%^= \t\n\r‘’‚‛“é-".chars().collect::<Vec<_>>());
    let character = prop_oneof![3 => odd, 1 => any::<char>().prop_filter("no variable has one", |c| *c != '\0')];
    vec(character, 1..24).prop_map(|characters| characters.into_iter().collect())
}

/// What a program that the shell starts sees of a variable, after the shell has read these lines.
fn seen_by(shell: &str, arguments: &[&str], script: &str) -> Option<Vec<u8>> {
    let script = format!("{script}\nprintenv -0 NAME\n");
    let ran = Command::new(shell).args(arguments).arg(script).env("NAME", "before").output();
    ran.ok().map(|ran| ran.stdout)
}

fn is_exact(
    shell: &str,
    arguments: &[&str],
    before: &str,
    notation: Notation,
    value: &str,
) -> Result<(), TestCaseError> {
    let line = notation.line("NAME", &Change::Set(value.to_owned())).unwrap();
    // A shell that is not here proves nothing, and says nothing.
    if let Some(seen) = seen_by(shell, arguments, &format!("{before}{line}")) {
        prop_assert_eq!(String::from_utf8_lossy(&seen), format!("{value}\0"), "{}: {}", shell, line);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_posix_shell_reads_exactly_the_value(value in value()) {
        is_exact("bash", &["-c"], "", Notation::Posix, &value)?;
        is_exact("sh", &["-c"], "", Notation::Posix, &value)?;
        is_exact("zsh", &["-c"], "", Notation::Posix, &value)?;
    }

    #[test]
    fn a_shell_reads_a_dotenv_file_too(value in value()) {
        is_exact("sh", &["-c"], "set -a\n", Notation::Dotenv, &value)?;
    }

    #[test]
    fn fish_reads_exactly_the_value(value in value()) {
        is_exact("fish", &["-N", "-c"], "", Notation::Fish, &value)?;
    }

    /// Without the shell: read back as its language reference has it.
    #[test]
    fn what_fish_and_powershell_read_back_is_the_value(value in value()) {
        let (quoted_fish, quoted) = (fish(&value), powershell(&value));
        let mut read = String::new();
        let mut rest = quoted_fish.strip_prefix('\'').unwrap().chars();
        let ended = loop {
            match rest.next() {
                Some('\\') => match rest.next() {
                    Some(escaped @ ('\\' | '\'')) => read.push(escaped),
                    other => read.extend(std::iter::once('\\').chain(other)),
                },
                Some('\'') => break rest.next().is_none(),
                Some(plain) => read.push(plain),
                None => break false,
            }
        };
        prop_assert!(ended);
        prop_assert_eq!(&read, &value);

        let is_quote = |c: &char| matches!(c, '\'' | '‘' | '’' | '‚' | '‛');
        let mut read = String::new();
        let mut rest = quoted.strip_prefix('\'').unwrap().chars().peekable();
        let ended = loop {
            match rest.next() {
                Some(quote) if is_quote(&quote) => match rest.next_if(|next| is_quote(next)) {
                    Some(doubled) => read.push(doubled),
                    None => break rest.next().is_none(),
                },
                Some(plain) => read.push(plain),
                None => break false,
            }
        };
        prop_assert!(ended);
        prop_assert_eq!(&read, &value);
    }
}

#[test]
fn what_is_taken_out_is_gone() {
    let line = |notation: Notation| notation.line("NAME", &Change::Unset);
    assert_eq!(seen_by("bash", &["-c"], &line(Notation::Posix).unwrap()).unwrap(), b"");
    assert_eq!(line(Notation::Fish).unwrap(), "set -e NAME");
    assert_eq!(line(Notation::PowerShell).unwrap(), "Remove-Item -ErrorAction SilentlyContinue -LiteralPath Env:NAME");
    assert_eq!(line(Notation::Dotenv), None);
}

#[test]
fn powershell_reads_exactly_the_value() {
    let value = "it's ‘odd’ $env:PATH `n \"x\"";
    let line = Notation::PowerShell.line("NAME", &Change::Set(value.to_owned())).unwrap();
    assert_eq!(line, "$env:NAME = 'it''s ‘‘odd’’ $env:PATH `n \"x\"'");
    if let Some(seen) = seen_by("pwsh", &["-NoProfile", "-Command"], &line) {
        assert_eq!(String::from_utf8(seen).unwrap(), format!("{value}\0"));
    }
}

#[test]
fn a_shell_is_known_by_its_name_or_path() {
    for (shell, notation) in [
        ("/bin/bash", Ok(Notation::Posix)),
        ("zsh", Ok(Notation::Posix)),
        ("/usr/local/bin/fish", Ok(Notation::Fish)),
        ("C:\\Program Files\\PowerShell\\7\\pwsh.exe", Ok(Notation::PowerShell)),
        ("/bin/tcsh", Err(UnknownShell)),
        ("", Err(UnknownShell)),
    ] {
        assert_eq!(Notation::of_shell(shell), notation, "{shell}");
    }
}

#[test]
fn a_plain_value_has_no_quotes_in_a_dotenv_file() {
    let set = |value: &str| Notation::Dotenv.line("NAME", &Change::Set(value.to_owned())).unwrap();
    assert_eq!(set("http://127.0.0.1:8080"), "NAME=http://127.0.0.1:8080");
    assert_eq!(set("-Da=b -Dc=d|e"), "NAME='-Da=b -Dc=d|e'");
    assert_eq!(set("it's $5"), "NAME=\"it's \\$5\"");
}
