//! Every key of the file as data: what editors and the reference page are told, and what a text from the environment has to
//! become. The table is `keys.txt`; a test holds it against what the readers really ask for.

/// A table of the file and its keys.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// `upstreams.*.retry`; empty for the file itself.
    pub(crate) path: &'static str,
    pub(crate) heading: &'static str,
    pub(crate) more: Vec<&'static str>,
    pub(crate) keys: Vec<Key>,
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) forms: Vec<Form>,
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
}

/// One of the things that a key may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Form {
    Word(&'static str),
    Boolean,
    Integer(u32, u32),
    Integers(u32, u32),
    Fraction(f64, f64),
    Text,
    Texts,
    List,
    Duration,
    Size,
    Address,
    Secret,
    Secrets,
    Pem,
    Pems,
    Table,
    Tables,
    Names,
    Fields,
    RepeatedFields,
}

/// All tables, in the order of the page. A line that cannot be read is left out; the tests see to it that there is none.
pub(crate) fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in include_str!("keys.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((path, heading)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            tables.push(Table { path, heading: heading.trim(), more: Vec::new(), keys: Vec::new() });
        } else if let Some(table) = tables.last_mut() {
            match line.strip_prefix("> ") {
                Some(more) => table.more.push(more),
                None => table.keys.extend(key(line)),
            }
        }
    }
    tables
}

pub(crate) fn key(line: &'static str) -> Option<Key> {
    let mut columns = line.splitn(4, '|').map(str::trim);
    let (name, forms) = (columns.next()?, columns.next()?);
    let forms = forms.split(" / ").map(form).collect::<Option<_>>()?;
    Some(Key { name, forms, default: columns.next()?, about: columns.next()? })
}

fn form(text: &'static str) -> Option<Form> {
    if let Some(word) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Some(Form::Word(word));
    }
    if let Some((kind, (first, last))) =
        text.split_once(' ').and_then(|(kind, range)| Some((kind, range.split_once("..")?)))
    {
        return match kind {
            "integer" => Some(Form::Integer(first.parse().ok()?, last.parse().ok()?)),
            "integers" => Some(Form::Integers(first.parse().ok()?, last.parse().ok()?)),
            "fraction" => Some(Form::Fraction(first.parse().ok()?, last.parse().ok()?)),
            _ => None,
        };
    }
    PLAIN.iter().find(|(word, _)| *word == text).map(|(_, form)| *form)
}

const PLAIN: [(&str, Form); 16] = [
    ("boolean", Form::Boolean),
    ("text", Form::Text),
    ("texts", Form::Texts),
    ("list", Form::List),
    ("duration", Form::Duration),
    ("size", Form::Size),
    ("address", Form::Address),
    ("secret", Form::Secret),
    ("secrets", Form::Secrets),
    ("pem", Form::Pem),
    ("pems", Form::Pems),
    ("table", Form::Table),
    ("tables", Form::Tables),
    ("names", Form::Names),
    ("fields", Form::Fields),
    ("repeated fields", Form::RepeatedFields),
];

impl Key {
    /// The default, where it is a value and not words about one.
    pub(crate) fn default_value(&self) -> Option<toml::Value> {
        let mut table = format!("x = {}", self.default).parse::<toml::Table>().ok()?;
        table.remove("x")
    }

    pub(crate) fn is_required(&self) -> bool {
        self.default == "required"
    }
}
