//! Who may do what: a token's own scope first, then policies in Cedar. Pure: a principal, an action and what it concerns
//! go in, a permission or a refusal with its reason comes out.
//!
//! The policies that come with the hub are a text file beside this one, and so is the schema that each policy, the
//! operator's included, is validated against before it counts.

mod permitted;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    str::FromStr as _,
};

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, ValidationWarning, Validator,
};
use miette::Diagnostic;

use self::permitted::Permitted;
use crate::model::principal::{Action, Denied, Kind, Principal, Resource};

/// The schema, as text.
pub const SCHEMA: &str = include_str!("authorization/schema.cedarschema");
/// The policies that come with the hub, as text.
pub const BUILT_IN: &str = include_str!("authorization/policies.cedar");
/// What the policies that come with the hub are called in messages.
const BUILT_IN_NAME: &str = "built-in";
/// Most policies of an operator.
pub const POLICIES_MAX: usize = 256;

/// Why policies cannot be used. Nothing of them counts then.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// One is not Cedar.
    #[error("`{file}` is not a Cedar policy: {problem}")]
    Parse {
        /// The file, with line and column where known.
        file: String,
        /// Why.
        problem: String,
    },
    /// One does not follow the schema.
    #[error("`{file}` does not follow the schema: {problem}")]
    Invalid {
        /// The file, with line and column where known.
        file: String,
        /// Why.
        problem: String,
    },
    /// More than are taken.
    #[error("there are {count} policies; at most {POLICIES_MAX} are taken")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A fault of the hub: its own schema does not hold.
    #[error("the built-in schema does not hold: {problem}")]
    Schema {
        /// Why.
        problem: String,
    },
}

/// Policies that were validated.
pub struct Policies {
    set: PolicySet,
    authorizer: Authorizer,
    permitted: Permitted,
}

impl Policies {
    /// The policies that come with the hub, and an operator's: pairs of a name for messages and a text.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn new<'a>(operator: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, PolicyError> {
        let schema = Schema::from_str(SCHEMA).map_err(|error| PolicyError::Schema { problem: error.to_string() })?;
        let mut set = PolicySet::new();
        read(&mut set, BUILT_IN_NAME, BUILT_IN)?;
        let own = set.num_of_policies();
        let mut places = vec![(BUILT_IN_NAME, BUILT_IN)];
        for (file, text) in operator {
            read(&mut set, file, text)?;
            places.push((file, text));
        }
        let count = set.num_of_policies() - own;
        if count > POLICIES_MAX {
            return Err(PolicyError::TooMany { count });
        }
        let validated = Validator::new(schema).validate(&set, ValidationMode::Strict);
        let wrong = |id: &str, error: &dyn Diagnostic, problem: &str| {
            let file = id.split('#').next().unwrap_or_default();
            let text = places.iter().find(|(name, _)| *name == file).map_or("", |(_, text)| text);
            // A label's offset counts from the beginning of the file: its policies were read together.
            PolicyError::Invalid { file: place(file, text, error), problem: plain(problem) }
        };
        if let Some(error) = validated.validation_errors().next() {
            return Err(wrong(error.policy_id().as_ref(), error, &error.to_string()));
        }
        let never =
            validated.validation_warnings().find(|warning| matches!(warning, ValidationWarning::ImpossiblePolicy(_)));
        if let Some(warning) = never {
            return Err(wrong(warning.policy_id().as_ref(), warning, "it would never be asked"));
        }
        Ok(Self { set, authorizer: Authorizer::new(), permitted: Permitted::default() })
    }

    /// Whether a principal may do something.
    ///
    /// # Errors
    /// Why not.
    pub fn decide(&self, who: &Principal, action: Action, resource: Resource<'_>) -> Result<(), Denied> {
        who.scope.admits(action, resource).map_err(|problem| Denied::Scope {
            who: who.name.clone(),
            action,
            resource: resource.to_string(),
            problem,
        })?;
        if self.permitted.holds(who, action, resource) {
            return Ok(());
        }
        let denied = |problem: String| Denied::Policy {
            who: who.name.clone(),
            roles: who.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", "),
            action,
            resource: resource.to_string(),
            problem,
        };
        let (request, entities) =
            asked(who, action, resource).ok_or_else(|| denied("it cannot be asked".to_owned()))?;
        let answer = self.authorizer.is_authorized(&request, &self.set, &entities);
        // A policy that cannot be evaluated might have been the one that forbids.
        if let Some(error) = answer.diagnostics().errors().next() {
            return Err(denied(format!("a policy cannot be evaluated: {error}")));
        }
        if answer.decision() == cedar_policy::Decision::Allow {
            self.permitted.add(who, action, resource);
            return Ok(());
        }
        let forbidding: Vec<String> = answer.diagnostics().reason().map(ToString::to_string).collect();
        Err(denied(if forbidding.is_empty() {
            "no policy permits it".to_owned()
        } else {
            format!("policy `{}` forbids it", forbidding.join("`, `"))
        }))
    }
}

