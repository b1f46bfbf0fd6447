//! What a shell's variables were before `attache env` changed them, kept in one more variable, so that all of it can be taken back
//! and a second `attache env` does not build on the first.

use std::collections::BTreeMap;

use super::environment::{Change, Environment, all_variables, may_be_changed};

/// Where they are kept: a JSON object of values, `null` for what was not set.
const VARIABLE: &str = "ATTACHE_ENV_BEFORE";

/// The variables as they were.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Before(BTreeMap<String, Option<String>>);

impl Before {
    /// What an earlier `attache env` has kept in this environment; nothing if there was none, or it is no longer readable.
    #[must_use]
    pub(crate) fn read(current: &dyn Fn(&str) -> Option<String>) -> Self {
        let kept = current(VARIABLE).and_then(|kept| serde_json::from_str(&kept).ok());
        let mut kept: BTreeMap<String, Option<String>> = kept.unwrap_or_default();
        // A program that could set this variable is not to have a shell set any other, nor take a name for a command.
        kept.retain(|name, _| may_be_changed(name));
        Self(kept)
    }

    /// A variable as it was before attache.
    #[must_use]
    pub(crate) fn original(&self, name: &str, current: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        self.0.get(name).cloned().unwrap_or_else(|| current(name))
    }

    /// The changes with those taken back that an earlier one had made and this one does not, and with what is needed to take all
    /// of them back.
    #[must_use]
    pub(crate) fn remembering(
        mut self,
        environment: Environment,
        current: &dyn Fn(&str) -> Option<String>,
    ) -> Environment {
        let Environment { mut changes, notes } = environment;
        for (name, value) in &self.0 {
            if changes.iter().all(|(changed, _)| changed != name) {
                changes.push((name.clone(), change(value.clone())));
            }
        }
        for (name, change) in &changes {
            let before = current(name);
            // What is taken out only in case is mostly not there.
            if *change != Change::Unset || before.is_some() {
                self.0.entry(name.clone()).or_insert(before);
            }
        }
        if let Ok(kept) = serde_json::to_string(&self.0) {
            changes.push((VARIABLE.to_owned(), Change::Set(kept)));
        }
        Environment { changes, notes }
    }

    /// Everything as it was. Of an environment that does not say what that is, what attache sets is taken out.
    #[must_use]
    pub(crate) fn restored(self) -> Environment {
        let mut changes: Vec<(String, Change)> = if self.0.is_empty() {
            all_variables().map(|name| (name.to_owned(), Change::Unset)).collect()
        } else {
            self.0.into_iter().map(|(name, value)| (name, change(value))).collect()
        };
        changes.push((VARIABLE.to_owned(), Change::Unset));
        Environment { changes, notes: Vec::new() }
    }
}

fn change(value: Option<String>) -> Change {
    value.map_or(Change::Unset, Change::Set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> (String, Change) {
        (name.to_owned(), Change::Set(value.to_owned()))
    }

    /// An environment after these changes.
    fn after(mut variables: BTreeMap<String, String>, environment: &Environment) -> BTreeMap<String, String> {
        for (name, change) in &environment.changes {
            match change {
                Change::Set(value) => variables.insert(name.clone(), value.clone()),
                Change::Unset => variables.remove(name),
            };
        }
        variables
    }

    fn of(changes: Vec<(String, Change)>) -> Environment {
        Environment { changes, notes: Vec::new() }
    }

    #[test]
    fn whatever_is_done_in_between_all_of_it_is_taken_back() {
        let at_first: BTreeMap<String, String> =
            [("HTTP_PROXY", "http://corp.test"), ("JAVA_TOOL_OPTIONS", "-Xmx1g"), ("OTHER", "x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let mut variables = at_first.clone();
        for (proxy, more) in [("http://one", "NO_PROXY"), ("http://two", "PIP_CERT")] {
            let current = |name: &str| variables.get(name).cloned();
            let before = Before::read(&current);
            assert_eq!(before.original("JAVA_TOOL_OPTIONS", &current).as_deref(), Some("-Xmx1g"));
            let changes = vec![set("HTTP_PROXY", proxy), set("JAVA_TOOL_OPTIONS", "-Xmx1g -Dx"), set(more, "y")];
            let environment = before.remembering(of(changes), &current);
            variables = after(variables.clone(), &environment);
        }
        assert_eq!(variables["HTTP_PROXY"], "http://two");
        assert!(!variables.contains_key("NO_PROXY"), "what only the first had set");
        let current = |name: &str| variables.get(name).cloned();
        assert_eq!(after(variables.clone(), &Before::read(&current).restored()), at_first);
    }

    #[test]
    fn what_attache_never_sets_is_not_taken_from_the_variable() {
        let kept = r#"{"X;touch pwned;Y":"1","PATH":"/tmp/bin","LD_PRELOAD":null,"HTTP_PROXY":"http://corp.test","REQUEST_METHOD":"GET"}"#;
        let before = Before::read(&|name| (name == VARIABLE).then(|| kept.to_owned()));
        let names = |environment: Environment| -> Vec<String> {
            environment.changes.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(before.remembering(of(Vec::new()), &|_| None)), ["HTTP_PROXY", "REQUEST_METHOD", VARIABLE]);
        let before = Before::read(&|name| (name == VARIABLE).then(|| kept.to_owned()));
        assert_eq!(names(before.restored()), ["HTTP_PROXY", "REQUEST_METHOD", VARIABLE]);
    }

    #[test]
    fn what_is_not_remembered_is_taken_out() {
        let environment = Before::read(&|_| None).restored();
        for name in ["http_proxy", "SSL_CERT_FILE", "PHP_INI_SCAN_DIR", "NO_PROXY", "JAVA_TOOL_OPTIONS"] {
            assert!(environment.changes.contains(&(name.to_owned(), Change::Unset)), "{name}");
        }
        assert_eq!(Before::read(&|_| Some("no JSON".to_owned())), Before::default());
    }
}
