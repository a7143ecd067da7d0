//! Operators change what a conversation carries, put it off and take it up; what becomes of its place, agent and slot.

use std::{collections::BTreeMap, time::Duration};

use sebastian_core::{
    AgentId, Astray, Conversation, Order, Park, ParkReason, Policy, Priority, RoomId, Rulebook, SlotRule,
    State, Status, TeamId, Timestamp, Update, Verdict,
    conversation::{FAR, HOPS_MAX, POISON_PARK, REFUSALS_MAX},
    rulebook::{AgentRules, Paused},
};

use crate::{rules::label, support::*};

const CARE: TeamId = TeamId(41);
const CITRA: AgentId = AgentId(3);
const HOUR: Duration = Duration::from_secs(3_600);

fn ledger_ordered(order: Order) -> Ledger {
    Ledger::under(Rulebook::default(), Policy { order, ..Policy::default() })
}

/// Ana and Budi are in [`CARE`], Citra is not.
fn with_a_team() -> Ledger {
    let team = crate::rules::team([ANA, BUDI]);
    let rules = Rulebook { teams: BTreeMap::from([(CARE, team)]), ..Rulebook::default() };
    Ledger::under(rules, Policy::default())
}

/// A ledger in which `agent` serves room 1.
fn served_by(mut ledger: Ledger, agent: AgentId) -> (Ledger, RoomId) {
    ledger.fold(&room(1), allocate());
    ledger.assign(&room(1), agent);
    ledger.pass(SETTLED);
    (ledger, room(1))
}

fn status(status: Status) -> Update {
    Update { status: Some(status), ..Update::default() }
}

fn snooze(until: Timestamp) -> Update {
    Update { snoozed_until: Some(until), ..status(Status::Snoozed) }
}

fn to_team(team: Option<TeamId>) -> Update {
    Update { team: Some(team), ..Update::default() }
}

fn priority(priority: Priority) -> Update {
    Update { priority: Some(Some(priority)), ..Update::default() }
}

fn labels(labels: &[&str]) -> Update {
    Update { labels: Some(labels.iter().map(|text| label(text)).collect()), ..Update::default() }
}

fn unassign() -> Update {
    Update { unassign: true, ..Update::default() }
}

const IN_LINE: State = State::Waiting { park: None };

fn parked(until: Timestamp, why: ParkReason) -> State {
    State::Waiting { park: Some(Park { until, why }) }
}

fn is_with(ours: &Conversation, agent: AgentId) -> bool {
    ours.is_assigned() && ours.holder() == Some(agent)
}

#[test]
fn an_update_sets_what_it_names_and_leaves_the_rest() {
    let (mut ledger, room) = (with_a_team(), room(1));
    ledger.fold(&room, allocate());
    let all = Update {
        labels: labels(&["vip"]).labels,
        priority: Some(Some(Priority::High)),
        team: Some(Some(CARE)),
        language: Some(Some("id".into())),
        ..Update::default()
    };
    ledger.update(&room, all.clone());
    ledger.update(&room, Update::default());

    let carried = ledger.open_in(&room).traits.clone();
    assert_eq!(Some(carried.labels), all.labels);
    assert_eq!((carried.priority, carried.team), (Some(Priority::High), Some(CARE)));
    assert_eq!(carried.language.as_deref(), Some("id"));

    ledger.update(&room, Update { priority: Some(None), language: Some(None), ..to_team(None) });
    let carried = &ledger.open_in(&room).traits;
    assert_eq!((carried.priority, carried.team, &carried.language), (None, None, &None));
    assert_eq!(carried.labels.len(), 1);
}

#[test]
fn an_update_of_a_room_where_nothing_is_open_changes_nothing() {
    let mut ledger = Ledger::new();

    ledger.update(&room(1), unassign());

    assert!(!ledger.changed);
}

