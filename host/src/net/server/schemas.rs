//! `/v1/schemas…`: event types and their schemas; and what the sender of an event is told of its type's end.

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::{flag, parameters, read_json},
    ending::Ending,
    gate::Caller,
    impact::{in_use, refused_schema},
};
use crate::{
    model::{event_schema::Compatibility, principal::Resource, timestamp::Timestamp},
    net::problem::{Code, Document, Problem},
    ports::schemas::{Addition, EventTypeView, Notice, Retirement, SchemaError, SchemaView, Schemas},
};

/// Media type of a schema.
const SCHEMA_TYPE: &str = "application/schema+json";
/// Successors that a response links to, at most.
const LINKS_MAX: usize = 8;
/// A schema that is to be registered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SchemaAddition {
    /// Who; absent: whoever sends it.
    #[serde(default)]
    actor: String,
    /// Why.
    #[serde(default)]
    reason: String,
    /// JSON Schema (2020-12) of the events' data, without `allOf`, `not`, `if` and `patternProperties`.
    #[schema(value_type = Object)]
    schema: Value,
    /// How versions may differ from here on: `none`, `backward`, `forward` or `full`; absent: as before, or `backward`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    compatibility: Option<Compatibility>,
    /// That whoever adds it has seen who sends what it would not take any more, as `change.in-use` lists it.
    #[serde(default)]
    accept_impact: bool,
}

/// What is to become of a type or a version.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SchemaRetirement {
    /// Who; absent: whoever sends it.
    #[serde(default)]
    actor: String,
    /// Why.
    #[serde(default)]
    reason: String,
    /// `deprecate`, or `restore`: it is to be used after all.
    r#do: String,
    /// Which version; absent: the type as a whole.
    #[serde(default)]
    version: Option<u32>,
    /// From when on, RFC 3339; absent: now.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    since: Option<Timestamp>,
    /// From when on events of it are refused, RFC 3339.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    sunset: Option<Timestamp>,
    /// What to send instead: an event type, or `TYPE/VERSION`.
    #[serde(default)]
    successor: Option<String>,
    /// For a `sunset`: that whoever asks has seen who has to do with such events, as `change.in-use` lists it.
    #[serde(default)]
    accept_impact: bool,
}

/// Event types.
#[derive(Serialize, ToSchema)]
pub(super) struct EventTypes {
    /// By name: `type`, `compatibility`, `deprecated`, `versions` (`version`, `reference`, `digest`, `origin`, `schema`),
    /// `starts`, `awaited_by`, `emitted_by`, `produced_by`.
    #[schema(value_type = Vec<Object>)]
    types: Vec<EventTypeView>,
}

/// Lists event types with their schemas, and who has to do with them.
#[utoipa::path(
    get,
    path = "/v1/schemas",
    tag = "schemas",
    responses((status = 200, description = "The event types", body = EventTypes))
)]
pub(super) async fn list(State(surface): State<Surface>) -> Result<Json<EventTypes>, Problem> {
    Ok(Json(EventTypes { types: schemas(&surface)?.event_types() }))
}

