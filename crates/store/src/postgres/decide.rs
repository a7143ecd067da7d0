//! Folding, sorting, deciding and reserving: one transaction under the account's lock.
//!
//! Others wait for that lock, so what needs no answer of what stands before is sent with it: a round waits for PostgreSQL
//! three times to fold, and once more to give out as well, whatever it gives out, where it has to ask what the round before
//! asked. The order in which statements are sent is the order in which they run.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::SystemTime,
};

use futures_util::{future::try_join_all, try_join};
use sebastian_core::{
    AccountId, AgentId, Changes, Conversation, Decision, Event, QueueKey, Rulebook, Snapshot, State,
    Timestamp,
    decide::{free_slots, servable},
    notice,
};
use tokio_postgres::Row;

use super::{
    PostgresStore,
    loads::{self, CountedBeside, Loads},
    outbox, parks,
    queues::{self, Heads, Queue},
    records::{self, Kept},
    rows, slots,
    transaction::Transaction,
    turns,
    working_set::{self, Locked},
};
use crate::{
    Decide, DecideRule, Decided, Reservation, StoreError,
    known::Foreseen,
    port::FOLD_EVENTS_MAX,
    round::{self, Orders, Reach},
};

pub(super) const ALL_SQL: &[&str] = &[UNFOLDED, PASSED];

/// The time, whose time has come, and what is to be folded; the time alone where there is nothing. Primary key of events,
/// indexes conversations_snoozed and _parked, whose orders are asked for, as a plan from before the tables were analysed may
/// else read all who wait. $2 most events, and most to be woken. The transaction's own `now()` is from before it waited for
/// the lock.
const UNFOLDED: &str = "
    SELECT due.now, due.to_be_woken, due.parks_end, e.seq, e.received_at, e.kind, e.source, e.room_id, e.inbox_id,
           e.service_id, e.service_resolved, e.details
    FROM (
        SELECT clock_timestamp() AS now,
               (SELECT COUNT(*)
                FROM (
                    SELECT
                    FROM conversations
                    WHERE account_id = $1 AND state <> 'resolved' AND snoozed_until <= (SELECT clock_timestamp())
                    ORDER BY snoozed_until
                    LIMIT $2
                ) snoozed) AS to_be_woken,
               (SELECT id
                FROM conversations
                WHERE account_id = $1 AND state = 'waiting' AND park_until <= (SELECT clock_timestamp())
                  AND park_reason <> 'snoozed'
                ORDER BY park_until
                LIMIT 1) IS NOT NULL AS parks_end
    ) due
    LEFT JOIN LATERAL (
        SELECT *
        FROM events
        WHERE account_id = $1 AND seq > (SELECT folded_seq FROM accounts WHERE id = $1)
        ORDER BY seq
        LIMIT $2
    ) e ON TRUE
    ORDER BY e.seq";

/// $2 the last event that was folded and $3 its time, or neither; $4 first reservations.
const PASSED: &str = "
    UPDATE accounts
    SET folded_seq = COALESCE($2, folded_seq), folded_at = COALESCE($3, folded_at), decided = decided + $4
    WHERE id = $1";

/// Heads of each queue that are read in advance, beyond those that the round before needed.
const HEADS_FORESEEN: usize = 8;

/// A decision under way: its transaction, and what it goes by.
pub(super) struct Round<'a> {
    pub tx: &'a Transaction,
    pub request: &'a Decide<'a>,
    pub locked: &'a Locked,
    pub rules: Arc<Rulebook>,
}

/// What is to be folded, and whose time has come.
struct Unfolded {
    events: Vec<Event>,
    /// How many are to be woken.
    to_be_woken: usize,
    /// Some are to wait in their queues again.
    parks_end: bool,
    /// Rows of the rooms, as [`working_set::from_rows`] takes them.
    rooms: Vec<Row>,
}

impl Unfolded {
    fn read(found: &[Row], rooms: Vec<Row>) -> Result<(Timestamp, Self), StoreError> {
        let due = found.first().ok_or_else(|| StoreError::Broken("the time was not told".into(), None))?;
        let is_event = due.try_get::<_, Option<i64>>("seq")?.is_some();
        let events = if is_event { found } else { &[] };
        let unfolded = Self {
            events: events.iter().map(rows::event).collect::<Result<_, _>>()?,
            to_be_woken: usize::try_from(due.try_get::<_, i64>("to_be_woken")?).unwrap_or(usize::MAX),
            parks_end: due.try_get("parks_end")?,
            rooms,
        };
        Ok((rows::needed(due, "now")?, unfolded))
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.to_be_woken == 0
    }

    /// Whether there may be more of it.
    fn is_full(&self) -> bool {
        self.events.len() == FOLD_EVENTS_MAX || self.to_be_woken == FOLD_EVENTS_MAX
    }
}