#[test]
fn a_priority_moves_a_waiting_conversation_by_what_it_is_worth() {
    let (mut ledger, room) = (ledger_ordered(Order::Priority), room(1));
    ledger.fold(&room, allocate());
    let opened_at = ledger.now;
    ledger.pass(SECOND);

    ledger.update(&room, priority(Priority::High));
    assert_eq!(ledger.open_in(&room).rank, opened_at - Duration::from_secs(1_800));

    ledger.update(&room, Update { priority: Some(None), ..Update::default() });
    assert_eq!(ledger.open_in(&room).rank, opened_at);
}

#[test]
fn a_priority_set_during_a_call_counts_when_the_call_comes_to_nothing() {
    let (mut ledger, room) = (ledger_ordered(Order::Priority), room(1));
    ledger.fold(&room, allocate());
    let (opened_at, attempt) = (ledger.now, ledger.reserve(&room, ANA));

    ledger.update(&room, priority(Priority::Urgent));
    ledger.settle(attempt, Verdict::Released { refused: false });

    let ours = ledger.open_in(&room);
    assert_eq!((&ours.state, ours.rank), (&IN_LINE, opened_at - Duration::from_secs(7_200)));
}

#[test]
fn a_message_moves_the_place_only_where_the_longest_silent_come_first() {
    for order in [Order::EarliestCreated, Order::LongestWaiting, Order::Priority] {
        let (mut ledger, room) = (ledger_ordered(order), room(1));
        let place = ledger.fold(&room, allocate());
        let opened_at = ledger.now;
        ledger.pass(SECOND);

        ledger.fold(&room, allocate());

        let ours = ledger.open_in(&room);
        let moves = order == Order::LongestWaiting;
        assert_eq!(ours.rank, if moves { ledger.now } else { opened_at }, "{order:?}");
        assert_eq!(ours.position, place);
    }
}

#[test]
fn a_waiting_conversation_given_to_a_team_keeps_its_time() {
    let (mut ledger, room) = (with_a_team(), room(1));
    let place = ledger.fold(&room, allocate());
    let opened_at = ledger.now;
    ledger.pass(SECOND);

    ledger.update(&room, to_team(Some(CARE)));

    let ours = ledger.open_in(&room);
    assert_eq!((&ours.state, ours.position, ours.rank), (&IN_LINE, place, opened_at));
}

#[test]
fn an_agent_who_is_not_in_the_new_team_gives_it_back_and_one_who_is_keeps_it() {
    for (agent, keeps) in [(ANA, true), (CITRA, false)] {
        let (mut ledger, room) = served_by(with_a_team(), agent);

        ledger.update(&room, to_team(Some(CARE)));

        let ours = ledger.open_in(&room);
        assert_eq!(is_with(ours, agent), keeps);
        assert_eq!(ours.replaces, (!keeps).then_some(agent), "the platform still shows them");
        assert_eq!(ledger.load(agent), i32::from(keeps));
    }
}

#[test]
fn clearing_a_team_or_naming_an_unknown_one_takes_nobody_away() {
    for unknown in [None, Some(TeamId(99))] {
        let (mut ledger, room) = served_by(with_a_team(), CITRA);

        ledger.update(&room, to_team(unknown));

        assert!(is_with(ledger.open_in(&room), CITRA));
    }
}

#[test]
fn a_team_set_during_a_call_takes_effect_when_the_call_settles() {
    for (agent, keeps) in [(ANA, true), (CITRA, false)] {
        let (mut ledger, room) = (with_a_team(), room(1));
        ledger.fold(&room, allocate());
        let attempt = ledger.reserve_for(&room, agent, 3);

        ledger.update(&room, to_team(Some(CARE)));
        let ours = ledger.open_in(&room);
        assert!(matches!(ours.state, State::Reserved { .. }), "the call goes on");
        assert!(!ours.settles_plainly());
        ledger.settle(attempt, Verdict::Assigned);

        let ours = ledger.open_in(&room);
        assert_eq!(is_with(ours, agent), keeps);
        assert_eq!(ours.replaces, (!keeps).then_some(agent));
        assert_eq!(ledger.load(agent), i32::from(keeps));
        assert_eq!(ledger.turns_paid(agent), 3, "they were given it");
    }
}

