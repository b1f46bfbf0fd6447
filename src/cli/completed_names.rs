//! Names of a configuration in the scripts that complete commands: what clap's generators do not know is added to their scripts,
//! and asked of `attache names` while one types.

use clap::{Arg, Command};
use clap_complete::Shell;

use super::names::NamesKind;

/// An argument whose value is a name.
#[derive(Debug, PartialEq)]
struct Named {
    command: String,
    /// Nothing: by its place.
    long: Option<String>,
    kind: NamesKind,
}

/// The script with what completes names, for shells in which that is possible without a copy of the generator.
pub(super) fn with_names(shell: Shell, script: &str, commands: &Command) -> String {
    let named = named(commands);
    match shell {
        Shell::Bash => format!("{script}{}", bash(&named)),
        Shell::Zsh => zsh(script, &named),
        Shell::Fish => format!("{script}{}", fish(&named)),
        _ => script.to_owned(),
    }
}

fn named(commands: &Command) -> Vec<Named> {
    let visible = commands.get_subcommands().filter(|command| !command.is_hide_set());
    let of = |command: &Command, arg: &Arg| {
        let long = arg.get_long().map(str::to_owned);
        Some(Named { command: command.get_name().to_owned(), long, kind: kind(arg)? })
    };
    visible.flat_map(|command| command.get_arguments().filter_map(move |arg| of(command, arg))).collect()
}

/// By what the value is called in `--help`: `--upstream ORIGIN` is none.
fn kind(arg: &Arg) -> Option<NamesKind> {
    if arg.get_value_names().is_none_or(|names| names != ["NAME"]) {
        return None;
    }
    match arg.get_id().as_str() {
        "listener" => Some(NamesKind::Listeners),
        "upstream" => Some(NamesKind::Upstreams),
        "caller" => Some(NamesKind::Callers),
        "name" if arg.is_positional() => Some(NamesKind::Credentials),
        _ => None,
    }
}

/// In front of the generated function, which goes on where no name is wanted. Behind `exec --` another command begins.
const BASH: &str = r#"
_attache_or_names() {
    local i command="" kind="" file=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${COMP_WORDS[i]}" in
            -c | --config | -p | --profile) file=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]}") ;;
            --)
                if [[ $command == exec ]] && declare -F _command_offset > /dev/null; then
                    _command_offset $((i + 1))
                    return
                fi
                ;;
            COMMANDS) [[ -n $command ]] || command="${COMP_WORDS[i]}" ;;
        esac
    done
    case "$command $3" in
CASES    esac
    if [[ -n $kind && $2 != -* ]]; then
        COMPREPLY=($(compgen -W "$("$1" names "$kind" "${file[@]}" 2> /dev/null)" -- "$2"))
    else
        _attache "$@"
    fi
}

complete -F _attache_or_names -o bashdefault -o default attache
"#;

fn bash(named: &[Named]) -> String {
    let mut commands: Vec<&str> = named.iter().map(|named| named.command.as_str()).collect();
    commands.dedup();
    let case = |named: &Named| {
        let before = named.long.as_ref().map_or_else(|| named.command.clone(), |long| format!("--{long}"));
        format!("        \"{} {before}\") kind={} ;;\n", named.command, named.kind.word())
    };
    let cases: String = named.iter().map(case).collect();
    BASH.replace("COMMANDS", &commands.join(" | ")).replace("CASES", &cases)
}

/// Called in place of `_default`: with what `_arguments` has for `compadd`, and the kind behind that.
const ZSH: &str = r#"
_attache_names() {
    local -a names file
    local i
    for ((i = 1; i < CURRENT; i++)); do
        case "$words[i]" in
            -c | --config | -p | --profile) file=("$words[i]" "${(Q)words[i + 1]}") ;;
        esac
    done
    names=(${(f)"$(attache names $argv[-1] $file 2> /dev/null)"})
    compadd "${(@)argv[1,-2]}" -a names
}
"#;

/// The generator writes each argument on a line of its own: `'--listener=[…]:NAME:_default' \`, `'::name -- …:_default' \`.
fn zsh(script: &str, named: &[Named]) -> String {
    let (first, rest) = script.split_once('\n').unwrap_or((script, ""));
    let mut completed = format!("{first}\n{ZSH}");
    for line in rest.lines() {
        let is = |named: &&Named| match &named.long {
            Some(long) => line.contains(&format!("--{long}=[")) && line.contains("]:NAME:_default'"),
            None => line.starts_with("'::name -- ") || line.starts_with("':name -- "),
        };
        match named.iter().find(is) {
            Some(named) => {
                completed.push_str(&line.replace(":_default'", &format!(":_attache_names {}'", named.kind.word())));
            }
            None => completed.push_str(line),
        }
        completed.push('\n');
    }
    completed
}

const FISH: &str = r"
function __fish_attache_names
    set -l file
    set -l words (commandline -opc)
    for i in (seq (count $words))
        if contains -- $words[$i] -c --config -p --profile
            set file $words[$i] $words[(math $i + 1)]
        end
    end
    attache names $argv[1] $file 2>/dev/null
end
";

fn fish(named: &[Named]) -> String {
    let line = |named: &Named| {
        let long = named.long.as_ref().map_or_else(|| "-f".to_owned(), |long| format!("-l {long} -x"));
        let (command, kind) = (&named.command, named.kind.word());
        format!(
            "complete -c attache -n \"__fish_attache_using_subcommand {command}\" {long} -a \"(__fish_attache_names {kind})\"\n"
        )
    };
    format!("{FISH}{}", named.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_arguments_that_are_names_are_found() {
        let mut commands = Cli::command();
        commands.build();
        let found: Vec<String> = named(&commands)
            .iter()
            .map(|named| format!("{} {} {}", named.command, named.long.as_deref().unwrap_or("-"), named.kind.word()))
            .collect();
        for expected in [
            "exec listener listeners",
            "env listener listeners",
            "env caller callers",
            "explain listener listeners",
            "explain caller callers",
            "token - credentials",
            "refresh - credentials",
            "tail upstream upstreams",
        ] {
            assert!(found.iter().any(|found| found == expected), "{expected}: {found:?}");
        }
        assert!(!found.iter().any(|found| found.starts_with("run ") || found.starts_with("init ")), "{found:?}");
    }

    /// Each has its line in what zsh's generator writes.
    #[test]
    fn every_name_is_completed_in_zsh() {
        let script = String::from_utf8(crate::cli::completions::script(Shell::Zsh, &Cli::command())).unwrap();
        let completed = script.matches(":_attache_names ").count();
        assert_eq!(completed, named(&Cli::command()).len(), "{script}");
        assert!(script.starts_with("#compdef attache\n") && !script.contains("]:NAME:_attache_names credentials'"));
    }
}
