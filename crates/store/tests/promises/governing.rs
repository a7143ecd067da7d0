//! What operators set holds from the next decision on, and what it counts is given back and kept.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sebastian_core::{
    AgentId, Astray, ConversationId, InboxId, Order, PolicyId, Priority, RoomId, Rulebook, State, Status,
    TeamId, Timestamp, Update, order,
    rulebook::{AssignmentPolicy, CapacityPolicy, InboxRules, Overrides, Paused, PriorityBoost, Team},
};
use sebastian_store::Store;
use tokio::task::JoinSet;

use super::on_every_ledger;
use crate::desk::*;

on_every_ledger! {
    a_change_of_the_rulebook_is_seen_by_the_next_decision
    amendments_at_once_all_land
    an_amendment_without_entries_changes_nothing
    entries_about_something_else_make_no_version
    changes_are_told_newest_first_a_page_at_a_time
    every_version_of_the_rulebook_reads_back
    a_new_process_goes_on_with_rulebook_rotation_and_windows
    a_release_gives_slot_turn_and_window_back
    a_conversation_an_agent_kept_stays_in_their_window
    the_window_holds_to_the_millisecond
    two_workers_exceed_neither_window_nor_capacity
    a_team_is_served_by_its_members
    a_conversation_moved_to_another_team_keeps_its_time
    queues_are_sorted_as_their_rules_say
    a_change_of_the_order_sorts_who_waits
    ranks_are_those_of_the_core
    an_excluded_conversation_holds_up_nobody_and_is_taken_up_when_the_rules_change
    an_excluded_conversation_is_taken_up_when_its_labels_change
    the_limit_of_a_round_counts_assignments
    a_snoozed_conversation_frees_its_slot_and_takes_it_again
    a_snoozed_conversation_waits_again_when_its_time_has_come
    a_conversation_put_off_while_the_platform_was_told_is_settled
    conversations_of_an_inbox_are_counted_where_a_limit_counts_them
    a_stray_goes_back_to_its_place_and_is_taken_from_its_agent
    a_clock_that_steps_back_changes_no_place_in_line
    facts_tell_what_decisions_go_by
}

const BILLING: TeamId = TeamId(5);
const NIGHT: PolicyId = PolicyId(9);
const WINDOW: Duration = Duration::from_secs(300);