/// Adds a file's policies, each under the file's name and its own `@id` or number.
fn read(set: &mut PolicySet, file: &str, text: &str) -> Result<(), PolicyError> {
    let parse = |place: String, problem: String| PolicyError::Parse { file: place, problem: plain(&problem) };
    let parsed = PolicySet::from_str(text).map_err(|errors| {
        let first = errors.iter().next();
        let at = first.map_or_else(|| file.to_owned(), |error| place(file, text, error));
        parse(at, first.map_or_else(|| errors.to_string(), ToString::to_string))
    })?;
    if parsed.templates().next().is_some() {
        return Err(parse(file.to_owned(), "it holds a template, with a `?`; write each policy out".to_owned()));
    }
    for (number, policy) in parsed.policies().enumerate() {
        let own = policy.annotation("id").map_or_else(|| (number + 1).to_string(), str::to_owned);
        let named: Policy = policy.new_id(PolicyId::new(format!("{file}#{own}")));
        set.add(named).map_err(|error| parse(file.to_owned(), error.to_string()))?;
    }
    Ok(())
}

/// A file with the line and column that an error is about, from 1.
fn place(file: &str, text: &str, error: &dyn Diagnostic) -> String {
    let Some(label) = error.labels().and_then(|mut labels| labels.next()) else { return file.to_owned() };
    let before = text.get(..label.offset()).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{file}:{line}:{column}")
}

/// A message without the engine's own line breaks.
fn plain(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The question in Cedar's words. Absent if a name has no form there, which no name in the schema is.
fn asked(who: &Principal, action: Action, resource: Resource<'_>) -> Option<(Request, Entities)> {
    let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
    let roles = who.roles.iter().map(|role| uid("Role", role.as_str())).collect::<Option<HashSet<_>>>()?;
    let kind = match who.kind {
        Kind::Person => "Person",
        Kind::Partner => "Partner",
        Kind::Service => "Service",
    };
    let principal = uid(kind, &who.name)?;
    let set = |names: &BTreeSet<String>| RestrictedExpression::new_set(names.iter().map(|name| text(name)));
    let attributes = HashMap::from([
        ("name".to_owned(), text(&who.name)),
        ("namespaces".to_owned(), set(&who.scope.namespaces)),
        ("contracts".to_owned(), set(&who.scope.contracts)),
        ("development".to_owned(), RestrictedExpression::new_bool(who.development)),
    ]);
    let mut entities = vec![Entity::new(principal.clone(), attributes, roles).ok()?];
    let named = |name: &str| HashMap::from([("name".to_owned(), text(name))]);
    let (about, attributes, parents) = match resource {
        Resource::Hub => (uid("Hub", "hub")?, HashMap::new(), HashSet::new()),
        Resource::Namespace(name) => (uid("Namespace", name)?, named(name), HashSet::new()),
        Resource::Pipeline(name) | Resource::Table(name) => {
            let kind = if matches!(resource, Resource::Table(_)) { "Table" } else { "Pipeline" };
            let namespace = name.split_once('/').map_or("", |(namespace, _)| namespace);
            let parent = uid("Namespace", namespace)?;
            entities.push(Entity::new(parent.clone(), named(namespace), HashSet::new()).ok()?);
            (uid(kind, name)?, named(name), HashSet::from([parent]))
        }
        Resource::Group(name) => (uid("Group", name)?, named(name), HashSet::new()),
        Resource::Source { source, event_type } => {
            let attributes =
                HashMap::from([("uri".to_owned(), text(source)), ("eventType".to_owned(), text(event_type))]);
            (uid("Source", source)?, attributes, HashSet::new())
        }
        Resource::Identity(name) => (uid("Identity", name)?, named(name), HashSet::new()),
        Resource::Subscription { name, owner } => {
            let attributes = HashMap::from([("name".to_owned(), text(name)), ("owner".to_owned(), text(owner))]);
            (uid("Subscription", name)?, attributes, HashSet::new())
        }
        Resource::Contract(id) => (uid("Contract", id)?, named(id), HashSet::new()),
    };
    entities.push(Entity::new(about.clone(), attributes, parents).ok()?);
    let action_entity = uid("Action", action.as_str())?;
    // Groups of actions are parents too.
    let group = if READS.contains(&action) { "reads" } else { "changes" };
    entities.push(Entity::new_no_attrs(action_entity.clone(), HashSet::from([uid("Action", group)?])));
    let entities = Entities::from_entities(entities, None).ok()?;
    let request = Request::new(principal, action_entity, about, Context::empty(), None).ok()?;
    Some((request, entities))
}

/// Actions that change nothing, as the schema groups them; a test compares the two.
const READS: [Action; 15] = [
    Action::RunRead,
    Action::PluginCompare,
    Action::SubscriptionRead,
    Action::ApiRead,
    Action::ApprovalRead,
    Action::CatalogRead,
    Action::TableRead,
    Action::ConnectionRead,
    Action::SourceRead,
    Action::SecretRead,
    Action::PrivacyRead,
    Action::AuditRead,
    Action::HealthRead,
    Action::DescriptionRead,
    Action::UsageRead,
];

fn uid(kind: &str, id: &str) -> Option<EntityUid> {
    let kind = EntityTypeName::from_str(&format!("Crossdock::{kind}")).ok()?;
    Some(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

#[cfg(test)]
mod tests;
