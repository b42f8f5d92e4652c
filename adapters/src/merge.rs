//! JSON merge patch (RFC 7396) of a stored context, numbers digit for digit.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::{Method, Request, Response};

use crate::adapter::{Call, Spec, Target, Unusable};
use crate::canonical::Field;
use crate::json::{Kind, Malformed, Raw, Reader};
use crate::table;

/// The request that reads the conversation, without its credential.
pub fn read_request(spec: &Spec, target: &Target<'_>) -> Result<Request<Bytes>, http::Error> {
    table::request(spec, target, Method::GET, Bytes::new(), None)
}

/// The context in a successful answer to [`read_request`]; null where the vendor has none.
pub fn stored_context<'a>(spec: &Spec, reply: &'a Response<Bytes>) -> Result<Raw<'a>, Unusable> {
    let wire = spec.rows.iter().find(|row| row.field == Field::Context).map(|row| row.wire);
    let mut found = Raw::NULL;
    let mut reader = Reader::lenient(reply.body())?;
    reader.object(|key, reader| {
        let value = reader.raw()?;
        if wire == Some(&*key.name()) {
            found = value;
        }
        Ok(())
    })?;
    reader.end()?;
    Ok(found)
}

/// The body of `call` with the patch's context merged into `stored`; gives the merged context as well.
pub fn merged_body(spec: &Spec, call: &Call<'_>, stored: Raw<'_>) -> Result<(Bytes, String), Malformed> {
    let wire = spec.rows.iter().find(|row| row.field == Field::Context).map_or("", |row| row.wire);
    let mut context = String::new();
    let mut body = Vec::with_capacity(call.request.body().len() + stored.text().len());
    let mut reader = Reader::lenient(call.request.body())?;
    reader.object(|key, reader| {
        let value = reader.raw()?;
        body.push(if body.is_empty() { b'{' } else { b',' });
        body.push(b'"');
        body.extend_from_slice(key.written().as_bytes());
        body.extend_from_slice(b"\":");
        if key.name() == wire {
            merge(stored, value, &mut context);
            body.extend_from_slice(context.as_bytes());
        } else {
            body.extend_from_slice(value.text().as_bytes());
        }
        Ok(())
    })?;
    body.push(b'}');
    Ok((Bytes::from(body), context))
}

/// Appends the target with the patch merged into it.
pub fn merge(target: Raw<'_>, patch: Raw<'_>, out: &mut String) {
    if patch.kind() != Kind::Object {
        out.push_str(patch.text());
        return;
    }
    let kept = target.members();
    let changes = patch.members();
    let by_name: HashMap<_, _> = changes.iter().map(|(key, change)| (key.name(), *change)).collect();
    let names: HashSet<_> = kept.iter().map(|(key, _)| key.name()).collect();
    let mut mark = '{';
    let mut open = |out: &mut String, name: &str| {
        out.push(mark);
        mark = ',';
        out.push('"');
        out.push_str(name);
        out.push_str("\":");
    };
    for (key, value) in &kept {
        match by_name.get(&key.name()) {
            Some(change) if change.kind() == Kind::Null => {}
            Some(change) => {
                open(out, key.written());
                merge(*value, *change, out);
            }
            None => {
                open(out, key.written());
                out.push_str(value.text());
            }
        }
    }
    for (key, change) in &changes {
        if !names.contains(&key.name()) && change.kind() != Kind::Null {
            open(out, key.written());
            merge(Raw::NULL, *change, out);
        }
    }
    if mark == '{' {
        out.push('{');
    }
    out.push('}');
}