#[test]
fn unassigning_puts_a_conversation_back_to_its_place() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    let place = ledger.fold(&room, allocate());
    let opened_at = ledger.now;
    ledger.assign(&room, ANA);

    ledger.update(&room, unassign());

    let ours = ledger.open_in(&room);
    assert_eq!((&ours.state, ours.position, ours.rank), (&IN_LINE, place, opened_at));
    assert_eq!(ours.replaces, Some(ANA));
    assert_eq!((ledger.load(ANA), ledger.assignments(ANA)), (0, 1));
}

#[test]
fn whom_the_platform_still_shows_does_not_take_it_back_and_somebody_else_does() {
    let (mut ledger, room) = served_by(Ledger::new(), ANA);
    ledger.update(&room, unassign());
    ledger.pass(SETTLED);

    ledger.adopt(ANA, std::slice::from_ref(&room));
    assert_eq!(ledger.open_in(&room).state, IN_LINE);

    ledger.adopt(BUDI, std::slice::from_ref(&room));
    let ours = ledger.open_in(&room);
    assert!(is_with(ours, BUDI));
    assert_eq!(ours.replaces, None);
}

#[test]
fn whoever_is_to_be_replaced_stays_known_until_somebody_serves_it() {
    let (mut ledger, room) = served_by(Ledger::new(), ANA);
    ledger.update(&room, unassign());

    let attempt = ledger.reserve(&room, BUDI);
    ledger.settle(attempt, Verdict::Released { refused: true });
    assert_eq!(ledger.open_in(&room).replaces, Some(ANA));

    ledger.assign(&room, CITRA);
    assert_eq!(ledger.open_in(&room).replaces, None);
}

#[test]
fn a_waiting_conversation_that_is_put_off_sits_out_and_keeps_its_place() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    let place = ledger.fold(&room, allocate());
    let opened_at = ledger.now;
    let later = ledger.now + HOUR;
    for (update, sits_out) in [
        (status(Status::Pending), parked(FAR, ParkReason::Pending)),
        (status(Status::Snoozed), parked(FAR, ParkReason::Snoozed)),
        (snooze(later), parked(later, ParkReason::Snoozed)),
    ] {
        ledger.update(&room, update);
        assert_eq!(ledger.open_in(&room).state, sits_out);

        ledger.update(&room, status(Status::Open));
        let ours = ledger.open_in(&room);
        assert_eq!((&ours.state, ours.position, ours.rank), (&IN_LINE, place, opened_at));
    }
}

#[test]
fn a_snooze_that_is_over_already_is_none() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    let now = ledger.now;

    ledger.update(&room, snooze(now));

    let ours = ledger.open_in(&room);
    assert_eq!((&ours.state, ours.status), (&IN_LINE, Status::Open));
}

#[test]
fn a_message_takes_up_what_was_snoozed_and_not_what_is_pending() {
    for (put_off, after) in [(Status::Snoozed, Status::Open), (Status::Pending, Status::Pending)] {
        for assigned in [false, true] {
            let (mut ledger, room) = (Ledger::new(), room(1));
            ledger.fold(&room, allocate());
            if assigned {
                ledger.assign(&room, ANA);
                ledger.pass(SECOND);
            }
            ledger.update(&room, status(put_off));

            ledger.fold(&room, allocate());

            let ours = ledger.open_in(&room);
            assert_eq!((ours.status, ours.is_assigned()), (after, assigned));
            assert_eq!(ledger.load(ANA), i32::from(assigned && after == Status::Open));
        }
    }
}

