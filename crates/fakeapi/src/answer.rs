//! What a request is answered with, as a value and as bytes. Objects are written out once and their
//! bytes shared. Decides nothing.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use crate::Reply;
use crate::error::StatusError;
use crate::history::{Form, Stored, shaped};
use crate::request::Place;
use crate::watch::Watcher;

/// An answer before it is written out.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) payload: Payload,
    /// Texts of Warning headers.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum Payload {
    /// A stored object in a form, with another apiVersion than the stored one if the path says so.
    Stored(Arc<Stored>, Form, Option<String>),
    Value(Value),
    /// Plain text.
    Text(&'static str),
    List(ListAnswer),
    Watch(Box<Watcher>),
}

#[derive(Debug)]
pub(crate) struct ListAnswer {
    pub(crate) kind: String,
    pub(crate) api_version: String,
    pub(crate) metadata: Value,
    pub(crate) items: Vec<Arc<Stored>>,
    pub(crate) form: Form,
    pub(crate) rewrite: Option<String>,
}

/// An object with another apiVersion: versions of a custom kind differ in nothing else here.
pub(crate) fn rewritten(value: &Value, api_version: Option<&str>, form: Form) -> Value {
    let mut shaped = shaped(value, form);
    if let (Some(api_version), Some(map), true) =
        (api_version, shaped.as_object_mut(), form == Form::Full)
    {
        map.insert("apiVersion".to_owned(), Value::from(api_version));
    }
    shaped
}

/// The bytes of an object, shared when it needs no rewriting.
pub(crate) fn object_bytes(stored: &Stored, form: Form, rewrite: Option<&str>) -> Bytes {
    match rewrite {
        Some(_) => Bytes::from(rewritten(&stored.value, rewrite, form).to_string()),
        None => stored.bytes(form),
    }
}

impl Answer {
    pub(crate) fn stored(status: u16, stored: Arc<Stored>, form: Form, place: &Place) -> Self {
        let rewrite = (place.version != place.resource.version).then(|| place.api_version());
        Self {
            status,
            payload: Payload::Stored(stored, form, rewrite),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn value(status: u16, value: Value) -> Self {
        Self {
            status,
            payload: Payload::Value(value),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn error(error: &StatusError) -> Self {
        Self::value(error.code, error.to_value())
    }

    /// As a value. A watch has none: it is refused before.
    pub(crate) fn into_reply(self) -> Reply {
        let body = match self.payload {
            Payload::Stored(stored, Form::Full, None) => Value::clone(&stored.value),
            Payload::Stored(stored, form, rewrite) => {
                rewritten(&stored.value, rewrite.as_deref(), form)
            }
            Payload::Value(value) => value,
            Payload::Text(text) => Value::from(text),
            Payload::List(list) => list.value(),
            Payload::Watch(_) => Value::Null,
        };
        Reply {
            status: self.status,
            body,
            warnings: self.warnings,
        }
    }
}

impl ListAnswer {
    fn value(self) -> Value {
        let items = self
            .items
            .iter()
            .map(|stored| rewritten(&stored.value, self.rewrite.as_deref(), self.form))
            .collect();
        let items = match (self.form, self.items.is_empty()) {
            (Form::Metadata, true) => Value::Null,
            _ => Value::Array(items),
        };
        let mut map = Map::new();
        map.insert("apiVersion".to_owned(), Value::from(self.api_version));
        map.insert("items".to_owned(), items);
        map.insert("kind".to_owned(), Value::from(self.kind));
        map.insert("metadata".to_owned(), self.metadata);
        Value::Object(map)
    }

    /// The whole list as bytes.
    pub(crate) fn bytes(&self) -> Bytes {
        let head =
            json!({ "kind": self.kind, "apiVersion": self.api_version, "metadata": self.metadata })
                .to_string();
        let parts: Vec<Bytes> = self
            .items
            .iter()
            .map(|stored| object_bytes(stored, self.form, self.rewrite.as_deref()))
            .collect();
        let size = parts.iter().map(|part| part.len() + 1).sum::<usize>() + head.len() + 16;
        let mut bytes = BytesMut::with_capacity(size);
        bytes.put_slice(head.strip_suffix('}').unwrap_or(&head).as_bytes());
        if self.form == Form::Metadata && self.items.is_empty() {
            bytes.put_slice(b",\"items\":null}");
            return bytes.freeze();
        }
        bytes.put_slice(b",\"items\":[");
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                bytes.put_u8(b',');
            }
            bytes.put_slice(part);
        }
        bytes.put_slice(b"]}");
        bytes.freeze()
    }
}