/// What folding changed, still to be written.
#[derive(Default)]
struct Folded {
    changes: Changes,
    /// The last event and when it came; `None` where only rooms were woken.
    last: Option<(i64, Timestamp)>,
    /// Some are to wait in their queues again, as was found or as folding left them.
    parks_end: bool,
}

impl PostgresStore {
    pub(super) async fn run_decide(
        &self,
        request: &Decide<'_>,
        rule: DecideRule<'_>,
    ) -> Result<Decided, StoreError> {
        let decided = Box::pin(self.round(request, rule)).await;
        if decided.is_err() {
            // It may have failed for what was taken for granted, in a ledger that was put back, say.
            self.books.forget_queues(request.account);
        }
        decided
    }

    async fn round(&self, request: &Decide<'_>, rule: DecideRule<'_>) -> Result<Decided, StoreError> {
        let tx = Transaction::on(self.client().await?);
        let (locked, unfolded) = begin(&tx, request.account).await?;
        let rules = self.rules(&*tx, request.account, locked.rulebook_version).await?;
        self.books.remember(request.account, request.policy);
        let round = Round { tx: &tx, request, locked: &locked, rules };
        let mut decided = Decided {
            folded: u32::try_from(unfolded.events.len()).unwrap_or(u32::MAX),
            more: unfolded.is_full(),
            pause: round::pause(locked.paused_until, locked.pause_reason.as_deref(), locked.now),
            failures: locked.failures,
            ..Decided::default()
        };
        let folded = self.fold(&round, unfolded)?;
        let mut line = Box::pin(self.line_up(&round, &folded, &mut decided)).await?;
        if queues::sort(&round, &mut line.queues).await? {
            line.heads = None;
        }
        decided.more |= line.queues.values().any(|queue| !queue.is_sorted);
        if line.is_whole {
            Box::pin(self.give_out(&round, &folded, &mut line, rule, &mut decided)).await?;
        }
        end(&round, &folded, &line, &decided.reserved).await?;
        self.books.keep_queues(request.account, line.queues.keys());
        Ok(decided)
    }

    /// Folds accepted events into conversations, and wakes those that were snoozed until now.
    fn fold(&self, round: &Round<'_>, unfolded: Unfolded) -> Result<Folded, StoreError> {
        let Round { request, locked, .. } = *round;
        if unfolded.is_empty() {
            return Ok(Folded { parks_end: unfolded.parks_end, ..Folded::default() });
        }
        let Unfolded { mut events, rooms, parks_end, .. } = unfolded;
        let working_set = working_set::from_rows(&rooms, locked.now, self.timing)?;
        let mut working_set =
            working_set.governed_by(round.rules.clone(), request.policy).with_roster(&request.roster);
        // Writers may have had different clocks: the order of acceptance is the one that counts.
        let mut folded_at = locked.folded_at;
        for event in &mut events {
            folded_at = folded_at.max(event.received_at);
            event.received_at = folded_at;
            working_set.apply(event);
        }
        working_set.wake();
        let last = events.last().map(|last| (last.seq.0, folded_at));
        debug_assert!(last.is_none_or(|(seq, _)| seq > locked.folded_seq), "an event is folded once");
        let changes = working_set.finish();
        let ended = |one: &Conversation| matches!(one.state, State::Waiting { park: Some(park) } if park.until <= locked.now);
        let parks_end = parks_end || changes.opened.iter().chain(&changes.updated).any(ended);
        Ok(Folded { changes, last, parks_end })
    }

    /// Writes what was folded, lets those wait in their queues again whose time has come, and reads the queues; and where
    /// somebody came or went, the loads and what is most likely needed next.
    async fn line_up(
        &self,
        round: &Round<'_>,
        folded: &Folded,
        decided: &mut Decided,
    ) -> Result<Line, StoreError> {
        let Round { tx, request, locked, rules } = round;
        let account = request.account;
        let is_paused = decided.pause.is_some();
        let writing = tx.prepared(working_set::WRITING).await?;
        let [unpark, read, ..] = tx
            .prepared([parks::UNPARK, queues::QUEUES, loads::LOADS, loads::COUNTED_BESIDE, queues::HEADS])
            .await?;
        let known = self.books.queues(account);
        let foreseen =
            if is_paused { Foreseen::default() } else { self.books.foreseen(account).after(&folded.changes) };
        let end_parks = async {
            if folded.parks_end && !is_paused { parks::end(round, &unpark).await } else { Ok(false) }
        };
        let read_loads = async {
            if foreseen.is_waiting { loads::read(&***tx, account).await.map(Some) } else { Ok(None) }
        };
        let ((), left, mut queues, mut loads, beside, heads) = try_join!(
            working_set::write_by(tx, &writing, account, locked, &folded.changes, &known),
            end_parks,
            queues::read(round, &read),
            read_loads,
            self.counted_beside(round, foreseen.over),
            Heads::read(tx, account, foreseen.heads),
        )?;
        decided.more |= left;
        if let Some(loads) = &mut loads {
            loads::apply(loads, &folded.changes.agents)?;
        }
        let refunds = &folded.changes.refunds;
        turns::give_back(tx, account, refunds).await?;
        let rules_changed = !is_paused && locked.decided_version != rules.version;
        let is_whole = !is_paused && (!rules_changed || parks::end_exclusions(round).await?);
        decided.more |= !is_paused && !is_whole;
        if rules_changed || !refunds.is_empty() {
            queues = queues::read(round, &read).await?;
        }
        let heads = (!rules_changed).then_some(heads);
        Ok(Line { queues, loads, beside: Some(beside), heads, is_whole })
    }