#[test]
fn an_agents_conversation_that_is_put_off_frees_its_slot_where_the_policy_says_so() {
    let each = [(false, false), (false, true), (true, false), (true, true)];
    for (pending_holds, snoozed_holds) in each {
        let slots = SlotRule { pending_holds, snoozed_holds };
        let policy = Policy { slots, ..Policy::default() };
        let (mut ledger, room) = served_by(Ledger::under(Rulebook::default(), policy), ANA);

        ledger.update(&room, status(Status::Pending));
        assert_eq!(ledger.load(ANA), i32::from(pending_holds));
        ledger.update(&room, status(Status::Snoozed));
        assert_eq!(ledger.load(ANA), i32::from(snoozed_holds));
        ledger.update(&room, status(Status::Snoozed));
        assert_eq!(ledger.load(ANA), i32::from(snoozed_holds));
        ledger.update(&room, status(Status::Open));
        assert_eq!(ledger.load(ANA), 1);
        assert!(is_with(ledger.open_in(&room), ANA));
    }
}

#[test]
fn a_wake_up_takes_the_slot_again_even_from_an_agent_who_is_full() {
    let (mut ledger, room) = served_by(Ledger::new(), ANA);
    let until = ledger.now + HOUR;
    ledger.update(&room, snooze(until));
    for n in 2..5 {
        ledger.fold(&crate::support::room(n), allocate());
        ledger.assign(&crate::support::room(n), ANA);
    }

    ledger.wake();
    assert_eq!(ledger.load(ANA), 3, "too early");
    ledger.pass(HOUR);
    ledger.wake();
    ledger.wake();

    let ours = ledger.open_in(&room);
    assert_eq!((is_with(ours, ANA), ours.status, ours.snoozed_until), (true, Status::Open, None));
    assert_eq!(ledger.load(ANA), 4);
}

#[test]
fn a_resolve_of_one_that_is_put_off_frees_nothing_twice() {
    for put_off in [Status::Pending, Status::Snoozed] {
        let (mut ledger, room) = served_by(Ledger::new(), ANA);
        ledger.update(&room, status(put_off));

        ledger.fold(&room, resolve());

        assert!(ledger.find_open(&room).is_none());
        assert_eq!(ledger.load(ANA), 0);
    }
}

#[test]
fn a_transfer_of_one_that_is_put_off_moves_no_slot() {
    let (mut ledger, room) = served_by(Ledger::new(), ANA);
    ledger.update(&room, status(Status::Pending));

    assert!(ledger.transfer(&room, ANA, BUDI));
    assert_eq!((ledger.load(ANA), ledger.load(BUDI)), (0, 0));

    ledger.update(&room, status(Status::Open));
    assert_eq!((ledger.load(ANA), ledger.load(BUDI)), (0, 1));
}

#[test]
fn whoever_takes_one_that_is_put_off_works_on_it() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.update(&room, status(Status::Pending));
    ledger.pass(SETTLED);

    ledger.adopt(ANA, std::slice::from_ref(&room));

    let ours = ledger.open_in(&room);
    assert_eq!((is_with(ours, ANA), ours.status), (true, Status::Open));
    assert_eq!(ledger.load(ANA), 1);
}

#[test]
fn one_put_off_during_a_call_is_put_off_when_the_call_settles() {
    for (verdict, assigned) in [(Verdict::Assigned, true), (Verdict::Released { refused: false }, false)] {
        let (mut ledger, room) = (Ledger::new(), room(1));
        ledger.fold(&room, allocate());
        let attempt = ledger.reserve(&room, ANA);
        ledger.update(&room, status(Status::Pending));
        assert_eq!(ledger.load(ANA), 1, "the call goes on");
        assert!(!ledger.open_in(&room).settles_plainly());

        ledger.settle(attempt, verdict);

        let ours = ledger.open_in(&room);
        assert_eq!((ours.status, ours.is_assigned()), (Status::Pending, assigned));
        assert_eq!(ledger.load(ANA), 0);
    }
}

