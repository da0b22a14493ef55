//! What the hub shows of its flow control: connections, lanes, and their gauges.

use super::runner::Shared;
use crate::{
    model::lane::Lane,
    policy::flow_control::shed,
    ports::traffic::{ConnectionView, LaneView, LanesView},
};

/// Connections as they are now, by name.
pub(super) fn connections(shared: &Shared) -> Vec<ConnectionView> {
    let installation = shared.installation.load();
    installation.connections.values().map(|open| shared.permits.view(open, &shared.clock)).collect()
}

/// The lanes as they are now, the first to go first.
pub(super) fn lanes(shared: &Shared) -> LanesView {
    let (under_way, runs_limit) = (shared.actors.count(), shared.intake.runs_limit());
    let lanes = Lane::ALL.map(|lane| {
        let refused_from = shed::room(lane, runs_limit);
        LaneView {
            lane,
            waiting_pure: shared.turns.pure.waiting(lane),
            waiting_outward: shared.turns.outward.waiting(lane),
            waiting_connections: shared.permits.waiting(lane),
            refused_from,
            refusing: under_way >= refused_from,
        }
    });
    LanesView { under_way, runs_limit, lanes: lanes.into() }
}

/// What readiness says of remotes that are left alone: a fact, and no reason to refuse events.
pub(super) fn breakers(shared: &Shared) -> String {
    let left_alone = connections(shared).into_iter().filter_map(|connection| {
        let until = connection.breaker.until?;
        Some(format!("`{}` fails and is left alone until {until}; {} calls wait", connection.name, connection.waiting))
    });
    let left_alone: Vec<_> = left_alone.collect();
    if left_alone.is_empty() { "ok".to_owned() } else { left_alone.join("; ") }
}

/// Sets the gauges.
#[expect(clippy::cast_precision_loss, reason = "a gauge works in floating point")]
pub(super) fn gauge(shared: &Shared) {
    for connection in connections(shared) {
        let name = connection.name;
        let open = match connection.breaker.state {
            "closed" => 0.0,
            "half-open" => 1.0,
            _ => 2.0,
        };
        metrics::gauge!("crossdock_connection_breaker", "connection" => name.clone()).set(open);
        metrics::gauge!("crossdock_connection_in_flight", "connection" => name.clone()).set(connection.in_flight);
        metrics::gauge!("crossdock_connection_waiting", "connection" => name).set(connection.waiting as f64);
    }
    let view = lanes(shared);
    metrics::gauge!("crossdock_runs_under_way").set(view.under_way as f64);
    for lane in view.lanes {
        let waiting =
            [("pure", lane.waiting_pure), ("outward", lane.waiting_outward), ("connection", lane.waiting_connections)];
        for (what, count) in waiting {
            metrics::gauge!("crossdock_lane_waiting", "lane" => lane.lane.as_str(), "for" => what).set(count as f64);
        }
    }
}
