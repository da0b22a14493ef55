//! Turns for calls of plugins, over the whole hub: so many at once, and who waits goes by lane. Cheap while there is
//! room, which is on the way of every pure step: one lock, held for a few instructions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::{model::lane::Lane, policy::flow_control::queue::LaneQueue};

/// Pure calls at the same time; others wait for their turn. Calls of connectors are bounded for each connection, so that
/// a remote that hangs takes nobody else's.
const PURE_CALLS_AT_ONCE: usize = 128;
/// Calls of connectors at the same time, over all connections. With the pure calls it stays below what the sandbox
/// takes, so that a call waits here rather than being refused there.
const OUTWARD_CALLS_AT_ONCE: usize = 320;

/// Who may call a plugin now. A connector's call also needs a permit of its connection.
pub struct Turns {
    /// For pure calls and deliveries.
    pub pure: Pool,
    /// For connectors.
    pub outward: Pool,
}

impl Default for Turns {
    fn default() -> Self {
        Self { pure: Pool::new(PURE_CALLS_AT_ONCE), outward: Pool::new(OUTWARD_CALLS_AT_ONCE) }
    }
}

/// So many turns.
pub struct Pool {
    shared: Arc<Mutex<State>>,
}

struct State {
    free: usize,
    /// Those who wait. INVARIANT: while somebody waits, none is free.
    queue: LaneQueue<oneshot::Sender<Turn>>,
}

/// A turn, until it is dropped.
pub struct Turn {
    /// Absent: it was given back.
    pool: Option<Arc<Mutex<State>>>,
}

impl Pool {
    fn new(turns: usize) -> Self {
        Self { shared: Arc::new(Mutex::new(State { free: turns, queue: LaneQueue::default() })) }
    }

    /// Waits for a turn. Whoever stops waiting takes nobody's place.
    pub async fn acquire(&self, lane: Lane) -> Turn {
        let waiting = {
            let mut state = lock(&self.shared);
            if let Some(free) = state.free.checked_sub(1) {
                state.free = free;
                return Turn { pool: Some(Arc::clone(&self.shared)) };
            }
            let (sender, waiting) = oneshot::channel();
            state.queue.push(lane, sender);
            waiting
        };
        match waiting.await {
            Ok(turn) => turn,
            // INVARIANT: those who wait are forgotten only with the pool, which this borrows.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many wait in a lane.
    #[must_use]
    pub fn waiting(&self, lane: Lane) -> usize {
        lock(&self.shared).queue.iter(lane).filter(|waiting| !waiting.is_closed()).count()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else { return };
        // In a loop, and told outside the lock: among those who wait, any number may have gone away meanwhile.
        let mut turn = Self { pool: None };
        loop {
            let next = {
                let mut state = lock(&pool);
                let next = state.queue.pop();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else { return };
            turn.pool = Some(Arc::clone(&pool));
            match next.send(turn) {
                Ok(()) => return,
                Err(refused) => turn = refused,
            }
            turn.pool = None;
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing panics while it is held.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, poll};

    use super::Pool;
    use crate::model::lane::Lane;

    #[tokio::test]
    async fn a_higher_lane_overtakes_those_who_wait() {
        let pool = Pool::new(1);
        let first = pool.acquire(Lane::Bulk).await;
        let mut bulk = Box::pin(pool.acquire(Lane::Bulk));
        let mut express = Box::pin(pool.acquire(Lane::Express));
        assert!(poll!(&mut bulk).is_pending() && poll!(&mut express).is_pending());
        assert_eq!((pool.waiting(Lane::Bulk), pool.waiting(Lane::Express)), (1, 1));
        drop(first);
        assert!(poll!(&mut bulk).is_pending());
        drop(express.now_or_never().expect("the higher lane's turn"));
        drop(bulk.now_or_never().expect("then the lower one's"));
        assert!(pool.acquire(Lane::Bulk).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_nobodys_turn() {
        let pool = Pool::new(1);
        let first = pool.acquire(Lane::Standard).await;
        let mut gone: Vec<_> = (0..10_000).map(|_| Box::pin(pool.acquire(Lane::Standard))).collect();
        for waiting in &mut gone {
            assert!(poll!(waiting).is_pending());
        }
        let mut told = gone.remove(0);
        let mut last = Box::pin(pool.acquire(Lane::Standard));
        assert!(poll!(&mut last).is_pending());
        drop(gone);
        assert_eq!(pool.waiting(Lane::Standard), 2);
        drop(first);
        // Told that it is its turn, and gone before it looked.
        assert_eq!(pool.waiting(Lane::Standard), 1);
        assert!(poll!(&mut last).is_pending());
        drop(std::mem::replace(&mut told, Box::pin(pool.acquire(Lane::Standard))));
        drop(last.now_or_never().expect("a turn"));
        assert!(pool.acquire(Lane::Standard).now_or_never().is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_turn_is_lost_or_doubled_when_many_come_and_go() {
        use std::sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        };
        let (pool, at_once) = (Arc::new(Pool::new(3)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..600_usize)
            .map(|number| {
                let (pool, at_once) = (Arc::clone(&pool), Arc::clone(&at_once));
                tokio::spawn(async move {
                    let lane = Lane::ALL[number % 3];
                    if number % 5 == 0 {
                        // Goes away at some point of its wait.
                        let waiting = pool.acquire(lane);
                        tokio::select! { biased; () = tokio::task::yield_now() => {}, _turn = waiting => {} }
                        return;
                    }
                    let _turn = pool.acquire(lane).await;
                    assert!(at_once.fetch_add(1, Ordering::SeqCst) < 3);
                    tokio::task::yield_now().await;
                    at_once.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no more than three at once");
        }
        let all = futures::future::join_all((0..3).map(|_| pool.acquire(Lane::Bulk)));
        assert_eq!(all.now_or_never().map(|turns| turns.len()), Some(3));
    }
}
