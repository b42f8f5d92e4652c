//! Line and column of each key of a file. The `config` crate reads the values but forgets the lines, so the same text is
//! walked once more by its format's own parser, which also finds every fault of syntax and every repeated key.

use std::collections::BTreeMap;

use config::FileFormat;
use parlance_adapters::json;
use toml::de::{DeTable, DeValue};
use yaml_rust2::parser::{Event, Parser};

use super::diagnose::Position;

/// A fault of syntax: its place, and what is wrong.
pub(crate) type SyntaxFault = (Option<Position>, String);

/// No configuration nests deeper; a deeper text would need a deep stack of whoever reads it next.
const MAX_DEPTH: usize = 64;

/// Reads the places of all keys, or every fault of syntax that the parser can tell apart.
pub(crate) fn read(format: FileFormat, text: &str) -> Result<BTreeMap<String, Position>, Vec<SyntaxFault>> {
    match format {
        FileFormat::Toml => from_toml(text),
        FileFormat::Json => from_json(text),
        _ => from_yaml(text).map_err(|fault| vec![fault]),
    }
}

/// `outer.name`
pub(crate) fn join(outer: &str, name: &str) -> String {
    if outer.is_empty() { name.to_owned() } else { format!("{outer}.{name}") }
}

/// A text and where its lines begin.
struct Text<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Text { text, lines: std::iter::once(0).chain(newlines).collect() }
    }

    /// Line and column of a byte.
    fn position(&self, at: usize) -> Position {
        let at = at.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }

    /// Line and column of a part of the text.
    fn position_of(&self, part: &str) -> Position {
        self.position((part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize))
    }
}

fn from_toml(text: &str) -> Result<BTreeMap<String, Position>, Vec<SyntaxFault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let text = Text::new(text);
    if !errors.is_empty() {
        let fault = |error: &toml::de::Error| {
            let at = error.span().map(|span| text.position(span.start));
            (at, format!("is not valid TOML: {}", error.message()))
        };
        return Err(errors.iter().map(fault).collect());
    }
    let mut places = BTreeMap::new();
    toml_table(&text, "", table.get_ref(), &mut places);
    Ok(places)
}

fn toml_table(text: &Text<'_>, outer: &str, table: &DeTable<'_>, places: &mut BTreeMap<String, Position>) {
    for (name, value) in table {
        let key = join(outer, name.get_ref());
        places.insert(key.clone(), text.position(name.span().start));
        toml_value(text, &key, value.get_ref(), places);
    }
}

fn toml_value(text: &Text<'_>, key: &str, value: &DeValue<'_>, places: &mut BTreeMap<String, Position>) {
    match value {
        DeValue::Table(table) => toml_table(text, key, table, places),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let key = format!("{key}[{index}]");
                places.insert(key.clone(), text.position(item.span().start));
                toml_value(text, &key, item.get_ref(), places);
            }
        }
        _ => {}
    }
}

fn from_json(source: &str) -> Result<BTreeMap<String, Position>, Vec<SyntaxFault>> {
    let text = Text::new(source);
    let fault = |fault: json::JsonError| {
        vec![(Some(text.position(fault.at())), format!("is not valid JSON: {}", fault.kind().as_str()))]
    };
    let mut reader = json::Reader::strict(source.as_bytes()).map_err(fault)?;
    let root = reader.raw().and_then(|raw| reader.end().map(|()| raw)).map_err(fault)?;
    let mut places = BTreeMap::new();
    json_value(&text, "", root, &mut places);
    Ok(places)
}

fn json_value(text: &Text<'_>, key: &str, value: json::Raw<'_>, places: &mut BTreeMap<String, Position>) {
    for (name, value) in value.members() {
        let key = join(key, &name.name());
        // The place of the quote before the name.
        let (line, column) = text.position_of(name.written());
        places.insert(key.clone(), (line, column.saturating_sub(1)));
        json_value(text, &key, value, places);
    }
    for (index, item) in value.items().into_iter().enumerate() {
        let key = format!("{key}[{index}]");
        places.insert(key.clone(), text.position_of(item.text()));
        json_value(text, &key, item, places);
    }
}

/// Collection that is open while a YAML text is walked.
enum Open {
    /// A mapping: its key, and that of the value which comes next.
    Mapping(String, Option<String>),
    /// A sequence: its key, and the index of the next item.
    Sequence(String, usize),
}

