//! Requests, by table: walks a body's members along a vendor's rows.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};

use crate::adapter::{Ask, Call, Convert, Done, Null, Refusal, Row, Set, Spec, Target};
use crate::canonical::{
    Agent, Contact, Conversation, Fault, FaultCode, Field, READ_ONLY, Slot, VENDOR_FIELDS, Warning, pointer,
};
use crate::json::{Kind, Raw, compact, quote};
use crate::target;

/// The one call that applies the patch, or every reason why none can.
pub(crate) fn encode<'a>(spec: &'static Spec, ask: &Ask<'a>) -> Result<Call<'a>, Refusal> {
    let mut work = Work {
        spec,
        ask,
        faults: Vec::new(),
        warnings: Vec::new(),
        set: Vec::new(),
        body: Vec::with_capacity(256),
        merges: false,
    };
    work.walk();
    if !work.faults.is_empty() {
        return Err(Refusal { faults: work.faults });
    }
    work.body.push(b'}');
    let request = request(spec, ask.target, Method::PATCH, Bytes::from(work.body), ask.idempotency_key);
    match request {
        Ok(request) => {
            Ok(Call { request, set: work.set, warnings: work.warnings, needs_stored_context: work.merges })
        }
        // Every part of the URI was checked or encoded before; a path too long for `http` is all that is left.
        Err(error) => Err(Refusal {
            faults: vec![Fault {
                pointer: String::new(),
                code: FaultCode::TooLong,
                detail: format!("No request can be made of this: {error}."),
            }],
        }),
    }
}

/// A request to the vendor, with every header but the credential.
pub(crate) fn request(
    spec: &Spec,
    target: &Target<'_>,
    method: Method,
    body: Bytes,
    idempotency_key: Option<&str>,
) -> Result<Request<Bytes>, http::Error> {
    let writes = method != Method::GET;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.upstream.origin.uri(target::path(spec, target))?;
    let headers = request.headers_mut();
    headers.reserve(8);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if writes {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &target.upstream.headers {
        headers.insert(name.clone(), value.clone());
    }
    if let Some(key) = idempotency_key.filter(|_| writes && spec.idempotency_key) {
        headers.insert(HeaderName::from_static("idempotency-key"), HeaderValue::from_str(key)?);
    }
    Ok(request)
}

/// The conversation as far as a vendor that only confirms lets us know it: the members that were set.
pub fn confirm<'a>(done: &Done<'a>) -> Conversation<'a> {
    let text = |field| done.set(field);
    let flag = |field| match done.set(field) {
        Slot::Value(value) => value.as_bool().map_or(Slot::Absent, Slot::Value),
        Slot::Null => Slot::Null,
        Slot::Absent => Slot::Absent,
    };
    Conversation {
        title: text(Field::Title),
        status: Slot::Absent,
        archived: flag(Field::Archived),
        important: flag(Field::Important),
        context: done.set(Field::Context),
        instructions: text(Field::Instructions),
        agent: match done.set(Field::Agent) {
            Slot::Value(id) => Slot::Value(Agent { id: Some(id), ..Agent::default() }),
            Slot::Null => Slot::Null,
            Slot::Absent => Slot::Absent,
        },
        contact: match done.set(Field::Contact) {
            Slot::Value(id) => Slot::Value(Contact { id: Some(id), ..Contact::default() }),
            Slot::Null => Slot::Null,
            Slot::Absent => Slot::Absent,
        },
        created_at: Slot::Absent,
        updated_at: Slot::Absent,
        last_message_at: Slot::Absent,
        message_count: Slot::Absent,
        messages: None,
        vendor_data: Vec::new(),
        warnings: Vec::new(),
    }
}

struct Work<'w, 'a> {
    spec: &'static Spec,
    ask: &'w Ask<'a>,
    faults: Vec<Fault>,
    warnings: Vec<Warning>,
    set: Vec<Set<'a>>,
    body: Vec<u8>,
    merges: bool,
}

