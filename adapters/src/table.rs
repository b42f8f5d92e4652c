//! Requests by table: translates a patch along the rows of a vendor.

use std::ops::Range;

use bytes::Bytes;

use crate::body::{self, BodyWriter};
use crate::call::{EncodeRequest, Encoded, PendingMerge, SetField, SetValue, UpstreamCall, ValidationError};
use crate::canonical::{Fault, FaultCode, Field, Patch, READ_ONLY, VENDOR_FIELDS, Warning, pointer};
use crate::json::{Kind, Raw, quoted};
use crate::request;
use crate::spec::{Conversion, Endpoint, NullHandling, Row, Spec};

/// Encodes the one call that applies the patch. `is_known` tells which fields any vendor has.
pub(crate) fn encode(
    spec: &'static Spec,
    input: &EncodeRequest<'_>,
    is_known: fn(Field) -> bool,
) -> Result<Encoded, ValidationError> {
    let mut faults = Vec::new();
    let Some(endpoint) = choose(spec, input.patch, &mut faults) else {
        let detail = format!("{} has no call that updates a conversation.", spec.title);
        return Err(refusal(Fault { pointer: String::new(), code: FaultCode::UnsupportedField, detail }));
    };
    let mut encoder = Encoder {
        spec,
        input,
        is_known,
        faults: Vec::new(),
        warnings: Vec::new(),
        set: Vec::new(),
        body: BodyWriter::new(endpoint.body),
        merge: None,
    };
    encoder.patch();
    encoder.faults.append(&mut faults);
    if !encoder.faults.is_empty() {
        return Err(ValidationError { faults: encoder.faults });
    }
    let body = Bytes::from(encoder.body.finish());
    let key = input.idempotency_key.filter(|_| spec.idempotency_key);
    let request = match request::build(endpoint, input.endpoint, input.target, body, key) {
        Ok(request) => request,
        // Every part of the URI is checked or encoded, so only its length can be refused.
        Err(error) => {
            let detail = format!("No request can be made of this: {error}.");
            return Err(refusal(Fault { pointer: String::new(), code: FaultCode::TooLong, detail }));
        }
    };
    let source = input.patch.source().clone();
    let Some((row, at)) = encoder.merge else {
        let (warnings, set) = (encoder.warnings, encoder.set);
        return Ok(Encoded::Ready(UpstreamCall { request, warnings, set, source }));
    };
    let call = UpstreamCall { request, warnings: encoder.warnings, set: encoder.set, source };
    let format = endpoint.body;
    Ok(Encoded::NeedsStored(PendingMerge { call, row, title: spec.title, format, at }))
}

fn refusal(fault: Fault) -> ValidationError {
    ValidationError { faults: vec![fault] }
}

/// Chooses the endpoint that takes the members of the patch. Members of several endpoints are faults.
fn choose(spec: &'static Spec, patch: &Patch<'_>, faults: &mut Vec<Fault>) -> Option<&'static Endpoint> {
    if let [only] = spec.update {
        return Some(only);
    }
    let endpoint_of =
        |field| spec.update.iter().position(|endpoint| endpoint.rows.iter().any(|row| row.field == field));
    let fields = patch.members().iter().filter_map(|(key, _)| Field::named(&key.name()));
    let used: Vec<(Field, usize)> = fields.filter_map(|field| Some((field, endpoint_of(field)?))).collect();
    for (field, endpoint) in &used {
        let others: Vec<String> = used
            .iter()
            .filter(|(_, other)| other != endpoint)
            .map(|(other, _)| format!("'{}' (/{0})", other.name()))
            .collect();
        if !others.is_empty() {
            let detail = format!(
                "{} sets '{}' by another call than {}; send them in separate requests.",
                spec.title,
                field.name(),
                others.join(" and ")
            );
            let pointer = pointer("", field.name());
            faults.push(Fault { pointer, code: FaultCode::CannotCombine, detail });
        }
    }
    spec.update.get(used.first().map_or(0, |(_, endpoint)| *endpoint))
}

struct Encoder<'w, 'a> {
    spec: &'static Spec,
    input: &'w EncodeRequest<'a>,
    is_known: fn(Field) -> bool,
    faults: Vec<Fault>,
    warnings: Vec<Warning>,
    set: Vec<SetField>,
    body: BodyWriter,
    /// Row of a context that must be merged, and the place of its value in the body.
    merge: Option<(&'static Row, Range<usize>)>,
}

impl<'a> Encoder<'_, 'a> {
    fn patch(&mut self) {
        let patch = self.input.patch;
        if patch.kind() != Kind::Object {
            let detail = format!(
                "The body is {}; send a JSON object with the members to change.",
                patch.kind().name()
            );
            self.fault(String::new(), FaultCode::WrongType, detail);
            return;
        }
        for (key, value) in patch.members() {
            let name = key.name();
            if let Some(field) = Field::named(&name) {
                self.field(field, *value);
            } else if name == VENDOR_FIELDS {
                self.vendor_fields(*value);
            } else if READ_ONLY.contains(&&*name) {
                self.read_only(&name);
            } else {
                self.unknown(&name);
            }
        }
        if self.body.is_empty() && self.faults.is_empty() {
            let detail = format!("Nothing is left to change; set at least one of: {}.", self.known());
            self.fault(String::new(), FaultCode::EmptyPatch, detail);
        }
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.spec.rows().map(|row| row.field.name()).collect();
        names.join(", ")
    }

