//! `/v1/secrets…`, what changes `/v1/connections/{name}`, and `/v1/pipelines/{namespace}/{name}/bindings`: what an operator
//! sets while the hub runs.
//!
//! A value is only ever in the body of a request, which is logged nowhere, and what is said of a body that cannot be read
//! never repeats it.

use std::{collections::BTreeMap, fmt};

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::{read_body, read_json},
    gate::Caller,
};
use crate::{
    model::{
        connection::Connection,
        principal::{Action, Resource},
        setting::Probe,
    },
    net::problem::{Code, Document, Problem},
    ports::{
        secrets::Secret,
        settings::{
            BindAct, BindingView, ConnectionAct, NewSecret, SecretAct, SecretView, SettingChanged, SettingError,
            Settings, Tested,
        },
    },
};

/// Largest body, bytes: a secret of the largest size, quoted.
const BODY_BYTES_LIMIT: u64 = 512 << 10;

/// A value on its way in. It does not print.
#[derive(Deserialize)]
#[serde(transparent)]
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl From<Hidden> for Secret {
    fn from(hidden: Hidden) -> Self {
        Self::new(hidden.0.into_bytes())
    }
}

/// The secrets that the hub keeps.
#[derive(Serialize, ToSchema)]
pub(super) struct Secrets {
    /// By name: `name`, `version`, `set`, `by`, `previous` (`version`, `until`), `used_by`; never a value.
    #[schema(value_type = Vec<Object>)]
    secrets: Vec<SecretView>,
}

/// Lists the secrets that the hub keeps: when each was set, by whom, what uses it; never a value.
#[utoipa::path(
    get,
    path = "/v1/secrets",
    tag = "settings",
    responses((status = 200, description = "The secrets, by name", body = Secrets))
)]
pub(super) async fn secrets(State(surface): State<Surface>) -> Result<Json<Secrets>, Problem> {
    Ok(Json(Secrets { secrets: settings(&surface)?.secrets() }))
}

