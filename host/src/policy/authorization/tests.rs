//! What the built-in policies allow, written down as a table, and how an operator's policies are taken or refused.

use std::collections::BTreeSet;

use super::*;
use crate::model::principal::{Role, Scope, TokenId};

fn principal(role: Role) -> Principal {
    Principal {
        name: "ann".into(),
        kind: Kind::Person,
        roles: BTreeSet::from([role]),
        scope: Scope {
            namespaces: BTreeSet::from(["acme".to_owned()]),
            contracts: BTreeSet::from(["acme/orders@1".to_owned()]),
            ..Scope::unlimited()
        },
        token: Some(TokenId("0123".into())),
        development: false,
    }
}

fn concerned(action: Action) -> Resource<'static> {
    match action {
        Action::EventSend => Resource::Source { source: "/shop", event_type: "retail.order.placed.v1" },
        Action::RunControl | Action::PipelineChange => Resource::Pipeline("acme/orders"),
        Action::TableChange => Resource::Table("acme/prices"),
        Action::ApprovalDecide => Resource::Group("leads"),
        Action::PluginPublish | Action::PluginCompare | Action::PluginPromote | Action::PluginRevoke => {
            Resource::Namespace("acme")
        }
        Action::ActorAssume => Resource::Identity("bob"),
        Action::SubscriptionRead | Action::SubscriptionControl | Action::SubscriptionChange => {
            Resource::Subscription { name: "acme-orders", owner: "ann" }
        }
        Action::ApiRead | Action::ApiPublish => Resource::Contract("acme/orders@1"),
        _ => Resource::Hub,
    }
}

/// Which roles each action is allowed to, in the order of [`Role::ALL`]: partner, retailer, operator, auditor, admin.
const TABLE: [(Action, [bool; 5]); 34] = [
    (Action::EventSend, [true, true, true, false, true]),
    (Action::RunRead, [false, true, true, true, true]),
    (Action::RunControl, [false, false, true, false, true]),
    (Action::ApprovalRead, [false, true, true, true, true]),
    (Action::ApprovalDecide, [false, true, true, false, true]),
    (Action::CatalogRead, [true, true, true, true, true]),
    (Action::PluginPublish, [true, true, false, false, true]),
    (Action::PluginCompare, [true, true, true, true, true]),
    (Action::PluginPromote, [false, true, true, false, true]),
    (Action::PluginRevoke, [false, false, true, false, true]),
    (Action::PipelineChange, [false, true, false, false, true]),
    (Action::TableRead, [false, true, true, true, true]),
    (Action::TableChange, [false, true, false, false, true]),
    (Action::ApiRead, [true, true, true, true, true]),
    (Action::ApiPublish, [false, false, true, false, true]),
    (Action::SubscriptionRead, [true, true, true, true, true]),
    (Action::SubscriptionControl, [true, false, true, false, true]),
    (Action::SubscriptionChange, [false, false, true, false, true]),
    (Action::SchemaChange, [false, true, true, false, true]),
    (Action::ConnectionRead, [false, true, true, true, true]),
    (Action::ConnectionChange, [false, false, true, false, true]),
    (Action::SourceRead, [false, true, true, true, true]),
    (Action::SourceChange, [false, false, true, false, true]),
    (Action::SecretRead, [false, false, true, true, true]),
    (Action::SecretChange, [false, false, true, false, true]),
    (Action::PrivacyRead, [false, false, false, true, true]),
    (Action::PrivacyErase, [false, false, false, false, true]),
    (Action::AuditRead, [false, false, false, true, true]),
    (Action::HubBackup, [false, false, true, false, true]),
    (Action::TokenManage, [false, false, false, false, true]),
    (Action::UsageRead, [true, true, true, true, true]),
    (Action::HealthRead, [false, true, true, true, true]),
    (Action::DescriptionRead, [true, true, true, true, true]),
    (Action::ActorAssume, [false, false, false, false, false]),
];