/// Ana is away for long: by her own presence, or paused with her conversations to be dealt again.
fn without_ana() -> [Ledger; 2] {
    let paused = Paused { since: Timestamp::default(), until: None, reason: None };
    let ana = AgentRules { paused: Some(paused), reassigns: true, ..AgentRules::default() };
    let rules = Rulebook { agents: BTreeMap::from([(ANA, ana)]), ..Rulebook::default() };
    let mut away = Ledger::new();
    away.absent.insert(ANA);
    [away, Ledger::under(rules, Policy::default())]
}

#[test]
fn a_message_in_one_put_off_by_an_absent_agent_goes_back_to_its_place() {
    for (ledger, put_off) in [Status::Pending, Status::Snoozed]
        .into_iter()
        .flat_map(|put_off| without_ana().map(|ledger| (ledger, put_off)))
    {
        let (mut ledger, room) = served_by(ledger, ANA);
        ledger.update(&room, status(put_off));

        ledger.fold(&room, allocate());

        let ours = ledger.open_in(&room);
        assert_eq!((&ours.state, ours.status), (&IN_LINE, Status::Open));
        assert_eq!((ours.replaces, ours.opened_at), (Some(ANA), ours.rank));
        assert_eq!(ledger.load(ANA), 0);
    }
}

#[test]
fn a_live_conversation_stays_with_an_absent_agent() {
    for ledger in without_ana() {
        let (mut ledger, room) = served_by(ledger, ANA);

        ledger.fold(&room, allocate());

        assert!(is_with(ledger.open_in(&room), ANA));
    }
}

#[test]
fn an_agent_paused_without_reassigning_keeps_what_wakes() {
    let [_, mut ledger] = without_ana();
    let mut rules = Rulebook::clone(&ledger.rules);
    rules.agents.values_mut().for_each(|ana| ana.reassigns = false);
    ledger.rules = rules.into();
    let (mut ledger, room) = served_by(ledger, ANA);
    ledger.update(&room, status(Status::Snoozed));

    ledger.fold(&room, allocate());

    assert!(is_with(ledger.open_in(&room), ANA));
    assert_eq!(ledger.load(ANA), 1);
}

#[test]
fn a_stray_goes_back_once_and_only_from_the_agent_named() {
    let (mut ledger, room) = served_by(Ledger::new(), ANA);

    assert!(!ledger.put_back(&room, BUDI));
    assert!(ledger.put_back(&room, ANA));
    assert!(!ledger.put_back(&room, ANA));

    let ours = ledger.open_in(&room);
    assert_eq!((&ours.state, ours.replaces), (&IN_LINE, Some(ANA)));
    assert_eq!(ledger.load(ANA), 0);
}

#[test]
fn a_conversation_is_taken_from_three_absent_agents_and_stays_with_the_fourth() {
    let (mut ledger, room) = served_by(Ledger::new(), ANA);
    let place = ledger.open_in(&room).position;
    for _ in 0..HOPS_MAX {
        let id = ledger.open_in(&room).id;
        assert!(ledger.transact(|rooms| rooms.put_back_stray(id, ANA, Astray::Offline)));
        assert_eq!(ledger.open_in(&room).position, place);
        ledger.assign(&room, ANA);
    }
    let id = ledger.open_in(&room).id;

    assert!(!ledger.transact(|rooms| rooms.put_back_stray(id, ANA, Astray::Offline)));
    assert!(ledger.put_back(&room, ANA), "who is gone cannot keep it, however often it moved");
}

#[test]
fn what_the_platform_refuses_ten_times_in_a_row_sits_out_until_somebody_retries_it() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    for times in 1..=REFUSALS_MAX {
        assert_eq!(ledger.open_in(&room).state, IN_LINE, "after {times} refusals");
        let attempt = ledger.reserve(&room, ANA);
        ledger.settle(attempt, Verdict::Released { refused: true });
    }
    let park = Park { until: ledger.now + POISON_PARK, why: ParkReason::Poison };
    assert_eq!(ledger.open_in(&room).state, State::Waiting { park: Some(park) });
    assert_eq!(ledger.load(ANA), 0);

    ledger.update(&room, Update { retry: true, ..Update::default() });

    let ours = ledger.open_in(&room);
    assert_eq!((&ours.state, ours.refusals, &ours.refused[..]), (&IN_LINE, 0, &[][..]));
}