fn from_yaml(text: &str) -> Result<BTreeMap<String, Position>, SyntaxFault> {
    let mut parser = Parser::new_from_str(text);
    let mut places = BTreeMap::new();
    let mut open: Vec<Open> = Vec::new();
    let mut documents = 0;
    loop {
        let (event, mark) = parser.next_token().map_err(|error| {
            let at = (error.marker().line(), error.marker().col() + 1);
            (Some(at), format!("is not valid YAML: {}", error.info()))
        })?;
        let at = (mark.line(), mark.col() + 1);
        let fault = |what: &str| Err((Some(at), format!("is not valid here: {what}")));
        let starts = matches!(event, Event::MappingStart(..) | Event::SequenceStart(..));
        match &event {
            Event::StreamEnd => return Ok(places),
            Event::DocumentStart => {
                documents += 1;
                if documents > 1 {
                    return fault("a second YAML document");
                }
            }
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
            }
            Event::Scalar(..) | Event::Alias(_) | Event::MappingStart(..) | Event::SequenceStart(..) => {
                let key = match open.last_mut() {
                    None => String::new(),
                    Some(Open::Sequence(outer, next)) => {
                        let key = format!("{outer}[{next}]");
                        *next += 1;
                        places.insert(key.clone(), at);
                        key
                    }
                    Some(Open::Mapping(_, value @ Some(_))) => value.take().unwrap_or_default(),
                    Some(Open::Mapping(outer, value)) => {
                        let Event::Scalar(name, ..) = &event else {
                            return fault("a key that is not plain text");
                        };
                        let key = join(outer, name);
                        if places.insert(key.clone(), at).is_some() {
                            return fault(&format!("the key '{name}' is given twice"));
                        }
                        *value = Some(key);
                        continue;
                    }
                };
                if starts && open.len() == MAX_DEPTH {
                    return fault("it nests deeper than 64 levels");
                }
                match event {
                    Event::MappingStart(..) => open.push(Open::Mapping(key, None)),
                    Event::SequenceStart(..) => open.push(Open::Sequence(key, 0)),
                    _ => {}
                }
            }
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(format: FileFormat, text: &str) -> Vec<(String, Position)> {
        read(format, text).unwrap().into_iter().collect()
    }

    #[test]
    fn the_three_formats_give_the_same_keys() {
        let toml = "a = 1\n[b]\nc = [\"x\", { d = 2 }]\n";
        let yaml = "a: 1\nb:\n  c:\n    - x\n    - d: 2\n";
        let json = "{\"a\": 1,\n \"b\": {\"c\": [\"x\", {\"d\": 2}]}}";
        let keys =
            |format, text| -> Vec<String> { places(format, text).into_iter().map(|(key, _)| key).collect() };
        let expected = ["a", "b", "b.c", "b.c[0]", "b.c[1]", "b.c[1].d"];
        for (format, text) in [(FileFormat::Toml, toml), (FileFormat::Yaml, yaml), (FileFormat::Json, json)] {
            assert_eq!(keys(format, text), expected);
        }
        let at = |format, text, key: &str| *read(format, text).unwrap().get(key).unwrap();
        assert_eq!(at(FileFormat::Toml, toml, "b.c"), (3, 1));
        assert_eq!(at(FileFormat::Toml, toml, "b.c[1].d"), (3, 13));
        assert_eq!(at(FileFormat::Yaml, yaml, "b.c"), (3, 3));
        assert_eq!(at(FileFormat::Yaml, yaml, "b.c[1].d"), (5, 7));
        assert_eq!(at(FileFormat::Json, json, "b"), (2, 2));
        assert_eq!(at(FileFormat::Json, json, "b.c[1].d"), (2, 20));
    }

    #[test]
    fn lists_of_tables_stand_at_their_headers() {
        let text = "[[routes]]\nid = \"a\"\n\n[[routes]]\nid = \"b\"\n";
        let places = read(FileFormat::Toml, text).unwrap();
        assert_eq!(places.get("routes[1]").unwrap().0, 4);
        assert_eq!(places.get("routes[1].id"), Some(&(5, 1)));
    }

    #[test]
    fn faults_of_syntax_have_a_place() {
        let at = |format, text: &str| read(format, text).unwrap_err().first().unwrap().0;
        assert_eq!(at(FileFormat::Toml, "a = 1\nb = \n").map(|at| at.0), Some(2));
        assert_eq!(at(FileFormat::Toml, "a = 1\na = 2\n").map(|at| at.0), Some(2));
        assert_eq!(at(FileFormat::Json, "{\"a\": 1,\n\"a\": 2}").map(|at| at.0), Some(2));
        assert_eq!(at(FileFormat::Json, "{\n"), Some((2, 1)));
        assert_eq!(at(FileFormat::Yaml, "a: 1\na: 2\n"), Some((2, 1)));
        assert_eq!(at(FileFormat::Yaml, "a: 1\n---\nb: 2\n").map(|at| at.0), Some(2));
        assert_eq!(at(FileFormat::Yaml, "a: [1\n").map(|at| at.0), Some(2));
        assert_eq!(at(FileFormat::Yaml, "{ {a: b}: 1 }"), Some((1, 3)));
    }

    #[test]
    fn deep_texts_are_refused_not_followed() {
        for format in [FileFormat::Yaml, FileFormat::Json, FileFormat::Toml] {
            let open = "[".repeat(100_000);
            let text = if format == FileFormat::Toml { format!("a = {open}") } else { open };
            assert!(read(format, &text).is_err());
        }
    }

    #[test]
    fn columns_count_characters() {
        let at = |text, byte| Text::new(text).position(byte);
        assert_eq!(at("ä = 1\nöö", 6), (1, 6));
        assert_eq!(at("ä\nöx", 5), (2, 2));
        assert_eq!(at("a\n", 2), (2, 1));
        assert_eq!(at("", 9), (1, 1));
    }
}
