//! What sources of events take and give.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, call::config, typed::written};

/// Something that happened, after CloudEvents 1.0. The hub writes the `source` that its operator configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Unique within the source, and the remote's own: the hub drops a second event with the same id.
    pub id: String,
    /// What happened, dotted.
    pub event_type: String,
    /// What it happened to.
    pub subject: Option<String>,
    /// When it happened at the source, RFC 3339.
    pub time: Option<String>,
    /// The payload, JSON.
    pub data: Vec<u8>,
    /// CloudEvents extensions.
    pub extensions: Vec<(String, String)>,
}

impl Event {
    /// An event without subject, time and extensions, with a payload of any type.
    ///
    /// # Errors
    /// `permanent` with `output.invalid`, if the payload has no JSON form.
    pub fn new(id: impl Into<String>, event_type: impl Into<String>, data: &impl Serialize) -> Result<Self, Failure> {
        Ok(Self::with_json(id, event_type, written(data)?))
    }

    /// An event without subject, time and extensions, whose payload is JSON already and stays as it is, byte for byte.
    pub fn with_json(id: impl Into<String>, event_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self {
            id: id.into(),
            event_type: event_type.into(),
            subject: None,
            time: None,
            data: data.into(),
            extensions: Vec::new(),
        }
    }

    /// Says what it happened to.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Says when it happened at the source, RFC 3339.
    #[must_use]
    pub fn at(mut self, time: impl Into<String>) -> Self {
        self.time = Some(time.into());
        self
    }
}

/// One configured use of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// The source's name in the hub's configuration.
    pub name: String,
    /// The recorded time of this call, RFC 3339.
    pub now: String,
    /// The settings as JSON; read them with [`Feed::config`].
    pub config: Vec<u8>,
    /// More facts.
    pub attributes: Vec<(String, String)>,
}

impl Feed {
    /// The settings as a type.
    ///
    /// # Errors
    /// `permanent` with `config.invalid`, if they are not of that type.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, Failure> {
        config(&self.config)
    }
}

/// An HTTP request as it arrived. The hub has verified it if the manifest declares a signature scheme.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// In upper case.
    pub method: String,
    /// The part of the path after the source's own, starting with `/`.
    pub path: String,
    /// The raw query string without `?`.
    pub query: String,
    /// In order of arrival, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The exact bytes.
    pub body: Vec<u8>,
}

impl Delivery {
    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as a type.
    ///
    /// # Errors
    /// `invalid-input` with `delivery.invalid`, and where and why.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::invalid("delivery.invalid", format!("the body does not fit: {error}")))
    }
}

/// What the sender is told, for protocols that want more than a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 299.
    pub status: u16,
    /// The body's type.
    pub content_type: String,
    /// At most 16 KiB.
    pub body: Vec<u8>,
}

/// What a delivery meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receipt {
    /// In order; none if the delivery carries nothing of interest. At most 256.
    pub events: Vec<Event>,
    /// Absent: 202 without a body.
    pub reply: Option<Reply>,
}

/// One portion of what is new at a polled source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In order, at most 256. Ids come from the remote, not from the moment: a page may be asked for again.
    pub events: Vec<Event>,
    /// Where the next poll goes on, at most 4 KiB; absent: as before.
    pub cursor: Option<String>,
    /// Whether to poll again at once rather than at the next due time. The cursor must have moved then.
    pub more: bool,
}

/// One portion of a paged operation's result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Portion<R> {
    /// What it holds, usually a list.
    pub rows: R,
    /// Where to go on, at most 4 KiB; absent at the end. The same cursor must mean the same rows when it comes again.
    pub next: Option<String>,
}

impl From<Event> for Receipt {
    fn from(event: Event) -> Self {
        Self { events: vec![event], reply: None }
    }
}