#[test]
fn an_assignment_forgets_refusals() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    let attempt = ledger.reserve(&room, ANA);
    ledger.settle(attempt, Verdict::Released { refused: true });
    assert_eq!(ledger.open_in(&room).refusals, 1);

    ledger.assign(&room, BUDI);

    assert_eq!(ledger.open_in(&room).refusals, 0);
}

#[test]
fn a_retry_takes_up_nothing_that_is_put_off() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.update(&room, status(Status::Pending));
    let before = ledger.open_in(&room).state.clone();

    ledger.update(&room, Update { retry: true, ..Update::default() });

    assert_eq!(ledger.open_in(&room).state, before);
}

#[test]
fn what_is_excluded_is_looked_at_again_when_its_labels_or_its_team_change_or_its_customer_writes() {
    for again in [None, Some(labels(&[])), Some(to_team(Some(CARE)))] {
        let (mut ledger, room) = (with_a_team(), room(1));
        ledger.fold(&room, allocate());
        let until = ledger.now + HOUR;
        ledger.park(&room, Park { until, why: ParkReason::Excluded });
        ledger.update(&room, priority(Priority::Low));
        assert_eq!(ledger.open_in(&room).state, parked(until, ParkReason::Excluded));

        match again {
            Some(update) => ledger.update(&room, update),
            None => drop(ledger.fold(&room, allocate())),
        }

        assert_eq!(ledger.open_in(&room).state, IN_LINE);
    }
}

#[test]
fn one_put_off_behind_a_call_that_still_ends_waits_for_it_when_opened() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    let attempt = ledger.reserve(&room, ANA);
    ledger.fold(&room, resolve());
    ledger.fold(&room, allocate());
    let behind = ledger.open_in(&room).state.clone();
    assert!(matches!(behind, State::Waiting { park: Some(Park { why: ParkReason::PreviousClosing, .. }) }));

    ledger.update(&room, status(Status::Pending));
    ledger.update(&room, status(Status::Open));
    assert_eq!(ledger.open_in(&room).state, behind);

    ledger.update(&room, status(Status::Pending));
    ledger.settle(attempt, Verdict::Assigned);
    assert_eq!(ledger.open_in(&room).state, parked(FAR, ParkReason::Pending));
    ledger.update(&room, status(Status::Open));
    assert_eq!(ledger.open_in(&room).state, IN_LINE);
}

#[test]
fn one_put_off_in_doubt_is_in_doubt_when_opened() {
    let (mut ledger, room) = served_by(Ledger::new(), ANA);
    ledger.fold(&room, allocate());
    ledger.fold(&room, resolve());
    assert!(ledger.open_in(&room).is_doubted());

    ledger.update(&room, status(Status::Pending));
    ledger.pass(HOUR);
    ledger.wake();
    ledger.update(&room, status(Status::Open));

    let ours = ledger.open_in(&room);
    assert!(matches!(ours.state, State::Waiting { park: Some(Park { why: ParkReason::Doubted, .. }) }));
}

#[test]
fn an_update_that_is_written_down_reads_back_the_same() {
    let until = Timestamp::from_millis(1_700_000_000_000);
    for update in [
        Update::default(),
        Update { priority: Some(None), language: Some(None), ..to_team(None) },
        Update { language: Some(Some("id".into())), ..to_team(Some(CARE)) },
        Update { priority: Some(Some(Priority::Low)), unassign: true, ..labels(&["vip"]) },
        snooze(until),
    ] {
        let text = serde_json::to_string(&update).expect("an update is plain data");
        assert_eq!(serde_json::from_str::<Update>(&text).expect("as it was written"), update, "{text}");
    }
}