#[test]
fn each_role_may_do_what_the_table_says() {
    let policies = Policies::new([]).unwrap();
    assert_eq!(TABLE.map(|(action, _)| action), *Action::ALL, "an action without a row");
    for (action, expected) in TABLE {
        for (role, allowed) in Role::ALL.iter().zip(expected) {
            let decided = policies.decide(&principal(*role), action, concerned(action));
            assert_eq!(decided.is_ok(), allowed, "{role} {action}: {decided:?}");
        }
    }
}

/// What a connection may do is an operator's to say, what a pipeline does a retailer's: to bind one to the other takes both,
/// which a person may be.
#[test]
fn who_binds_is_admin_or_operator_and_retailer_at_once() {
    let policies = Policies::new([]).unwrap();
    let may = |roles: &[Role]| {
        let person = Principal { roles: roles.iter().copied().collect(), ..principal(Role::Partner) };
        [Action::PipelineChange, Action::ConnectionChange]
            .into_iter()
            .all(|action| policies.decide(&person, action, concerned(action)).is_ok())
    };
    assert!(!may(&[Role::Operator]) && !may(&[Role::Retailer]));
    assert!(may(&[Role::Admin]) && may(&[Role::Operator, Role::Retailer]));
}

#[test]
fn nobody_without_a_role_may_do_anything_that_matters() {
    let policies = Policies::new([]).unwrap();
    let nobody = Principal { roles: BTreeSet::new(), ..principal(Role::Admin) };
    for action in Action::ALL {
        let allowed = policies.decide(&nobody, *action, concerned(*action)).is_ok();
        assert_eq!(allowed, matches!(action, Action::DescriptionRead | Action::UsageRead), "{action}");
    }
}

#[test]
fn a_partner_publishes_and_compares_in_its_own_namespace_only() {
    let policies = Policies::new([]).unwrap();
    let partner = principal(Role::Partner);
    assert!(policies.decide(&partner, Action::PluginPublish, Resource::Namespace("acme")).is_ok());
    assert!(policies.decide(&partner, Action::PluginCompare, Resource::Namespace("acme")).is_ok());
    assert!(policies.decide(&partner, Action::PluginCompare, Resource::Namespace("retail")).is_err());
    let denied = policies.decide(&partner, Action::PluginPublish, Resource::Namespace("retail")).unwrap_err();
    assert_eq!(
        denied.to_string(),
        "`ann` (partner) may not plugin.publish on namespace `retail`: no policy permits it"
    );
}

#[test]
fn a_partner_asks_only_the_contracts_that_its_token_names() {
    let policies = Policies::new([]).unwrap();
    let partner = principal(Role::Partner);
    let read = |who: &Principal, contract| policies.decide(who, Action::ApiRead, Resource::Contract(contract));
    assert!(read(&partner, "acme/orders@1").is_ok());
    let denied = read(&partner, "acme/orders@2").unwrap_err().to_string();
    assert!(denied.contains("its contracts are acme/orders@1"), "{denied}");
    let unnamed = |role| Principal { scope: Scope::unlimited(), ..principal(role) };
    let denied = read(&unnamed(Role::Partner), "acme/orders@1").unwrap_err().to_string();
    assert!(denied.contains("no policy permits it"), "{denied}");
    assert!(read(&unnamed(Role::Retailer), "acme/orders@1").is_ok());
}

#[test]
fn a_partner_sees_and_holds_its_own_subscriptions_only() {
    let policies = Policies::new([]).unwrap();
    let partner = principal(Role::Partner);
    for (owner, expected) in [("ann", true), ("bob", false), ("", false)] {
        for action in [Action::SubscriptionRead, Action::SubscriptionControl] {
            let decided = policies.decide(&partner, action, Resource::Subscription { name: "x", owner });
            assert_eq!(decided.is_ok(), expected, "{owner} {action}: {decided:?}");
        }
    }
}

#[test]
fn only_in_development_does_one_act_under_another_name() {
    let policies = Policies::new([]).unwrap();
    let admin = principal(Role::Admin);
    assert!(policies.decide(&admin, Action::ActorAssume, Resource::Identity("bob")).is_err());
    let laptop = Principal { development: true, ..admin };
    assert!(policies.decide(&laptop, Action::ActorAssume, Resource::Identity("bob")).is_ok());
}