impl<'a> Work<'_, 'a> {
    fn walk(&mut self) {
        let patch = self.ask.patch;
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
                let detail = format!("'{name}' is reported by vendors and cannot be set; leave it out.");
                self.fault(pointer("", &name), FaultCode::ReadOnlyField, detail);
            } else {
                let detail = format!(
                    "'{name}' is no member of a conversation; members that can be set here: {}.",
                    self.known()
                );
                self.fault(pointer("", &name), FaultCode::UnknownField, detail);
            }
        }
        if self.body.is_empty() && self.faults.is_empty() {
            let detail = format!("Nothing is left to change; set at least one of: {}.", self.known());
            self.fault(String::new(), FaultCode::EmptyPatch, detail);
        }
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.spec.rows.iter().map(|row| row.field.name()).collect();
        names.join(", ")
    }

    /// Records a fault; in lenient handling the members that cannot be written become warnings.
    fn fault(&mut self, pointer: String, code: FaultCode, detail: String) {
        if self.ask.lenient && code.is_lenient() {
            self.warnings.push(Warning { code: code.as_str(), pointer: Some(pointer), detail });
        } else {
            self.faults.push(Fault { pointer, code, detail });
        }
    }

    fn field(&mut self, field: Field, value: Raw<'a>) {
        let Some(row) = self.spec.rows.iter().find(|row| row.field == field) else {
            let detail = format!(
                "{} has no '{}'; members that can be set there: {}.",
                self.spec.title,
                field.name(),
                self.known()
            );
            self.fault(pointer("", field.name()), FaultCode::UnsupportedField, detail);
            return;
        };
        if value.kind() == Kind::Null {
            self.clear(row);
            return;
        }
        match row.convert {
            Convert::ContextAsText { max_utf16 } => self.context_as_text(row, value, max_utf16),
            Convert::Object => self.verbatim(row, value, &[Kind::Object]),
            Convert::ObjectOrString => self.verbatim(row, value, &[Kind::Object, Kind::String]),
            Convert::Flag => self.verbatim(row, value, &[Kind::Boolean]),
            Convert::Text { max } => {
                if self.typed(row, value, &[Kind::String])
                    && self.length(row, row.field.name(), value, 0, max)
                {
                    self.put(row, value, value.text().as_bytes());
                }
            }
            Convert::Id { min, max } => self.id(row, value, min, max),
        }
    }

    fn clear(&mut self, row: &'static Row) {
        match row.null {
            Null::Refused => {
                let name = row.field.name();
                let detail =
                    format!("{} has no way to clear '{name}'; set a value or leave it out.", self.spec.title);
                self.fault(pointer("", name), FaultCode::NullNotAllowed, detail);
            }
            Null::Sent => self.put(row, Raw::NULL, b"null"),
            Null::EmptyText => self.put(row, Raw::NULL, b"\"\""),
        }
    }

    fn verbatim(&mut self, row: &'static Row, value: Raw<'a>, kinds: &[Kind]) {
        if self.typed(row, value, kinds) && self.merges_if_asked(row, value) {
            self.put(row, value, value.text().as_bytes());
        }
    }

    /// An object `context` of a merge patch is merged into the stored one: possible where that can be read.
    fn merges_if_asked(&mut self, row: &'static Row, value: Raw<'a>) -> bool {
        if !self.ask.merge || row.field != Field::Context || value.kind() != Kind::Object {
            return true;
        }
        if self.spec.reads {
            self.merges = true;
            return true;
        }
        let detail = format!(
            "{} does not let the stored context be read, so nothing can be merged into it; send the whole context as application/json.",
            self.spec.title
        );
        self.fault(pointer("", row.field.name()), FaultCode::MergeUnsupported, detail);
        false
    }

    fn context_as_text(&mut self, row: &'static Row, value: Raw<'a>, max_utf16: usize) {
        if !self.typed(row, value, &[Kind::Object, Kind::String]) || !self.merges_if_asked(row, value) {
            return;
        }
        let text = context_text(value);
        let units = text.encode_utf16().count();
        if units > max_utf16 {
            let detail = format!(
                "The context is {units} UTF-16 units of text; {} takes at most {max_utf16}.",
                self.spec.title
            );
            self.fault(pointer("", row.field.name()), FaultCode::TooLong, detail);
            return;
        }
        if value.kind() == Kind::String {
            self.put(row, value, value.text().as_bytes());
        } else {
            let mut wire = Vec::with_capacity(text.len() + 16);
            quote(&text, &mut wire);
            self.put(row, value, &wire);
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
                if self.length(row, &format!("{name}.id"), id, min, max) {
                    self.put(row, id, id.text().as_bytes());
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

    fn length(
        &mut self,
        row: &'static Row,
        name: &str,
        value: Raw<'a>,
        min: usize,
        max: Option<usize>,
    ) -> bool {
        let text = value.as_str().unwrap_or_default();
        // As many bytes as characters are allowed is within the limit without counting.
        let count = if text.len() <= min.max(1) || max.is_some_and(|max| text.len() > max) {
            text.chars().count()
        } else {
            text.len()
        };
        let at = || match row.convert {
            Convert::Id { .. } => row.field.pointer().to_owned(),
            _ => pointer("", row.field.name()),
        };
        if count < min {
            let detail =
                format!("'{name}' has {count} characters; {} asks for at least {min}.", self.spec.title);
            self.fault(at(), FaultCode::TooShort, detail);
            return false;
        }
        if let Some(max) = max.filter(|max| count > *max) {
            let detail = format!("'{name}' has {count} characters; {} takes at most {max}.", self.spec.title);
            self.fault(at(), FaultCode::TooLong, detail);
            return false;
        }
        true
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
        if !self.ask.target.upstream.allow_vendor_fields {
            let detail = format!(
                "The upstream '{}' does not take '{VENDOR_FIELDS}'; its operator can set allow_vendor_fields = true.",
                self.ask.target.upstream.name
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
                None => self.write(key.written(), value.text().as_bytes()),
            }
        }
    }

    /// The canonical member of this body that sets the vendor's member `wire`, wherever it stands in the body.
    fn sets(&self, wire: &str) -> Option<Field> {
        let row = self.spec.rows.iter().find(|row| row.wire == wire)?;
        self.ask.patch.get(row.field.name()).map(|_| row.field)
    }

    fn put(&mut self, row: &'static Row, canonical: Raw<'a>, wire: &[u8]) {
        self.set.push(Set { field: row.field, value: canonical });
        self.write(row.wire, wire);
    }

    fn write(&mut self, name: &str, value: &[u8]) {
        self.body.push(if self.body.is_empty() { b'{' } else { b',' });
        self.body.push(b'"');
        self.body.extend_from_slice(name.as_bytes());
        self.body.extend_from_slice(b"\":");
        self.body.extend_from_slice(value);
    }
}

/// A context as text: a string's own, an object's compact JSON.
pub(crate) fn context_text(value: Raw<'_>) -> Cow<'_, str> {
    value.as_str().unwrap_or_else(|| Cow::Owned(compact(value)))
}