    /// Records a fault; in lenient handling the members that cannot be written become warnings.
    fn fault(&mut self, pointer: String, code: FaultCode, detail: String) {
        if self.input.lenient && code.is_lenient() {
            self.warnings.push(Warning { code: code.as_str(), pointer: Some(pointer), detail });
        } else {
            self.faults.push(Fault { pointer, code, detail });
        }
    }

    fn read_only(&mut self, name: &str) {
        let detail = format!("'{name}' is reported by vendors and cannot be set; leave it out.");
        self.fault(pointer("", name), FaultCode::ReadOnlyField, detail);
    }

    fn unknown(&mut self, name: &str) {
        let detail = format!(
            "'{name}' is no member of a conversation; members that can be set here: {}.",
            self.known()
        );
        self.fault(pointer("", name), FaultCode::UnknownField, detail);
    }

    fn field(&mut self, field: Field, value: Raw<'a>) {
        let Some(row) = self.spec.row(field) else {
            self.without_row(field);
            return;
        };
        if value.kind() == Kind::Null {
            self.clear(row);
            return;
        }
        match row.conversion {
            Conversion::Object => self.object(row, value, &[Kind::Object]),
            Conversion::ObjectOrString | Conversion::ContextAsText { .. } => {
                self.object(row, value, &[Kind::Object, Kind::String]);
            }
            Conversion::Flag => {
                if self.typed(row, value, &[Kind::Boolean]) {
                    self.put(row, value, value.text());
                }
            }
            Conversion::Text { max } => {
                if self.typed(row, value, &[Kind::String]) && self.length(row, value, 0, max) {
                    self.put(row, value, value.text());
                }
            }
            Conversion::Id { min, max, .. } => self.id(row, value, min, max),
            Conversion::Word(words) => self.word(row, value, words),
            Conversion::Strings => self.strings(row, value),
        }
    }

    /// Records a field that the vendor cannot set.
    fn without_row(&mut self, field: Field) {
        let name = field.name();
        if READ_ONLY.contains(&name) {
            self.read_only(name);
        } else if !(self.is_known)(field) {
            self.unknown(name);
        } else {
            let (title, known) = (self.spec.title, self.known());
            let detail = format!("{title} has no '{name}'; members that can be set there: {known}.");
            self.fault(pointer("", name), FaultCode::UnsupportedField, detail);
        }
    }

    fn clear(&mut self, row: &'static Row) {
        match row.null {
            NullHandling::Refused => {
                let name = row.field.name();
                let detail =
                    format!("{} has no way to clear '{name}'; set a value or leave it out.", self.spec.title);
                self.fault(pointer("", name), FaultCode::NullNotAllowed, detail);
            }
            NullHandling::Sent => {
                self.put(row, Raw::NULL, "null");
            }
            NullHandling::EmptyText => {
                self.put(row, Raw::NULL, "\"\"");
            }
        }
    }

    /// Sets a context. An object of a merge patch is merged into the stored one, if that can be read.
    fn object(&mut self, row: &'static Row, value: Raw<'a>, kinds: &[Kind]) {
        if !self.typed(row, value, kinds) {
            return;
        }
        let merges = self.input.merge && row.field == Field::Context && value.kind() == Kind::Object;
        if merges && !self.spec.is_mergeable() {
            let detail = format!(
                "{} does not let the stored context be read, so nothing can be merged into it; send the whole context as application/json.",
                self.spec.title
            );
            self.fault(pointer("", row.field.name()), FaultCode::MergeUnsupported, detail);
            return;
        }
        match body::context(row, self.spec.title, value) {
            Ok(wire) => {
                let at = self.put(row, value, &wire);
                if merges {
                    self.merge = Some((row, at));
                }
            }
            Err(fault) => self.faults.push(fault),
        }
    }

    fn word(&mut self, row: &'static Row, value: Raw<'a>, words: &[(&str, &str)]) {
        if !self.typed(row, value, &[Kind::String]) {
            return;
        }
        let given = value.as_str().unwrap_or_default();
        match words.iter().find(|(canonical, _)| *canonical == given) {
            Some((_, wire)) => {
                self.put(row, value, &quoted(wire));
            }
            None => {
                let name = row.field.name();
                let known: Vec<String> = words.iter().map(|(word, _)| format!("'{word}'")).collect();
                let detail = format!("'{name}' must be {} for {}.", known.join(" or "), self.spec.title);
                self.fault(pointer("", name), FaultCode::UnknownValue, detail);
            }
        }
    }