#[test]
fn a_scope_holds_an_admin_too() {
    let policies = Policies::new([]).unwrap();
    let scope = Scope { actions: BTreeSet::from([Action::RunRead]), ..Scope::default() };
    let held = Principal { scope, ..principal(Role::Admin) };
    assert!(policies.decide(&held, Action::RunRead, Resource::Hub).is_ok());
    let denied = policies.decide(&held, Action::TokenManage, Resource::Hub).unwrap_err();
    assert!(matches!(denied, Denied::Scope { .. }), "{denied}");
}

#[test]
fn an_operators_policy_forbids_what_is_permitted_and_permits_what_is_not() {
    let text = r#"
@id("no-returns")
forbid (principal, action == Crossdock::Action::"run.control", resource in Crossdock::Namespace::"returns");

permit (principal in Crossdock::Role::"auditor", action == Crossdock::Action::"hub.backup", resource);

@id("night-shift")
forbid (principal == Crossdock::Person::"ann", action in Crossdock::Action::"changes", resource)
when { resource is Crossdock::Group && resource.name == "leads" };
"#;
    let policies = Policies::new([("own.cedar", text)]).unwrap();
    let operator = principal(Role::Operator);
    let decide = |who: &Principal, action, resource| policies.decide(who, action, resource);
    assert!(decide(&operator, Action::RunControl, Resource::Pipeline("retail/orders")).is_ok());
    let denied = decide(&operator, Action::RunControl, Resource::Pipeline("returns/refund")).unwrap_err().to_string();
    assert!(denied.ends_with("policy `own.cedar#no-returns` forbids it"), "{denied}");
    assert!(decide(&principal(Role::Auditor), Action::HubBackup, Resource::Hub).is_ok());
    assert!(decide(&operator, Action::ApprovalDecide, Resource::Group("leads")).is_err());
    assert!(decide(&operator, Action::ApprovalDecide, Resource::Group("others")).is_ok());
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let Err(error) = Policies::new([("own.cedar", text)]) else { panic!("taken: {text}") };
    let error = error.to_string();
    for part in expected {
        assert!(error.contains(part), "no {part} in {error}");
    }
}

#[test]
fn a_policy_with_a_mistake_is_refused_with_its_place() {
    refused("permit (principal, action, resource)\nwhen {", &["`own.cedar:2:", "is not a Cedar policy"]);
    refused(
        "\npermit (principal, action == Crossdock::Action::\"run.raed\", resource);",
        &["`own.cedar:2:", "does not follow the schema", "run.raed"],
    );
    refused(
        "permit (principal, action == Crossdock::Action::\"run.read\", resource)\nwhen { principal.nmae == \"x\" };",
        &["`own.cedar:2:", "nmae"],
    );
    // Runs are read as a whole: a policy about one pipeline's would not be asked, so it is not taken.
    refused(
        "forbid (principal, action == Crossdock::Action::\"run.read\", resource == Crossdock::Pipeline::\"a/b\");",
        &["does not follow the schema", "never be asked"],
    );
    refused("permit (principal == ?principal, action, resource);", &["template"]);
}

#[test]
fn the_schema_groups_actions_as_the_code_does() {
    let schema = Schema::from_str(SCHEMA).unwrap();
    let named: BTreeSet<String> = schema.actions().map(|uid| uid.id().unescaped().to_owned()).collect();
    let expected: BTreeSet<String> =
        Action::ALL.iter().map(|action| action.as_str().to_owned()).chain(["reads".into(), "changes".into()]).collect();
    assert_eq!(named, expected);
    let entities = schema.action_entities().unwrap();
    for action in Action::ALL {
        let reads = entities.is_ancestor_of(&uid("Action", "reads").unwrap(), &uid("Action", action.as_str()).unwrap());
        assert_eq!(reads, READS.contains(action), "{action}");
    }
}

#[test]
fn names_with_any_characters_can_be_asked_about() {
    let policies = Policies::new([]).unwrap();
    let odd = Principal { name: "a\"b\\c\u{1F4E6} \n".into(), ..principal(Role::Admin) };
    assert!(policies.decide(&odd, Action::ApprovalDecide, Resource::Group("\"); permit (")).is_ok());
}