    /// What explains the count of agents whom the platform credits with more than they hold here.
    async fn counted_beside(
        &self,
        round: &Round<'_>,
        agents: BTreeSet<AgentId>,
    ) -> Result<CountedBeside, StoreError> {
        let since = round.request.roster.polled_at - self.timing.settle_window;
        CountedBeside::read(&**round.tx, round.request.account, agents, since).await
    }

    /// Shows `rule` what waits, and carries out what it decides.
    async fn give_out(
        &self,
        round: &Round<'_>,
        folded: &Folded,
        line: &mut Line,
        rule: DecideRule<'_>,
        decided: &mut Decided,
    ) -> Result<(), StoreError> {
        let Line { queues, loads, heads, beside, .. } = line;
        let Round { tx, request, locked, rules } = round;
        let (account, policy, now) = (request.account, request.policy, locked.now);
        let limit = if locked.failures > 0 { request.limit.min(1) } else { request.limit };
        let served = queues.iter().filter(|(_, queue)| queue.waits && queue.is_sorted).map(|(key, _)| *key);
        let served: Vec<QueueKey> = served.collect();
        if limit == 0 {
            return Ok(());
        }
        let mut foreseen = self.books.foreseen(account);
        foreseen.is_waiting = !served.is_empty();
        if served.is_empty() {
            self.books.foresee(account, foreseen);
            return Ok(());
        }
        let loads = match loads {
            Some(loads) => loads,
            None => {
                let loads = loads.insert(loads::read(&***tx, account).await?);
                loads::apply(loads, &folded.changes.agents)?;
                loads
            }
        };
        foreseen.over = round::overcounted(&request.roster, loads);
        match beside.take().filter(|beside| beside.is_of(&foreseen.over)) {
            Some(beside) => beside,
            None => self.counted_beside(round, foreseen.over.clone()).await?,
        }
        .fill_in(&foreseen.over, loads);
        let slots = free_slots(&request.roster, loads, rules, policy, now).min(limit);
        foreseen.is_free = slots > 0;
        if slots == 0 {
            self.books.foresee(account, foreseen);
            return Ok(());
        }
        let fair = round::fair_inboxes(rules, policy, served.iter().map(|key| key.inbox), now);
        let counts_by_inbox = round::counts_by_inbox(rules, policy);
        let mut snapshot = Snapshot {
            roster: request.roster.clone(),
            loads: mem::take(loads),
            inbox_loads: if counts_by_inbox {
                loads::inbox_loads(&***tx, account).await?
            } else {
                BTreeMap::new()
            },
            windows: turns::windows(&***tx, account, fair.into_keys()).await?,
            answers: request.answers.clone(),
            waiting: Vec::new(),
            rotations: queues.iter().map(|(key, queue)| (*key, queue.rotation.clone())).collect(),
            rules: rules.clone(),
            limit,
        };
        let mut reach = Reach::new(servable(&snapshot, policy, now, served), slots);
        foreseen.heads = reach.iter().map(|(queue, most)| (queue, most + HEADS_FORESEEN)).collect();
        let decisions = loop {
            snapshot.waiting = match heads.take().and_then(|heads| heads.within(&reach)) {
                Some(heads) => heads,
                None => Heads::read(tx, account, reach.iter().collect()).await?.all(),
            };
            crate::crash_point!("snapshot_read");
            let decisions = if snapshot.waiting.is_empty() { Vec::new() } else { rule(&snapshot, now) };
            if !reach.extend(&snapshot, &decisions) {
                break decisions;
            }
        };
        crate::crash_point!("decided");
        let parked = self.carry_out(round, queues, &snapshot, &decisions, decided).await?;
        foreseen.is_waiting = decided.reserved.len() < snapshot.waiting.len();
        foreseen.is_free = decided.reserved.len() < slots as usize;
        self.books.foresee(account, foreseen);
        slots::count(&mut snapshot.loads, &decided.reserved, &snapshot.roster, now);
        *loads = snapshot.loads;
        let is_limited = locked.failures == 0 && decided.reserved.len() == limit as usize;
        // Those behind the parked may not have been seen.
        decided.more |= is_limited || parked;
        Ok(())
    }