    fn strings(&mut self, row: &'static Row, value: Raw<'a>) {
        if !self.typed(row, value, &[Kind::Array]) {
            return;
        }
        let faults_before = self.faults.len();
        for (at, item) in value.items().into_iter().enumerate() {
            if item.kind() != Kind::String {
                let name = row.field.name();
                let detail = format!("'{name}' must hold strings, but item {at} is {}.", item.kind().name());
                self.fault(pointer(&pointer("", name), &at.to_string()), FaultCode::WrongType, detail);
            }
        }
        if self.faults.len() == faults_before {
            self.put(row, value, value.text());
        }
    }

    fn id(&mut self, row: &'static Row, value: Raw<'a>, min: usize, max: Option<usize>) {
        let name = row.field.name();
        if !self.typed(row, value, &[Kind::Object]) {
            return;
        }
        let base = pointer("", name);
        let mut id = None;
        for (key, value) in value.members() {
            let member = key.name();
            if member == "id" {
                id = Some(value);
            } else if row.field.read_only_members().contains(&&*member) {
                let detail =
                    format!("'{name}.{member}' is reported by vendors and cannot be set; leave it out.");
                self.fault(pointer(&base, &member), FaultCode::ReadOnlyField, detail);
            } else {
                let detail = format!("'{name}' has no member '{member}'; send {{\"id\": \"…\"}}.");
                self.fault(pointer(&base, &member), FaultCode::UnknownField, detail);
            }
        }
        match id {
            Some(id) if id.kind() == Kind::String => {
                if self.length(row, id, min, max) {
                    self.put(row, id, id.text());
                }
            }
            other => {
                let found = other.map_or("is missing", |value| value.kind().name());
                let detail = format!("'{name}.id' must be a string, but {found}.")
                    .replace("but a", "but is a")
                    .replace("but null", "but is null");
                self.fault(row.field.pointer().to_owned(), FaultCode::WrongType, detail);
            }
        }
    }

    fn typed(&mut self, row: &'static Row, value: Raw<'a>, kinds: &[Kind]) -> bool {
        if kinds.contains(&value.kind()) {
            return true;
        }
        let wanted: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let name = row.field.name();
        let detail = format!(
            "'{name}' must be {} for {}, but is {}.",
            wanted.join(" or "),
            self.spec.title,
            value.kind().name()
        );
        self.fault(pointer("", name), FaultCode::WrongType, detail);
        false
    }

    fn length(&mut self, row: &'static Row, value: Raw<'a>, min: usize, max: Option<usize>) -> bool {
        // A written string has at least as many bytes as characters, and one character unless it is empty.
        let written = value.inner().unwrap_or_default().len();
        if max.is_none_or(|max| written <= max) && min <= written.min(1) {
            return true;
        }
        let count = value.as_str().unwrap_or_default().chars().count();
        let (code, limit) = match max {
            _ if count < min => (FaultCode::TooShort, format!("asks for at least {min}")),
            Some(max) if count > max => (FaultCode::TooLong, format!("takes at most {max}")),
            _ => return true,
        };
        let (name, at) = match row.conversion {
            Conversion::Id { .. } => (format!("{}.id", row.field.name()), row.field.pointer().to_owned()),
            _ => (row.field.name().to_owned(), pointer("", row.field.name())),
        };
        let detail = format!("'{name}' has {count} characters; {} {limit}.", self.spec.title);
        self.fault(at, code, detail);
        false
    }

    fn vendor_fields(&mut self, value: Raw<'a>) {
        let base = pointer("", VENDOR_FIELDS);
        if value.kind() != Kind::Object {
            let detail = format!("'{VENDOR_FIELDS}' must be an object, but is {}.", value.kind().name());
            self.fault(base, FaultCode::WrongType, detail);
            return;
        }
        let members = value.members();
        if members.is_empty() {
            return;
        }
        if !self.input.endpoint.allow_vendor_fields {
            let detail = format!(
                "The upstream '{}' does not take '{VENDOR_FIELDS}'; its operator can set allow_vendor_fields = true.",
                self.input.endpoint.name
            );
            self.fault(base, FaultCode::VendorFieldRefused, detail);
            return;
        }
        for (key, value) in members {
            let name = key.name();
            match self.sets(&name) {
                Some(field) => {
                    let detail =
                        format!("'{name}' is what '{}' already sets; give one of the two.", field.name());
                    self.fault(pointer(&base, &name), FaultCode::VendorFieldRefused, detail);
                }
                None => {
                    self.body.member(key.written(), value.text());
                }
            }
        }
    }

    /// Field of this patch that sets the vendor's member `wire`.
    fn sets(&self, wire: &str) -> Option<Field> {
        let row = self.spec.rows().find(|row| row.wire == wire)?;
        self.input.patch.get(row.field.name()).map(|_| row.field)
    }

    /// Records what is set and writes it; returns the place of the value in the body.
    fn put(&mut self, row: &'static Row, canonical: Raw<'a>, wire: &str) -> Range<usize> {
        let value = self.input.patch.place(canonical).map_or(SetValue::Null, SetValue::Source);
        self.set.push(SetField { field: row.field, value });
        self.body.member(row.wire, wire)
    }
}