fn team(members: &[i64]) -> Team {
    Team {
        name: "Billing".into(),
        description: String::new(),
        allow_auto_assign: true,
        capacity: None,
        members: members.iter().copied().map(AgentId).collect(),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

/// An assignment policy that sorts by `order`, and that [`SALES`] is linked to.
pub(super) fn sort_sales(rules: &mut Rulebook, order: Order) {
    let policy = AssignmentPolicy {
        name: "Night".into(),
        description: String::new(),
        enabled: true,
        strategy: sebastian_core::Strategy::Balanced,
        order,
        boost: PriorityBoost::default(),
        fair_distribution: None,
        exclude_older_than_hours: None,
        capacity: None,
        reassigns_strays: None,
        seed: 0,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    rules.assignment_policies.insert(NIGHT, policy);
    rules.inboxes.insert(SALES, InboxRules { policy: Some(NIGHT), ..InboxRules::default() });
}

fn prioritised(n: usize, priority: Priority) -> sebastian_core::NewEvent {
    update(&room(n), Update { priority: Some(Some(priority)), ..Update::default() })
}

pub(super) fn labelled(n: usize, labels: &[&str]) -> sebastian_core::NewEvent {
    let labels = labels.iter().map(|label| sebastian_core::Label::parse(label).unwrap()).collect();
    update(&room(n), Update { labels: Some(labels), ..Update::default() })
}

async fn a_change_of_the_rulebook_is_seen_by_the_next_decision(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let paused = Paused { since: desk.now(), until: None, reason: None };
    desk.amend(|rules| rules.paused = Some(paused.clone())).await;

    assert_eq!(desk.reserve(&Crew::of(1)).await, []);
    let other = desk.another();
    let mut resume = |rules: &mut Rulebook, _| {
        rules.paused = None;
        vec![entry("1")]
    };
    other.amend(desk.account, "somebody else", &mut resume).await.unwrap();

    assert_eq!(rooms_of(&desk.reserve(&Crew::of(1)).await), [room(1)]);
}

async fn amendments_at_once_all_land(desk: Desk) {
    let mut amending = JoinSet::new();
    for n in 1..=8 {
        let (store, account) = (desk.another(), desk.account);
        amending.spawn(async move {
            let mut change = |rules: &mut Rulebook, _| {
                rules.last_id += 1;
                rules.teams.insert(TeamId(n), team(&[]));
                vec![entry(&n.to_string())]
            };
            store.amend(account, "test", &mut change).await.unwrap().version
        });
    }

    let mut versions = amending.join_all().await;
    versions.sort_unstable();

    assert_eq!(versions, (1..=8).collect::<Vec<u64>>());
    let rules = desk.store.rulebook(desk.account).await.unwrap();
    assert_eq!((rules.version, rules.teams.len(), rules.last_id), (8, 8, 8));
    assert_eq!(desk.store.audit(desk.account, None, 100).await.unwrap().len(), 8);
}

async fn an_amendment_without_entries_changes_nothing(desk: Desk) {
    desk.amend(|rules| drop(rules.teams.insert(BILLING, team(&[1])))).await;
    let before = desk.store.rulebook(desk.account).await.unwrap();

    let mut refused = |rules: &mut Rulebook, _| {
        rules.teams.clear();
        Vec::new()
    };
    let after = desk.store.amend(desk.account, "test", &mut refused).await.unwrap();

    assert_eq!(after, before);
    assert_eq!(desk.store.rulebook(desk.account).await.unwrap(), before);
    assert_eq!(desk.store.audit(desk.account, None, 100).await.unwrap().len(), 1);
}

async fn entries_about_something_else_make_no_version(desk: Desk) {
    desk.amend(|rules| drop(rules.teams.insert(BILLING, team(&[1])))).await;
    let before = desk.store.rulebook(desk.account).await.unwrap();

    let mut aside = |_: &mut Rulebook, _| vec![entry("9")];
    let after = desk.store.amend(desk.account, "test", &mut aside).await.unwrap();

    assert_eq!(after, before);
    assert_eq!(desk.store.rulebook(desk.account).await.unwrap(), before);
    let told = desk.store.audit(desk.account, None, 1).await.unwrap();
    assert_eq!((told[0].resource_id.as_str(), told[0].version), ("9", before.version));
}

async fn changes_are_told_newest_first_a_page_at_a_time(desk: Desk) {
    for n in 1..=5 {
        desk.pass(SECOND).await;
        let mut change = |rules: &mut Rulebook, at: Timestamp| {
            assert_eq!(at, desk.now());
            rules.last_id = n;
            let (before, after) =
                (Some(serde_json::json!(n - 1)), (n < 5).then(|| serde_json::json!({"n": n})));
            vec![sebastian_store::AuditEntry { before, after, ..entry(&n.to_string()) }]
        };
        desk.store.amend(desk.account, "Rina", &mut change).await.unwrap();
    }

    let first = desk.store.audit(desk.account, None, 3).await.unwrap();
    let rest = desk.store.audit(desk.account, Some(first[2].id), 100).await.unwrap();

    let told: Vec<(&str, u64)> =
        first.iter().chain(&rest).map(|one| (one.resource_id.as_str(), one.version)).collect();
    assert_eq!(told, [("5", 5), ("4", 4), ("3", 3), ("2", 2), ("1", 1)]);
    assert_eq!((first[0].who.as_str(), first[0].at), ("Rina", desk.now()));
    assert_eq!((&first[0].before, &first[0].after), (&Some(serde_json::json!(4)), &None));
    assert_eq!(first[1].after, Some(serde_json::json!({"n": 4})));
    assert_eq!((first[0].action.as_str(), first[0].resource.as_str()), ("update", "rulebook"));
    let other = desk.store.open_account("qiscus", "other").await.unwrap();
    assert_eq!(desk.store.audit(other, None, 100).await.unwrap(), []);
}

async fn every_version_of_the_rulebook_reads_back(desk: Desk) {
    let first = desk.amend(|rules| sort_sales(rules, Order::Priority)).await;
    let second = desk.amend(|rules| drop(rules.teams.insert(BILLING, team(&[1, 2])))).await;
    let at = async |version| desk.store.rulebook_at(desk.account, version).await.unwrap();

    assert_eq!((first.version, second.version), (1, 2));
    assert_eq!(at(0).await, Some(Arc::default()));
    assert_eq!((at(1).await, at(2).await, at(3).await), (Some(first), Some(second.clone()), None));
    assert_eq!(desk.another().rulebook(desk.account).await.unwrap(), second);
}

async fn a_new_process_goes_on_with_rulebook_rotation_and_windows(desk: Desk) {
    let crew = Crew::of(3).round_robin().fair(1, WINDOW);
    desk.amend(|rules| drop(rules.teams.insert(BILLING, team(&[1])))).await;
    desk.accept((0..4).map(|n| allocate(&room(n)))).await;
    let first = crew.decide(&*desk.store, desk.account, desk.now(), 2).await.reserved;

    let later = desk.another();
    let second = crew.decide(&*later, desk.account, desk.now(), 100).await.reserved;
    let rules = later.rulebook(desk.account).await.unwrap();

    assert_eq!(agents_of(&[first, second].concat()), [1, 2, 3].map(AgentId));
    assert_eq!((rules.version, rules.teams.len()), (1, 1));
    let facts = later.facts(desk.account, desk.now(), &crew.policy).await.unwrap();
    assert_eq!(facts.windows.len(), 3);
}

async fn a_release_gives_slot_turn_and_window_back(desk: Desk) {
    let crew = Crew::of(2).capacity(1).round_robin().fair(1, WINDOW);
    desk.accept((0..2).map(|n| allocate(&room(n)))).await;
    let reserved = desk.reserve(&crew).await;
    assert_eq!(agents_of(&reserved), [ANA, BUDI]);

    desk.release(&reserved[..1], false).await;
    let facts = desk.store.facts(desk.account, desk.now(), &crew.policy).await.unwrap();
    assert_eq!(facts.windows.keys().copied().collect::<Vec<_>>(), [(Some(SALES), BUDI)]);
    let again = desk.reserve(&crew).await;

    assert_eq!(agents_of(&again), [ANA]);
    assert_eq!(rooms_of(&again), [room(0)]);
}

async fn a_conversation_an_agent_kept_stays_in_their_window(desk: Desk) {
    let crew = Crew::of(1).fair(1, WINDOW);
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&crew).await;
    desk.accept([resolve(&room(1)), allocate(&room(2))]).await;

    assert_eq!(desk.reserve(&crew).await, []);
    desk.pass(WINDOW).await;

    assert_eq!(rooms_of(&desk.reserve(&crew).await), [room(2)]);
}

async fn the_window_holds_to_the_millisecond(desk: Desk) {
    let crew = Crew::of(1).capacity(10).fair(2, WINDOW);
    desk.accept((0..3).map(|n| allocate(&room(n)))).await;
    assert_eq!(desk.reserve(&crew).await.len(), 2);

    desk.pass(WINDOW - Duration::from_millis(1)).await;
    assert_eq!(desk.reserve(&crew).await, []);
    desk.pass(Duration::from_millis(1)).await;

    assert_eq!(rooms_of(&desk.reserve(&crew).await), [room(2)]);
}

/// Decides, confirms and resolves until all were served. The first of the workers moves the clock when nobody may be given
/// anything.
async fn work(desk: Arc<Desk>, store: Arc<dyn Store>, moves_clock: bool) {
    let crew = Crew::of(10).fair(5, WINDOW);
    loop {
        let reserved = crew.decide(&*store, desk.account, desk.now(), 7).await.reserved;
        let loads = store.loads(desk.account, desk.now()).await.unwrap();
        assert!(loads.values().all(|load| load.open <= 3), "{loads:?}");
        let attempts: Vec<_> = reserved.iter().map(|one| one.attempt).collect();
        store.confirm(desk.account, &attempts).await.unwrap();
        let resolved: Vec<_> = rooms_of(&reserved).iter().map(resolve).collect();
        store.accept(desk.account, &resolved).await.unwrap();
        let counts = store.counts(desk.account).await.unwrap();
        if counts.waiting + counts.unfolded + counts.assigned == 0 {
            return;
        }
        if reserved.is_empty() && moves_clock {
            desk.pass(SECOND * 20).await;
        }
    }
}

async fn two_workers_exceed_neither_window_nor_capacity(desk: Desk) {
    const CONVERSATIONS: usize = 500;
    desk.accept((0..CONVERSATIONS).map(|n| allocate(&room(n)))).await;
    let desk = Arc::new(desk);
    let mut workers = JoinSet::new();
    for n in 0..2 {
        workers.spawn(work(desk.clone(), desk.another(), n == 0));
    }
    workers.join_all().await;

    // What the ledger recorded, at every instant: (agent, given, over).
    let mut served: BTreeMap<AgentId, Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
    for n in 0..CONVERSATIONS {
        let conversation = desk.latest(&room(n)).await;
        let State::Resolved { at: over, .. } = conversation.state else { panic!("{conversation:?}") };
        for decided in desk.decisions(conversation.id).await {
            served.entry(decided.agent).or_default().push((decided.at, over));
        }
    }
    assert_eq!(served.values().map(Vec::len).sum::<usize>(), CONVERSATIONS);
    for (agent, mut spans) in served {
        spans.sort_unstable();
        for (n, (given, _)) in spans.iter().enumerate() {
            let in_window = spans[..=n].iter().filter(|(at, _)| *at + WINDOW > *given).count();
            assert!(in_window <= 5, "agent {agent} was given {in_window} within a window of {given}");
            let held = spans[..=n].iter().filter(|(at, over)| at <= given && over > given).count();
            assert!(held <= 3, "agent {agent} held {held} at {given}");
        }
    }
}

async fn a_team_is_served_by_its_members(desk: Desk) {
    desk.amend(|rules| drop(rules.teams.insert(BILLING, team(&[2])))).await;
    let to_billing = |n| update(&room(n), Update { team: Some(Some(BILLING)), ..Update::default() });
    desk.accept([allocate(&room(1)), allocate(&room(2)), allocate(&room(3)), to_billing(1), to_billing(2)])
        .await;

    let reserved = desk.reserve(&Crew::of(2).capacity(2)).await;

    let of = |n| reserved.iter().find(|one| one.room == room(n)).map(|one| one.agent);
    assert_eq!((of(1), of(2), of(3)), (Some(BUDI), Some(BUDI), Some(ANA)));
    assert_eq!(desk.latest(&room(1)).await.traits.team, Some(BILLING));
}

async fn a_conversation_moved_to_another_team_keeps_its_time(desk: Desk) {
    desk.amend(|rules| drop(rules.teams.insert(BILLING, team(&[1])))).await;
    let to_billing = |n| update(&room(n), Update { team: Some(Some(BILLING)), ..Update::default() });
    desk.accept([allocate(&room(1))]).await;
    desk.pass(SECOND).await;
    desk.accept([allocate(&room(2)), to_billing(2)]).await;
    desk.fold().await;
    desk.pass(SECOND).await;
    desk.accept([to_billing(1)]).await;

    assert_eq!(rooms_of(&desk.reserve(&Crew::of(1)).await), [room(1), room(2)]);
}

async fn queues_are_sorted_as_their_rules_say(desk: Desk) {
    for (order, expected) in [
        (Order::EarliestCreated, [1, 2, 3, 4]),
        (Order::LongestWaiting, [2, 3, 4, 1]),
        (Order::Priority, [3, 1, 2, 4]),
    ] {
        desk.amend(|rules| sort_sales(rules, order)).await;
        for n in 1..=4 {
            desk.accept([allocate(&room(n))]).await;
            desk.fold().await;
            desk.pass(SECOND).await;
        }
        desk.accept([allocate(&room(1)), prioritised(3, Priority::High), prioritised(2, Priority::Low)])
            .await;

        let reserved = desk.reserve(&Crew::of(4)).await;

        assert_eq!(rooms_of(&reserved), expected.map(room), "{order:?}");
        desk.confirm(&reserved).await;
        desk.accept((1..=4).map(|n| resolve(&room(n)))).await;
        desk.fold().await;
    }
}

async fn a_change_of_the_order_sorts_who_waits(desk: Desk) {
    for n in 1..=3 {
        desk.accept([allocate(&room(n))]).await;
        desk.fold().await;
        desk.pass(SECOND).await;
    }
    desk.accept([allocate(&room(1)), prioritised(2, Priority::Urgent), prioritised(3, Priority::Medium)])
        .await;
    desk.fold().await;
    let first = async |order| {
        desk.amend(|rules| sort_sales(rules, order)).await;
        let reserved = desk.decide(&Crew::of(1), 1).await.reserved;
        desk.release(&reserved, false).await;
        reserved[0].room.clone()
    };

    assert_eq!(first(Order::Priority).await, room(2));
    assert_eq!(first(Order::LongestWaiting).await, room(2));
    assert_eq!(first(Order::EarliestCreated).await, room(1));
    // A change of the configuration does the same.
    desk.amend(|rules| drop(rules.inboxes.remove(&SALES))).await;
    let mut crew = Crew::of(1);
    crew.policy.order = Order::Priority;
    assert_eq!(rooms_of(&desk.decide(&crew, 1).await.reserved), [room(2)]);
}

async fn ranks_are_those_of_the_core(desk: Desk) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let priorities =
        [None, Some(Priority::Low), Some(Priority::Medium), Some(Priority::High), Some(Priority::Urgent)];
    for n in 0..30 {
        let priority = Some(priorities[rng.random_range(0..priorities.len())]);
        let wrote_again: usize = rng.random_range(0..=n);
        desk.accept([allocate(&room(n)), update(&room(n), Update { priority, ..Update::default() })]).await;
        desk.pass(Duration::from_millis(rng.random_range(0..3_000))).await;
        desk.accept([allocate(&room(wrote_again))]).await;
    }
    desk.fold().await;
    for order in [Order::Priority, Order::LongestWaiting, Order::EarliestCreated] {
        let boost = PriorityBoost {
            low: rng.random_range(0..9),
            medium: rng.random_range(0..99),
            high: rng.random_range(0..9_999),
            urgent: u32::MAX,
        };
        desk.amend(|rules| {
            sort_sales(rules, order);
            rules.assignment_policies.get_mut(&NIGHT).unwrap().boost = boost;
        })
        .await;
        desk.fold().await;
        for n in 0..30 {
            let conversation = desk.latest(&room(n)).await;
            assert_eq!(
                conversation.rank,
                order::key(order, &boost, &conversation),
                "{order:?} {conversation:?}"
            );
        }
    }
}

/// Keeps conversations that carry `vip` from Ana.
pub(super) fn keep_vip_from_ana(rules: &mut Rulebook) {
    let label = sebastian_core::Label::parse("vip").unwrap();
    let policy = CapacityPolicy {
        name: "Juniors".into(),
        description: String::new(),
        inbox_limits: Vec::new(),
        total_limit: None,
        exclusion_rules: sebastian_core::rulebook::ExclusionRules {
            excluded_labels: [label].into(),
            exclude_older_than_hours: None,
        },
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    let id = sebastian_core::CapacityPolicyId(3);
    rules.capacity_policies.insert(id, policy);
    rules.agents.entry(ANA).or_default().capacity_policy = Some(id);
}

async fn an_excluded_conversation_holds_up_nobody_and_is_taken_up_when_the_rules_change(desk: Desk) {
    desk.amend(keep_vip_from_ana).await;
    desk.accept([allocate(&room(1)), labelled(1, &["VIP"]), allocate(&room(2))]).await;

    let decided = desk.decide(&Crew::of(1), 10).await;
    assert_eq!(rooms_of(&decided.reserved), [room(2)]);
    assert!(decided.more, "those behind the parked may not have been seen");
    assert_eq!(desk.counts().await.parked, 1);
    assert_eq!(desk.reserve(&Crew::of(1)).await, []);

    desk.amend(|rules| rules.capacity_policies.clear()).await;
    assert_eq!(rooms_of(&desk.reserve(&Crew::of(1)).await), [room(1)]);
}

async fn an_excluded_conversation_is_taken_up_when_its_labels_change(desk: Desk) {
    desk.amend(keep_vip_from_ana).await;
    desk.accept([allocate(&room(1)), labelled(1, &["vip"])]).await;
    assert_eq!(desk.reserve(&Crew::of(1)).await, []);
    assert_eq!(desk.counts().await.parked, 1);

    desk.accept([labelled(1, &["billing"])]).await;

    assert_eq!(rooms_of(&desk.reserve(&Crew::of(1)).await), [room(1)]);
}

async fn the_limit_of_a_round_counts_assignments(desk: Desk) {
    let manual = InboxRules { manual: true, ..InboxRules::default() };
    desk.amend(|rules| drop(rules.inboxes.insert(SUPPORT, manual.clone()))).await;
    desk.accept((0..40).map(|n| allocate_in(&room(n), Some(SUPPORT)))).await;
    desk.accept((40..45).map(|n| allocate(&room(n)))).await;

    let decided = desk.decide(&Crew::of(2), 3).await;

    assert_eq!(rooms_of(&decided.reserved), [40, 41, 42].map(room));
    assert!(decided.more);
}

async fn a_snoozed_conversation_frees_its_slot_and_takes_it_again(desk: Desk) {
    let crew = Crew::of(1).capacity(1);
    desk.accept([allocate(&room(1)), allocate(&room(2))]).await;
    desk.assign(&crew).await;
    let until = desk.now() + SECOND * 30;
    let snooze = Update { status: Some(Status::Snoozed), snoozed_until: Some(until), ..Update::default() };
    desk.accept([update(&room(1), snooze)]).await;

    assert_eq!(rooms_of(&desk.assign(&crew).await), [room(2)]);
    assert_eq!((desk.latest(&room(1)).await.slot_freed, desk.open_of(ANA).await), (true, 1));
    desk.pass(SECOND * 30).await;
    desk.fold().await;

    let awake = desk.latest(&room(1)).await;
    assert_eq!((awake.status, awake.snoozed_until, awake.slot_freed), (Status::Open, None, false));
    assert_eq!((awake.holder(), desk.open_of(ANA).await), (Some(ANA), 2));
    desk.accept([resolve(&room(1)), resolve(&room(2))]).await;
    desk.fold().await;
    assert_eq!(desk.open_of(ANA).await, 0);
}

async fn a_snoozed_conversation_waits_again_when_its_time_has_come(desk: Desk) {
    let until = desk.now() + SECOND * 30;
    let snooze = Update { status: Some(Status::Snoozed), snoozed_until: Some(until), ..Update::default() };
    let pending = Update { status: Some(Status::Pending), ..Update::default() };
    desk.accept([
        allocate(&room(1)),
        update(&room(1), snooze),
        allocate(&room(2)),
        update(&room(2), pending),
    ])
    .await;

    assert_eq!(desk.reserve(&Crew::of(1)).await, []);
    desk.pass(SECOND * 30).await;
    assert_eq!(rooms_of(&desk.reserve(&Crew::of(1)).await), [room(1)]);
    desk.accept([update(&room(2), Update { status: Some(Status::Open), ..Update::default() })]).await;

    assert_eq!(rooms_of(&desk.reserve(&Crew::of(1)).await), [room(2)]);
}

async fn a_conversation_put_off_while_the_platform_was_told_is_settled(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let reserved = desk.reserve(&Crew::of(1)).await;
    let pending = Update { status: Some(Status::Pending), ..Update::default() };
    desk.accept([update(&room(1), pending)]).await;
    desk.fold().await;

    assert_eq!(desk.store.confirm(desk.account, &[reserved[0].attempt]).await.unwrap(), []);
    desk.settle(reserved[0].attempt, sebastian_core::Verdict::Assigned).await;

    let assigned = desk.latest(&room(1)).await;
    assert!(assigned.is_assigned() && assigned.slot_freed, "{assigned:?}");
    assert_eq!(desk.open_of(ANA).await, 0);
}

async fn conversations_of_an_inbox_are_counted_where_a_limit_counts_them(desk: Desk) {
    let limited = InboxRules {
        overrides: Overrides { max_assignment_limit: Some(1), ..Overrides::default() },
        ..InboxRules::default()
    };
    desk.amend(|rules| drop(rules.inboxes.insert(SUPPORT, limited.clone()))).await;
    let mut crew = Crew::of(1);
    crew.agents[0].inboxes = Some(vec![SALES, SUPPORT]);
    desk.accept([1, 2].map(|n| allocate_in(&room(n), Some(SUPPORT)))).await;
    desk.assign(&crew).await;
    desk.accept([allocate(&room(3))]).await;

    assert_eq!(rooms_of(&desk.assign(&crew).await), [room(3)]);
    let facts = desk.store.facts(desk.account, desk.now(), &crew.policy).await.unwrap();
    let held = [((Some(SALES), ANA), 1), ((Some(SUPPORT), ANA), 1)];
    assert_eq!(facts.inbox_loads.into_iter().collect::<Vec<_>>(), held);
    desk.accept([resolve(&room(1))]).await;

    assert_eq!(rooms_of(&desk.assign(&crew).await), [room(2)]);
}

async fn a_stray_goes_back_to_its_place_and_is_taken_from_its_agent(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let id = desk.assign(&Crew::of(1)).await[0].attempt.conversation;
    desk.accept([allocate(&room(2))]).await;
    desk.fold().await;
    let put_back =
        async |strays: &[(ConversationId, AgentId, Astray)]| desk.store.put_back(desk.account, strays).await;

    assert_eq!(put_back(&[(id, BUDI, Astray::Gone)]).await.unwrap(), 0, "another's");
    assert_eq!(put_back(&[(id, ANA, Astray::Gone)]).await.unwrap(), 1);
    assert_eq!(put_back(&[(id, ANA, Astray::Gone)]).await.unwrap(), 0);
    assert_eq!(desk.open_of(ANA).await, 0);

    let reserved = desk.reserve(&Crew::of(2)).await;
    assert_eq!(rooms_of(&reserved), [room(1), room(2)]);
    assert_eq!(reserved.iter().map(|one| one.replaces).collect::<Vec<_>>(), [Some(ANA), None]);
    desk.pass(OVERDUE).await;
    let taken = desk.store.take_over(desk.account, 10).await.unwrap();
    let replaces = |room: RoomId| taken.iter().find(|one| one.room == room).unwrap().replaces;
    assert_eq!((replaces(room(1)), replaces(room(2))), (Some(ANA), None));
    desk.confirm(&taken).await;
    assert_eq!(desk.latest(&room(1)).await.replaces, None);
}

async fn a_clock_that_steps_back_changes_no_place_in_line(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    desk.fold().await;
    desk.step_back(SECOND * 5).await;
    desk.accept([allocate(&room(2)), allocate(&room(3))]).await;
    desk.fold().await;
    desk.pass(SECOND).await;
    desk.accept([allocate(&room(4))]).await;

    assert_eq!(rooms_of(&desk.reserve(&Crew::of(2)).await), [1, 2, 3, 4].map(room));
    let first = desk.latest(&room(1)).await;
    assert_eq!(desk.latest(&room(4)).await.opened_at, first.opened_at);
}

async fn facts_tell_what_decisions_go_by(desk: Desk) {
    let fair = |inbox: InboxId, rules: &mut Rulebook| {
        let rule = sebastian_core::FairDistribution { limit: 5, window: WINDOW };
        let overrides = Overrides { fair_distribution: Some(rule), ..Overrides::default() };
        rules.inboxes.insert(inbox, InboxRules { overrides, ..InboxRules::default() });
    };
    desk.amend(|rules| fair(SALES, rules)).await;
    let mut crew = Crew::of(1);
    crew.agents[0].inboxes = Some(vec![SALES, SUPPORT]);
    desk.accept([allocate(&room(1)), allocate_in(&room(2), Some(SUPPORT))]).await;
    let reserved = desk.assign(&crew).await;

    let facts = desk.store.facts(desk.account, desk.now(), &crew.policy).await.unwrap();

    assert_eq!(facts.loads, desk.store.loads(desk.account, desk.now()).await.unwrap());
    assert_eq!(facts.inbox_loads, BTreeMap::new(), "nothing is counted by inbox");
    let given: Vec<_> =
        facts.windows.iter().map(|(key, window)| (*key, window.iter().collect::<Vec<_>>())).collect();
    let id = reserved.iter().find(|one| one.room == room(1)).unwrap().attempt.conversation;
    assert_eq!(given, [((Some(SALES), ANA), vec![(desk.now(), id)])]);
    assert_eq!(facts.rules.version, 1);
}