    /// Writes all that `decisions` ask for, in one round trip. Returns whether anything was parked.
    async fn carry_out(
        &self,
        round: &Round<'_>,
        queues: &BTreeMap<QueueKey, Queue>,
        snapshot: &Snapshot,
        decisions: &[Decision],
        decided: &mut Decided,
    ) -> Result<bool, StoreError> {
        let Round { tx, request, locked, .. } = *round;
        let account = request.account;
        let Orders { choices, park, ask } = Orders::of(snapshot, decisions);
        let filled = if locked.is_heard {
            notice::filled(snapshot, request.policy, decisions, locked.now)
        } else {
            Vec::new()
        };
        let kept = Kept::of(round, snapshot, decisions, &choices);
        let taking = tx.prepared(slots::TAKING).await?;
        let [rotate, begin_park, post, keep] =
            tx.prepared([turns::SET_ROTATION, parks::PARK, outbox::POST, records::KEEP]).await?;
        let rotated = decisions.iter().filter_map(|decision| decision.rotation.as_ref());
        let rotations = rotated.filter_map(|(key, rotation)| Some((queues.get(key)?.id, rotation)));
        let (_, (), reserved, (), recorded) = try_join!(
            try_join_all(rotations.map(|(queue, turns)| turns::set_rotation(tx, &rotate, queue, turns))),
            parks::begin(tx, &begin_park, &park),
            slots::take(tx, &taking, account, locked, &choices, snapshot, self.timing.reservation),
            outbox::post(tx, &post, account, &filled),
            self.record(round, &keep, kept.as_ref()),
        )?;
        crate::crash_point!("slots_taken");
        if let (Some(kept), false) = (&kept, recorded) {
            self.record_with_agents(round, &keep, kept).await?;
        }
        (decided.reserved, decided.ask) = (reserved, ask);
        Ok(!park.is_empty())
    }
}

/// Takes the account's lock, and reads what is to be folded.
async fn begin(tx: &Transaction, account: AccountId) -> Result<(Locked, Unfolded), StoreError> {
    let [lock, unfolded, rooms] =
        tx.prepared([working_set::LOCK, UNFOLDED, working_set::ROOMS_UNFOLDED]).await?;
    let most = i64::try_from(FOLD_EVENTS_MAX).unwrap_or(i64::MAX);
    let ((), lock, found, rooms) = try_join!(
        tx.begin(),
        async { Ok(tx.query_one(&lock, &[&account.0]).await?) },
        async { Ok(tx.query(&unfolded, &[&account.0, &most]).await?) },
        async { Ok(tx.query(&rooms, &[&account.0, &most]).await?) },
    )?;
    let (now, unfolded) = Unfolded::read(&found, rooms)?;
    Ok((Locked::read(&lock, now)?, unfolded))
}

/// Who waits, what those hold who may serve them, and what was asked in advance.
struct Line {
    queues: BTreeMap<QueueKey, Queue>,
    /// With what was folded, to be written at the end. `None`: they were not read, and what was folded is added to them.
    loads: Option<Loads>,
    beside: Option<CountedBeside>,
    heads: Option<Heads>,
    /// False: some are still to stand in line before anybody may be served.
    is_whole: bool,
}

/// Writes the loads that changed, notes how far the account has come, and commits.
async fn end(
    round: &Round<'_>,
    folded: &Folded,
    line: &Line,
    reserved: &[Reservation],
) -> Result<(), StoreError> {
    let Round { tx, request, .. } = round;
    let account = request.account;
    let [set, passed] = tx.prepared([loads::SET, PASSED]).await?;
    let shifting = tx.prepared(loads::SHIFTING).await?;
    let mut changed: BTreeSet<AgentId> = folded.changes.agents.keys().copied().collect();
    changed.extend(reserved.iter().map(|reservation| reservation.agent));
    let set_loads = async {
        match &line.loads {
            Some(loads) => loads::set(tx, &set, account, loads, &changed).await,
            None => loads::shift_by(tx, &shifting, account, &folded.changes.agents).await,
        }
    };
    let pass = async {
        if folded.last.is_none() && reserved.is_empty() {
            return Ok(());
        }
        let (seq, at) = folded.last.unzip();
        let (at, count) = (at.map(SystemTime::from), i64::try_from(reserved.len()).unwrap_or(i64::MAX));
        tx.execute(&passed, &[&account.0, &seq, &at, &count]).await?;
        Ok(())
    };
    try_join!(set_loads, pass, tx.commit())?;
    Ok(())
}
