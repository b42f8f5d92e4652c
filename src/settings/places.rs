//! Where each key of a file stands. The `config` crate reads the values but forgets the lines, so the same text is
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

/// Line and column of a byte.
fn position(text: &str, at: usize) -> Position {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

fn from_toml(text: &str) -> Result<BTreeMap<String, Position>, Vec<SyntaxFault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let fault = |error: &toml::de::Error| {
            let at = error.span().map(|span| position(text, span.start));
            (at, format!("is not valid TOML: {}", error.message()))
        };
        return Err(errors.iter().map(fault).collect());
    }
    let mut places = BTreeMap::new();
    toml_table(text, "", table.get_ref(), &mut places);
    Ok(places)
}

fn toml_table(text: &str, outer: &str, table: &DeTable<'_>, places: &mut BTreeMap<String, Position>) {
    for (name, value) in table {
        let key = join(outer, name.get_ref());
        places.insert(key.clone(), position(text, name.span().start));
        toml_value(text, &key, value.get_ref(), places);
    }
}

fn toml_value(text: &str, key: &str, value: &DeValue<'_>, places: &mut BTreeMap<String, Position>) {
    match value {
        DeValue::Table(table) => toml_table(text, key, table, places),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let key = format!("{key}[{index}]");
                places.insert(key.clone(), position(text, item.span().start));
                toml_value(text, &key, item.get_ref(), places);
            }
        }
        _ => {}
    }
}

fn from_json(text: &str) -> Result<BTreeMap<String, Position>, Vec<SyntaxFault>> {
    let mut reader = json::Reader::strict(text.as_bytes()).map_err(|fault| vec![json_fault(text, fault)])?;
    let root = reader.raw().and_then(|raw| reader.end().map(|()| raw));
    let root = root.map_err(|fault| vec![json_fault(text, fault)])?;
    let mut places = BTreeMap::new();
    json_value(text, "", root, &mut places);
    Ok(places)
}

fn json_fault(text: &str, fault: json::Malformed) -> SyntaxFault {
    (Some(position(text, fault.at)), format!("is not valid JSON: {}", fault.what))
}

fn json_value(text: &str, key: &str, value: json::Raw<'_>, places: &mut BTreeMap<String, Position>) {
    for (name, value) in value.members() {
        let key = join(key, &name.name());
        places.insert(key.clone(), position(text, offset(text, name.written()).saturating_sub(1)));
        json_value(text, &key, value, places);
    }
    for (index, item) in value.items().into_iter().enumerate() {
        let key = format!("{key}[{index}]");
        places.insert(key.clone(), position(text, offset(text, item.text())));
        json_value(text, &key, item, places);
    }
}

/// Where a part of the text begins.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// What is open while a YAML text is walked.
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
        assert_eq!(position("ä = 1\nöö", 6), (1, 6));
        assert_eq!(position("ä\nöx", 5), (2, 2));
        assert_eq!(position("", 9), (1, 1));
    }
}
