//! Webhooks: the host verifies, the plugin reads, the events are accepted.

use std::sync::Arc;

use super::{
    accept,
    installation::{Installation, lines},
    runner::Shared,
};
use crate::{
    flow::machine::effect::Unserved,
    model::{failure::FailureKind, id::hash32, lane::Lane, timestamp::Timestamp},
    policy::signature::{self, SignatureError},
    ports::{
        hub::{AcceptError, Delivered, WebhookError},
        invoker::{Answer, Authority, CallError, Delivery, Feed, Invocation, Work},
        secrets::Secret,
    },
};

/// Takes in one delivery: signature over the raw bytes first, before any plugin sees them.
///
/// # Errors
/// As [`WebhookError`] says; nothing was accepted then.
pub(super) async fn deliver(shared: &Arc<Shared>, name: &str, delivery: Delivery) -> Result<Delivered, WebhookError> {
    let installation = shared.installation.load_full();
    let unknown = || WebhookError::UnknownSource { name: name.to_owned() };
    let source = installation.sources.get(name).ok_or_else(unknown)?;
    let broken = |problem: String| WebhookError::Plugin { problem };
    // Its sender is to deliver again once a version serves.
    let unserved = |unserved: Unserved| {
        tracing::error!(source = name, problem = unserved.problem, "a webhook source's plugin cannot be called");
        let reason = "the source's plugin serves nobody now; the hub's operator is told".to_owned();
        WebhookError::Accept { source: AcceptError::Unavailable { reason } }
    };
    let plugin = installation.serving(&source.plugin).map_err(unserved)?;
    let scheme = plugin
        .manifest
        .webhook
        .as_ref()
        .ok_or_else(|| broken(format!("plugin `{}` declares no `[webhook]`", source.plugin)))?;
    let secret = shared.secrets.resolve(&source.secret).map_err(|error| {
        // Where the secret is kept is the operator's business and not the sender's.
        tracing::error!(source = name, %error, "a webhook source's secret cannot be read");
        let reason = "the source is not set up; the hub's operator is told".to_owned();
        WebhookError::Accept { source: AcceptError::Unavailable { reason } }
    })?;
    let now = shared.clock.now();
    let proven = |secret: &Secret| signature::verify(scheme, &delivery.headers, &delivery.body, secret.expose(), now);
    if let Err(error) = proven(&secret) {
        // A sender that was not told yet signs with the secret of before, and loses nothing by it for a while.
        let told_late = matches!(error, SignatureError::Wrong { .. })
            && earlier(shared, &installation, name, now).any(|secret| proven(&secret).is_ok());
        if !told_late {
            return Err(WebhookError::Signature { problem: error.to_string() });
        }
        tracing::info!(source = name, "a delivery was signed with the secret of before");
    }
    drop(secret);

    // Which lane its events are of is not known before the plugin has read them. Their sender waits, and not for long.
    shared.intake.check(Lane::Express, shared.actors.count())?;
    let _turn = shared.turns.pure.acquire(Lane::Express).await;
    let seed = hash32("crossdock delivery 1", &[name.as_bytes(), &delivery.body]);
    let feed = Feed { name: name.to_owned(), config: source.config.clone(), attributes: Vec::new() };
    let reading = shared.invoker.invoke(Invocation {
        component: plugin.inspection.digest,
        work: Work::Receive { delivery, feed },
        limits: plugin.limits,
        now,
        seed,
        authority: Authority::default(),
    });
    let Some(completed) = plugin.live.unless_revoked(reading).await else {
        return Err(unserved(lines::revoked(plugin)));
    };
    let (mut events, reply) = match completed.result {
        Ok(Answer::Receipt(events, reply)) => (events, reply),
        Ok(_) => return Err(broken("it answered with something else than events".to_owned())),
        Err(error) => return Err(refused(error)),
    };
    for event in &mut events {
        if !source.types.contains(&event.event_type) {
            let event_type = event.event_type.clone();
            return Err(WebhookError::TypeNotAllowed { name: name.to_owned(), event_type });
        }
        // Whatever the plugin says: the operator decides who is speaking.
        event.source.clone_from(&source.source);
    }
    installation.events.name_produced(plugin, &mut events);
    Ok(Delivered { events: accept::external(shared, events).await?, reply })
}

/// The secrets of before that still prove a source's sender: the value of before of its secret, and the secret that it had.
fn earlier(shared: &Shared, installation: &Installation, name: &str, now: Timestamp) -> impl Iterator<Item = Secret> {
    let value = installation.sources.get(name).and_then(|source| shared.secrets.earlier(&source.secret));
    let replaced = installation.settings.sources.get(name).and_then(|record| record.replaced_at(now));
    // One that cannot be read any more proves nothing.
    let replaced = replaced.and_then(|replaced| shared.secrets.resolve(&replaced.secret).ok());
    value.into_iter().chain(replaced)
}

fn refused(error: CallError) -> WebhookError {
    match error {
        CallError::Failure(failure) if failure.kind == FailureKind::InvalidInput => {
            WebhookError::Invalid { code: failure.code, message: failure.message }
        }
        CallError::Failure(failure) if failure.kind == FailureKind::Denied => {
            WebhookError::Signature { problem: failure.message }
        }
        CallError::Failure(failure) => WebhookError::Plugin { problem: failure.to_string() },
        CallError::Limit(exceeded) => WebhookError::Plugin { problem: exceeded.to_string() },
        CallError::Trap { message } | CallError::Contract { message } | CallError::Unavailable { message } => {
            WebhookError::Plugin { problem: message }
        }
    }
}