/// What is to be done with a secret.
#[derive(ToSchema)]
#[schema(as = SecretChange)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct SecretDoc {
    /// `set`, `rotate`, `take-back`, `confirm` or `remove`.
    r#do: String,
    /// For `set` and `rotate`.
    value: Option<String>,
    /// For `rotate`: for how long it can be taken back, seconds; a day unless told, thirty days at most.
    keep_s: Option<u64>,
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretBody {
    r#do: String,
    #[serde(default)]
    value: Option<Hidden>,
    #[serde(default)]
    keep_s: Option<u64>,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

/// Does something with a secret that the hub keeps; durable when it answers, and the next call uses it.
#[utoipa::path(
    post,
    path = "/v1/secrets/{name}",
    tag = "settings",
    params(("name" = String, Path, description = "Its name; connections refer to it as `store:NAME`")),
    request_body(content = SecretDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "The secret as it is now, without its value; `null`: it is removed", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`secret.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`setting.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn secret(
    State(surface): State<Surface>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Option<SecretView>>, Problem> {
    let SecretBody { r#do, value, keep_s, actor, reason } = read_quietly(&surface, request).await?;
    let who = caller.signed(actor, reason)?;
    let needed = || Problem::new(Code::RequestInvalid, format!("`{do}` needs a `value`", do = r#do));
    let act = match (r#do.as_str(), value) {
        ("set", value) => SecretAct::Set { value: value.ok_or_else(needed)?.into() },
        ("rotate", value) => SecretAct::Rotate {
            value: value.ok_or_else(needed)?.into(),
            keep_ms: keep_s.map(|seconds| seconds.saturating_mul(1_000)),
        },
        ("take-back", None) => SecretAct::TakeBack,
        ("confirm", None) => SecretAct::Confirm,
        ("remove", None) => SecretAct::Remove,
        ("take-back" | "confirm" | "remove", Some(_)) => {
            return Err(Problem::new(Code::RequestInvalid, format!("`{}` takes no `value`", r#do)));
        }
        _ => {
            let detail = "`do` is one of `set`, `rotate`, `take-back`, `confirm` and `remove`";
            return Err(Problem::new(Code::RequestInvalid, detail));
        }
    };
    Ok(Json(settings(&surface)?.secret(&name, act, who).await?))
}

/// What is to be done with a connection.
#[derive(ToSchema)]
#[schema(as = ConnectionChange)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct ConnectionDoc {
    /// `add`, `change`, `declared` (take what hub.toml says), `rotate` or `remove`.
    r#do: String,
    /// For `add` and `change`: the fields that a connection has in hub.toml.
    #[schema(value_type = Option<Object>)]
    connection: Option<Value>,
    /// For `rotate`: where, `auth` or `secrets.NAME`; `auth` unless told.
    place: Option<String>,
    /// For `rotate`: another reference, `store:NAME`, `env:NAME` or `file:PATH`.
    reference: Option<String>,
    /// For `rotate`: another value of the `store:` secret that is in place.
    value: Option<String>,
    /// For `rotate` with a value: for how long it can be taken back, seconds.
    keep_s: Option<u64>,
    /// For `rotate`: the read operation that tests it; absent: one GET of the base URL.
    operation: Option<String>,
    /// For `rotate`: the operation's input.
    #[schema(value_type = Option<Object>)]
    input: Option<Value>,
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: String,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum ConnectionDo {
    Add {
        connection: Box<Connection>,
    },
    Change {
        connection: Box<Connection>,
    },
    Declared,
    Remove,
    Rotate {
        #[serde(default)]
        place: Option<String>,
        #[serde(default)]
        reference: Option<String>,
        #[serde(default)]
        value: Option<Hidden>,
        #[serde(default)]
        keep_s: Option<u64>,
        #[serde(default)]
        operation: Option<String>,
        #[serde(default)]
        input: Option<crate::model::json::Json>,
    },
}

#[derive(Deserialize)]
struct ConnectionBody {
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
    #[serde(flatten)]
    act: ConnectionDo,
}

/// Changes a connection, or proposes to where code would reach more than before; durable and in effect when it answers 200.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}",
    tag = "settings",
    params(("name" = String, Path, description = "The connection's name")),
    request_body(content = ConnectionDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Done: `summary`, `notes`, `tested`", body = Object),
        (status = 202, description = "Proposed: a second person has to agree at `/v1/changes/{id}/decision`", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`connection.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`setting.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`setting.refused`, with what a test has shown in `tested`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn connection(
    State(surface): State<Surface>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let ConnectionBody { actor, reason, act } = read_quietly(&surface, request).await?;
    let who = caller.signed(actor, reason)?;
    let act = match act {
        ConnectionDo::Add { connection } => ConnectionAct::Add(connection),
        ConnectionDo::Change { connection } => ConnectionAct::Change(connection),
        ConnectionDo::Declared => ConnectionAct::Declared,
        ConnectionDo::Remove => ConnectionAct::Remove,
        ConnectionDo::Rotate { place, reference, value, keep_s, operation, input } => {
            let to = match (reference, value) {
                (Some(reference), None) => NewSecret::Reference(
                    reference
                        .parse()
                        .map_err(|error| Problem::new(Code::RequestInvalid, format!("`reference`: {error}")))?,
                ),
                (None, Some(value)) => NewSecret::Value {
                    value: value.into(),
                    keep_ms: keep_s.map(|seconds| seconds.saturating_mul(1_000)),
                },
                _ => {
                    let detail = "`rotate` needs either a `reference` or a `value`";
                    return Err(Problem::new(Code::RequestInvalid, detail));
                }
            };
            let place = place.unwrap_or_else(|| "auth".to_owned());
            ConnectionAct::Rotate { place, to, probe: Probe { operation, input } }
        }
    };
    Ok(answered(settings(&surface)?.connection(&name, act, who).await?))
}

/// Tests a connection: its secrets, its address, one exchange, its credentials. It changes nothing, here or there.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/test",
    tag = "settings",
    params(("name" = String, Path, description = "The connection's name")),
    request_body(content = Object, description = "`operation` (a read operation; absent: one GET of the base URL) and its `input`", content_type = "application/json"),
    responses(
        (status = 200, description = "`passed`, and `checks` with what each proved or what to do", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`connection.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`setting.conflict`: other tests are under way", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn test(
    State(surface): State<Surface>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Tested>, Problem> {
    let probe: Probe = read_json(&surface, request).await?;
    Ok(Json(settings(&surface)?.test(&name, probe).await?))
}

/// Tells which connection each name of a pipeline stands for.
#[utoipa::path(
    get,
    path = "/v1/pipelines/{namespace}/{name}/bindings",
    tag = "settings",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "`names` (each with `contract` and `connection`), `origin`, `earlier`", body = Object),
        (status = 404, description = "`pipeline.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn binding(
    State(surface): State<Surface>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<BindingView>, Problem> {
    Ok(Json(settings(&surface)?.binding(&format!("{namespace}/{name}"))?))
}

/// What is to be done with a pipeline's binding.
#[derive(ToSchema)]
#[schema(as = BindingChange)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct BindingDoc {
    /// `bind`, `rollback`, or `declared` (take what hub.toml says).
    r#do: String,
    /// For `bind`: connections by name; names that are not here stay as they are.
    names: Option<BTreeMap<String, String>>,
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: String,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum BindDo {
    Bind { names: BTreeMap<String, String> },
    Rollback,
    Declared,
}

#[derive(Deserialize)]
struct BindBody {
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
    #[serde(flatten)]
    act: BindDo,
}

/// Binds names of a pipeline to connections, or proposes to where the pipeline would reach more than before. Needs
/// `connection.change` beside `pipeline.change`.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{namespace}/{name}/bindings",
    tag = "settings",
    params(("namespace" = String, Path), ("name" = String, Path)),
    request_body(content = BindingDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Done: `summary`, `notes`", body = Object),
        (status = 202, description = "Proposed: a second person has to agree at `/v1/changes/{id}/decision`", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`pipeline.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`setting.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`setting.refused`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn bind(
    State(surface): State<Surface>,
    caller: Caller,
    Path((namespace, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let pipeline = format!("{namespace}/{name}");
    let BindBody { actor, reason, act } = read_json(&surface, request).await?;
    may_bind(&caller, &pipeline)?;
    let who = caller.signed(actor, reason)?;
    let act = match act {
        BindDo::Bind { names } => BindAct::Bind(names),
        BindDo::Rollback => BindAct::Rollback,
        BindDo::Declared => BindAct::Declared,
    };
    Ok(answered(settings(&surface)?.bind(&pipeline, act, who).await?))
}

/// Whether somebody may bind a pipeline's names: what a connection may do, the pipeline may have it do from then on.
pub(super) fn may_bind(caller: &Caller, pipeline: &str) -> Result<(), Problem> {
    caller.may_do(Action::PipelineChange, Resource::Pipeline(pipeline))?;
    caller.may_do(Action::ConnectionChange, Resource::Hub)
}

/// That a change is made, or proposed.
pub(super) fn answered(changed: SettingChanged) -> Response {
    let status = if matches!(changed, SettingChanged::Done { .. }) { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(changed)).into_response()
}

/// Reads a body that may hold a secret: what is wrong with it is told by place, and nothing of it is repeated.
pub(super) async fn read_quietly<T: DeserializeOwned>(surface: &Surface, request: Request) -> Result<T, Problem> {
    let (head, body) = request.into_parts();
    let content_type = head.headers.get(http::header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Code::ContentTypeUnsupported, "the body must be `application/json`"));
    }
    let bytes = read_body(body, &head.headers, BODY_BYTES_LIMIT, surface.options.body_timeout).await?;
    let bytes = Secret::new(bytes.to_vec());
    serde_json::from_slice(bytes.expose()).map_err(|error| {
        let what = if error.is_data() { said(&error) } else { "it is not JSON".to_owned() };
        Problem::new(Code::RequestInvalid, format!("the body is not what is taken here: {what}"))
            .with("line", error.line())
            .with("column", error.column())
    })
}

/// What a message says of fields, without what they hold: serde names fields and types, and quotes values as well.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let about_fields = ["missing field", "unknown field", "duplicate field", "a secret is given"];
    match about_fields.iter().find(|known| text.starts_with(**known)) {
        Some(_) => text,
        None => "a field holds something of another kind than it takes; /openapi.json describes it".to_owned(),
    }
}

pub(super) fn settings(surface: &Surface) -> Result<&dyn Settings, Problem> {
    surface.hub.settings().ok_or_else(|| Problem::new(Code::RouteUnknown, "this hub lets nobody change settings"))
}

impl From<SettingError> for Problem {
    fn from(error: SettingError) -> Self {
        let text = error.to_string();
        match error {
            SettingError::UnknownSecret { .. } => Self::new(Code::SecretUnknown, text),
            SettingError::UnknownConnection { .. } => Self::new(Code::ConnectionUnknown, text),
            SettingError::UnknownSource { .. } => Self::new(Code::WebhookSourceUnknown, text),
            SettingError::UnknownPipeline { .. } => Self::new(Code::PipelineUnknown, text),
            SettingError::UnknownChange { .. } => Self::new(Code::ChangeUnknown, text),
            SettingError::Invalid { .. } => Self::new(Code::RequestInvalid, text),
            SettingError::Conflict { .. } => Self::new(Code::SettingConflict, text),
            SettingError::Refused { tested: None, .. } => Self::new(Code::SettingRefused, text),
            SettingError::Refused { tested: Some(tested), .. } => {
                Self::new(Code::SettingRefused, text).with("tested", serde_json::to_value(tested).unwrap_or_default())
            }
            SettingError::SamePerson { .. } => Self::new(Code::ChangeSamePerson, text),
            SettingError::Unavailable { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}