/// Shows an event type.
#[utoipa::path(
    get,
    path = "/v1/schemas/{type}",
    tag = "schemas",
    params(("type" = String, Path, description = "The event type")),
    responses(
        (status = 200, description = "The event type, as the list has it", body = Object),
        (status = 404, description = "`schema.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(surface): State<Surface>,
    Path(event_type): Path<String>,
) -> Result<Json<EventTypeView>, Problem> {
    Ok(Json(find(&surface, &event_type)?))
}

/// Gets a schema, as `dataschema` names it; `latest` is the latest.
#[utoipa::path(
    get,
    path = "/v1/schemas/{type}/{version}",
    tag = "schemas",
    params(("type" = String, Path, description = "The event type"), ("version" = String, Path, description = "Its version, or `latest`")),
    responses(
        (status = 200, description = "The JSON Schema", body = Object, content_type = "application/schema+json"),
        (status = 404, description = "`schema.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(surface): State<Surface>,
    Path((event_type, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let found = find(&surface, &event_type)?;
    let deprecated = found.deprecated.clone();
    let wanted = |view: &&SchemaView| version == "latest" || version == view.version.to_string();
    let view = found.versions.into_iter().rev().find(|view| wanted(&view)).ok_or_else(|| {
        Problem::new(Code::SchemaUnknown, format!("there is no version `{version}` of the schema of `{event_type}`"))
    })?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SCHEMA_TYPE));
    if let Some(deprecation) = view.deprecated.or(deprecated) {
        announce(&mut headers, &[Notice { event_type, version: view.version, deprecation }]);
    }
    // INVARIANT: a JSON value has a JSON form.
    Ok((headers, serde_json::to_vec(&view.schema).unwrap_or_default()).into_response())
}

/// Registers a schema as the next version of an event type. The same schema again changes nothing.
#[utoipa::path(
    post,
    path = "/v1/schemas/{type}",
    tag = "schemas",
    params(
        ("type" = String, Path, description = "The event type"),
        ("dry_run" = Option<bool>, Query, description = "Only say whether it could be registered"),
    ),
    request_body(content = SchemaAddition, content_type = "application/json"),
    responses(
        (status = 200, description = "Exactly this is there already, or nothing stands against it (`dry_run`)", body = Object),
        (status = 201, description = "Registered: `type`, `version`, `compatibility`, `reference`", body = Object),
        (status = 400, description = "`query.invalid`, `request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`change.in-use` with the `dependants`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`schema.refused`, with `obstacles`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn add(
    State(surface): State<Surface>,
    caller: Caller,
    Path(event_type): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let [dry_run] = parameters(query.as_deref(), ["dry_run"])?;
    let dry_run = flag("dry_run", dry_run.as_deref())?;
    caller.may(Resource::Hub)?;
    let SchemaAddition { actor, reason, schema, compatibility, accept_impact } = read_json(&surface, request).await?;
    let addition = Addition { event_type, schema, compatibility, accept_impact };
    let schemas = schemas(&surface)?;
    if dry_run {
        return Ok(Json(schemas.check(&addition)?).into_response());
    }
    let added = schemas.add(addition, caller.signed(actor, reason)?).await;
    let added = added.map_err(|error| refused_schema(&caller, error))?;
    let status = if added.unchanged { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(added)).into_response())
}

/// Says that an event type, or a version of its schema, is not to be used any more, or is to be used after all.
#[utoipa::path(
    post,
    path = "/v1/schemas/{type}/control",
    tag = "schemas",
    params(("type" = String, Path, description = "The event type")),
    request_body(content = SchemaRetirement, content_type = "application/json"),
    responses(
        (status = 200, description = "The event type, as it is now", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`schema.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`change.in-use` with the `dependants`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn control(
    State(surface): State<Surface>,
    caller: Caller,
    Path(event_type): Path<String>,
    request: Request,
) -> Result<Json<EventTypeView>, Problem> {
    caller.may(Resource::Hub)?;
    let asked: SchemaRetirement = read_json(&surface, request).await?;
    let withdrawn = match asked.r#do.as_str() {
        "deprecate" => false,
        "restore" => true,
        other => {
            let detail = format!("`do` is `{other}`; it must be `deprecate` or `restore`");
            return Err(Problem::new(Code::RequestInvalid, detail));
        }
    };
    let who = caller.signed(asked.actor, asked.reason)?;
    let SchemaRetirement { version, since, sunset, successor, accept_impact, .. } = asked;
    let retirement = Retirement { event_type, version, since, sunset, successor, withdrawn, accept_impact };
    let retired = schemas(&surface)?.retire(retirement, who).await;
    Ok(Json(retired.map_err(|error| refused_schema(&caller, error))?))
}

pub(super) fn schemas(surface: &Surface) -> Result<&dyn Schemas, Problem> {
    surface.hub.schemas().ok_or_else(|| Problem::new(Code::RouteUnknown, "this hub has no schemas"))
}

pub(super) fn find(surface: &Surface, event_type: &str) -> Result<EventTypeView, Problem> {
    let found = schemas(surface)?.event_types().into_iter().find(|view| view.name == event_type);
    found.ok_or_else(|| Problem::new(Code::SchemaUnknown, format!("nobody knows event type `{event_type}`")))
}

/// Says in a response's headers that types or versions of events are not to be used any more. Of several, the earliest
/// dates count.
pub(super) fn announce(headers: &mut HeaderMap, notices: &[Notice]) {
    let mut successors: Vec<&str> =
        notices.iter().filter_map(|notice| notice.deprecation.successor.as_deref()).collect();
    successors.sort_unstable();
    successors.dedup();
    let ending = Ending {
        since: notices.iter().map(|notice| notice.deprecation.since).min(),
        sunset: notices.iter().filter_map(|notice| notice.deprecation.sunset).min(),
        successors: successors
            .into_iter()
            .take(LINKS_MAX)
            .map(|successor| format!("/v1/schemas/{successor}"))
            .collect(),
    };
    ending.announce(headers);
}

impl From<SchemaError> for Problem {
    fn from(error: SchemaError) -> Self {
        let text = error.to_string();
        match error {
            SchemaError::Unknown { .. } => Self::new(Code::SchemaUnknown, text),
            SchemaError::InUse(used) => in_use(None, &used),
            SchemaError::Invalid { .. } => Self::new(Code::RequestInvalid, text),
            SchemaError::Refused { obstacles, .. } => Self::new(Code::SchemaRefused, text)
                .with("obstacles", serde_json::to_value(obstacles).unwrap_or_default()),
            SchemaError::Unavailable { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::announce;
    use crate::{
        model::{event_schema::Deprecation, timestamp::Timestamp},
        ports::schemas::Notice,
    };

    fn notice(since: &str, sunset: Option<&str>, successor: Option<&str>) -> Notice {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let deprecation = Deprecation {
            since: time(since),
            sunset: sunset.map(time),
            successor: successor.map(str::to_owned),
            reason: "why".to_owned(),
        };
        Notice { event_type: "a.v1".to_owned(), version: 1, deprecation }
    }

    #[test]
    fn headers_are_those_of_the_specifications() {
        let mut headers = HeaderMap::new();
        announce(
            &mut headers,
            &[
                notice("2023-07-01T00:00:00Z", None, None),
                notice("2023-06-30T23:59:59Z", Some("2027-06-30T23:59:59Z"), Some("a.v2")),
                notice("2024-01-01T00:00:00Z", Some("2028-01-01T00:00:00Z"), Some("a.v1/3")),
            ],
        );
        assert_eq!(headers["deprecation"], "@1688169599");
        assert_eq!(headers["sunset"], "Wed, 30 Jun 2027 23:59:59 GMT");
        let links: Vec<_> = headers.get_all("link").iter().collect();
        assert_eq!(
            links,
            ["</v1/schemas/a.v1/3>; rel=\"successor-version\"", "</v1/schemas/a.v2>; rel=\"successor-version\"",]
        );
        let mut none = HeaderMap::new();
        announce(&mut none, &[]);
        assert!(none.is_empty());
    }
}
