//! Subscriptions, and the letters written for them.

use std::time::Duration;

use sebastian_core::{Closed, ConversationId, Listing, Notice, NoticeKind, QueueKey, Seen, Verdict};
use sebastian_store::{
    Claim, DisabledReason, Fate, Letter, NewSubscription, Outbox, Subscription, SubscriptionChange,
    SubscriptionId, outbox::SUBSCRIPTIONS_MAX,
};

use super::on_every_ledger;
use crate::desk::*;

on_every_ledger! {
    a_subscription_is_kept_changed_and_deleted
    a_secret_rotated_leaves_the_old_one_for_a_while
    an_account_has_so_many_subscriptions_and_no_more
    an_event_is_written_for_each_subscription_that_wants_it
    assigned_refused_returned_and_taken_conversations_are_told_of
    a_reservation_that_fills_an_agent_is_told_of
    what_is_resolved_or_changes_nothing_is_not_told_of
    a_claim_is_one_couriers_until_its_lease_runs_out
    a_claim_that_ran_out_settles_nothing
    of_one_conversation_one_letter_is_out_at_a_time
    a_letter_put_off_holds_up_its_own_conversation_alone
    a_dead_letter_is_shown_and_can_be_sent_again
    a_disabled_subscription_is_sent_nothing_and_written_nothing
    letters_of_a_deleted_subscription_are_gone
    a_conversation_that_waits_too_long_is_told_of_once_whoever_looks
    a_queue_is_told_unattended_once_until_it_is_attended
    old_dead_letters_go_and_receivers_far_behind_are_disabled
    two_couriers_never_claim_the_same_letter
}

const LEASE: Duration = Duration::from_secs(60);
const ALL: &[NoticeKind] = &NoticeKind::ALL;

async fn subscribe(desk: &Desk, events: &[NoticeKind]) -> Subscription {
    let (url, secret) = ("https://desk.example/hook".to_owned(), "whsec_c2VjcmV0".into());
    let wanted = NewSubscription { url, events: events.iter().copied().collect(), secret };
    desk.outbox.subscribe(desk.account, wanted).await.unwrap().unwrap()
}

async fn claim(desk: &Desk, id: SubscriptionId) -> Vec<Letter> {
    desk.outbox.claim(desk.account, id, 100, LEASE).await.unwrap().map_or(vec![], |claimed| claimed.letters)
}

async fn settle(desk: &Desk, claim: &Claim, fate: Fate) -> bool {
    desk.outbox.settle_letter(desk.account, claim, fate).await.unwrap()
}

/// Takes everything there is for a subscription, in the order a receiver gets it.
async fn take(desk: &Desk, id: SubscriptionId) -> Vec<Notice> {
    let mut taken = Vec::new();
    loop {
        let letters = claim(desk, id).await;
        if letters.is_empty() {
            return taken;
        }
        for letter in letters {
            assert!(settle(desk, &letter.claim, Fate::Delivered).await);
            taken.push(letter.notice);
        }
    }
}

fn later(seconds: u64) -> Fate {
    Fate::Later { after: Duration::from_secs(seconds), trouble: "status 500".into() }
}

fn dead() -> Fate {
    Fate::Dead { trouble: "status 500".into() }
}

fn kinds(notices: &[Notice]) -> Vec<NoticeKind> {
    notices.iter().map(|notice| notice.kind).collect()
}

async fn a_subscription_is_kept_changed_and_deleted(desk: Desk) {
    let (outbox, account) = (&desk.outbox, desk.account);
    let made = subscribe(&desk, &[NoticeKind::Assigned]).await;
    let other = subscribe(&desk, ALL).await;
    assert_eq!((made.created_at, made.updated_at), (desk.now(), desk.now()));

    desk.pass(SECOND).await;
    let change = SubscriptionChange {
        url: Some("https://desk.example/other".into()),
        events: Some([NoticeKind::Released].into()),
        ..SubscriptionChange::default()
    };
    let changed = outbox.change_subscription(account, made.id, change.clone()).await.unwrap().unwrap();
    assert_eq!((changed.url.as_str(), changed.updated_at), ("https://desk.example/other", desk.now()));
    assert_eq!(changed.events, [NoticeKind::Released].into());
    assert_eq!(changed.created_at, made.created_at);
    let ids: Vec<SubscriptionId> =
        outbox.subscriptions(account).await.unwrap().iter().map(|one| one.id).collect();
    assert_eq!(ids, [made.id, other.id]);

    let stranger = desk.store.open_account("qiscus", "another").await.unwrap();
    assert!(outbox.subscription(stranger, made.id).await.unwrap().is_none());
    assert!(outbox.change_subscription(stranger, made.id, change).await.unwrap().is_none());
    assert!(!outbox.unsubscribe(stranger, made.id).await.unwrap());
    assert!(outbox.unsubscribe(account, made.id).await.unwrap());
    assert!(outbox.subscription(account, made.id).await.unwrap().is_none());
    assert!(!outbox.unsubscribe(account, made.id).await.unwrap());
}

async fn a_secret_rotated_leaves_the_old_one_for_a_while(desk: Desk) {
    use secrecy::ExposeSecret;
    let id = subscribe(&desk, ALL).await.id;
    let secret = Some(("whsec_bmV3".into(), SECOND * 60));
    let change = SubscriptionChange { secret, ..SubscriptionChange::default() };
    let rotated = desk.outbox.change_subscription(desk.account, id, change).await.unwrap().unwrap();

    let (previous, until) = rotated.previous.unwrap();
    assert_eq!((rotated.secret.expose_secret(), previous.expose_secret()), ("whsec_bmV3", "whsec_c2VjcmV0"));
    assert_eq!(until, desk.now() + SECOND * 60);
    assert!(!format!("{previous:?}").contains("c2VjcmV0"));
}

async fn an_account_has_so_many_subscriptions_and_no_more(desk: Desk) {
    for _ in 0..SUBSCRIPTIONS_MAX {
        subscribe(&desk, ALL).await;
    }
    let (url, secret) = ("https://desk.example/hook".to_owned(), "whsec_c2VjcmV0".into());
    let wanted = NewSubscription { url, events: ALL.iter().copied().collect(), secret };
    assert!(desk.outbox.subscribe(desk.account, wanted).await.unwrap().is_none());
}

async fn an_event_is_written_for_each_subscription_that_wants_it(desk: Desk) {
    let wants = subscribe(&desk, &[NoticeKind::Assigned]).await.id;
    let wants_too = subscribe(&desk, ALL).await.id;
    let other = subscribe(&desk, &[NoticeKind::Released]).await.id;
    let due = async || desk.outbox.due(desk.account).await.unwrap();
    assert_eq!(due().await, []);

    desk.accept([allocate(&room(1))]).await;
    let reserved = desk.reserve(&Crew::of(1)).await;
    desk.pass(SECOND * 2).await;
    desk.confirm(&reserved).await;
    desk.pass(SECOND).await;

    assert_eq!(due().await, [(wants, SECOND), (wants_too, SECOND)]);
    let (one, two) = (claim(&desk, wants).await, claim(&desk, wants_too).await);
    assert_ne!(one[0].claim.letter, two[0].claim.letter);
    assert_eq!(one[0].notice, two[0].notice);
    let expected = Notice {
        conversation: Some(reserved[0].attempt.conversation),
        room: Some(room(1)),
        agent: Some(ANA),
        inbox: Some(SALES),
        waited: Some(SECOND * 2),
        ..Notice::blank(NoticeKind::Assigned, one[0].notice.at)
    };
    assert_eq!(one[0].notice, expected);
    assert_eq!(expected.at + SECOND, desk.now());
    assert_eq!(claim(&desk, other).await, []);
}

async fn assigned_refused_returned_and_taken_conversations_are_told_of(desk: Desk) {
    let id = subscribe(&desk, &[NoticeKind::Assigned, NoticeKind::Released]).await.id;
    desk.accept([allocate(&room(1))]).await;
    // Nobody outside ever heard of this one.
    let reserved = desk.reserve(&Crew::of(1)).await;
    desk.release(&reserved, false).await;
    let reserved = desk.reserve(&Crew::of(1)).await;
    desk.release(&reserved, true).await;
    let reserved = desk.reserve(&Crew::of(2)).await;
    assert_eq!(desk.settle(reserved[0].attempt, Verdict::Assigned).await, sebastian_core::Settled::Applied);
    let conversation = reserved[0].attempt.conversation;

    // Somebody took a room we never heard of, and it went on to somebody else.
    desk.pass(SETTLED).await;
    let listing = |agent| Listing { agent, asked_at: desk.now(), rooms: vec![(room(2), Some(SALES))] };
    desk.store.adopt(desk.account, &listing(ANA)).await.unwrap();
    desk.store.transfer(desk.account, &room(2), ANA, BUDI).await.unwrap();
    // The agent was taken out of the room.
    desk.store.verified(desk.account, conversation, Seen::Waiting, desk.now()).await.unwrap();

    let notices = take(&desk, id).await;
    let of = |wanted: usize| -> Vec<_> {
        let found = notices.iter().filter(|notice| notice.room == Some(room(wanted)));
        found.map(|notice| (notice.kind, notice.agent, notice.previous_agent)).collect()
    };
    assert_eq!(
        of(1),
        [
            (NoticeKind::Released, Some(ANA), None),
            (NoticeKind::Assigned, Some(BUDI), None),
            (NoticeKind::Released, Some(BUDI), None),
        ]
    );
    assert_eq!(
        of(2),
        [(NoticeKind::Assigned, Some(ANA), None), (NoticeKind::Assigned, Some(BUDI), Some(ANA))]
    );
    let adopted = desk.latest(&room(2)).await.id;
    let named: Vec<Option<ConversationId>> =
        notices.iter().filter(|one| one.room == Some(room(2))).map(|one| one.conversation).collect();
    assert_eq!(named, [Some(adopted), Some(adopted)]);
}

async fn a_reservation_that_fills_an_agent_is_told_of(desk: Desk) {
    let id = subscribe(&desk, &[NoticeKind::CapacityReached]).await.id;
    let crew = Crew::of(1).capacity(2);
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&crew).await;
    assert_eq!(take(&desk, id).await, []);
    desk.accept([allocate(&room(2)), allocate(&room(3))]).await;
    desk.assign(&crew).await;

    let expected = |at| Notice {
        agent: Some(ANA),
        load: Some(2),
        capacity: Some(2),
        ..Notice::blank(NoticeKind::CapacityReached, at)
    };
    assert_eq!(take(&desk, id).await, [expected(desk.now())]);
    desk.reserve(&crew).await;
    assert_eq!(take(&desk, id).await, [], "still full");

    desk.accept([resolve(&room(1))]).await;
    desk.pass(SETTLED).await;
    desk.assign(&crew).await;
    assert_eq!(take(&desk, id).await, [expected(desk.now())], "filled again");
}

async fn what_is_resolved_or_changes_nothing_is_not_told_of(desk: Desk) {
    let id = subscribe(&desk, &[NoticeKind::Assigned, NoticeKind::Released]).await.id;
    desk.accept([allocate(&room(1)), allocate(&room(2))]).await;
    let reserved = desk.reserve(&Crew::of(1)).await;
    desk.settle(reserved[1].attempt, Verdict::Closed(Closed::RoomGone)).await;
    desk.confirm(&reserved[..1]).await;
    take(&desk, id).await;

    desk.accept([allocate(&room(1)), resolve(&room(1))]).await;
    desk.fold().await;
    let again = desk.store.confirm(desk.account, &[reserved[0].attempt]).await.unwrap();

    assert_eq!(again, []);
    assert_eq!(take(&desk, id).await, []);
}

async fn a_claim_is_one_couriers_until_its_lease_runs_out(desk: Desk) {
    let id = subscribe(&desk, &[NoticeKind::Assigned]).await.id;
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&Crew::of(1)).await;

    let first = claim(&desk, id).await;
    assert_eq!((first.len(), first[0].claim.attempt), (1, 1));
    desk.pass(LEASE - SECOND).await;
    assert_eq!(claim(&desk, id).await, []);
    assert_eq!(desk.outbox.due(desk.account).await.unwrap(), []);
    desk.pass(SECOND).await;
    let second = claim(&desk, id).await;
    assert_eq!((second[0].claim.attempt, &second[0].claim.letter), (2, &first[0].claim.letter));
}

async fn a_claim_that_ran_out_settles_nothing(desk: Desk) {
    let id = subscribe(&desk, &[NoticeKind::Assigned]).await.id;
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&Crew::of(1)).await;
    let first = claim(&desk, id).await;
    desk.pass(LEASE).await;
    let second = claim(&desk, id).await;

    for fate in [Fate::Delivered, later(1), dead()] {
        assert!(!settle(&desk, &first[0].claim, fate).await);
    }
    assert!(settle(&desk, &second[0].claim, Fate::Delivered).await);
    assert!(!settle(&desk, &second[0].claim, Fate::Delivered).await);
    let delivered_at = desk.outbox.subscription(desk.account, id).await.unwrap().unwrap().delivered_at;
    assert_eq!(delivered_at, Some(desk.now()));
}

/// `room-1` released twice, `room-2` once.
async fn three_releases(desk: &Desk, id: SubscriptionId) {
    desk.accept([allocate(&room(1)), allocate(&room(2))]).await;
    let reserved = desk.reserve(&Crew::of(2)).await;
    desk.release(&reserved, true).await;
    let reserved = desk.reserve(&Crew::of(2)).await;
    desk.release(&reserved[..1], true).await;
    assert_eq!(reserved[0].room, room(1));
    assert_eq!(desk.outbox.due(desk.account).await.unwrap(), [(id, Duration::ZERO)]);
}

async fn of_one_conversation_one_letter_is_out_at_a_time(desk: Desk) {
    let id = subscribe(&desk, &[NoticeKind::Released]).await.id;
    three_releases(&desk, id).await;

    let letters = claim(&desk, id).await;
    let rooms: Vec<_> = letters.iter().map(|letter| letter.notice.room.clone().unwrap()).collect();
    assert_eq!(rooms, [room(1), room(2)]);
    assert_eq!(claim(&desk, id).await, []);
    assert!(settle(&desk, &letters[0].claim, Fate::Delivered).await);
    let next = claim(&desk, id).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].notice.room, Some(room(1)));
}

async fn a_letter_put_off_holds_up_its_own_conversation_alone(desk: Desk) {
    let id = subscribe(&desk, &[NoticeKind::Released]).await.id;
    three_releases(&desk, id).await;
    let letters = claim(&desk, id).await;
    assert!(settle(&desk, &letters[0].claim, later(10)).await);
    assert!(settle(&desk, &letters[1].claim, Fate::Delivered).await);

    assert_eq!(desk.outbox.due(desk.account).await.unwrap(), [], "nothing is worth a look");
    desk.pass(SECOND * 9).await;
    assert_eq!(claim(&desk, id).await, []);
    desk.pass(SECOND).await;
    let again = claim(&desk, id).await;
    assert_eq!(again.len(), 1);
    assert_eq!((&again[0].claim.letter, again[0].claim.attempt), (&letters[0].claim.letter, 2));
    assert!(settle(&desk, &again[0].claim, dead()).await);
    assert_eq!(claim(&desk, id).await.len(), 1, "the dead hold up nobody");
}

async fn a_dead_letter_is_shown_and_can_be_sent_again(desk: Desk) {
    let (outbox, account) = (&desk.outbox, desk.account);
    let id = subscribe(&desk, &[NoticeKind::Assigned]).await.id;
    desk.accept((1..=3).map(|n| allocate(&room(n)))).await;
    desk.assign(&Crew::of(1)).await;
    let letters = claim(&desk, id).await;
    for letter in &letters {
        assert!(settle(&desk, &letter.claim, dead()).await);
    }

    let shown = outbox.dead_letters(account, id, None, 2).await.unwrap();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0].notice.room, Some(room(3)), "the newest first");
    assert_eq!((shown[0].attempts, shown[0].dead_at), (1, desk.now()));
    assert_eq!(shown[0].trouble.as_deref(), Some("status 500"));
    let rest = outbox.dead_letters(account, id, Some(&shown[1].id), 2).await.unwrap();
    assert_eq!(rest.iter().map(|one| one.notice.room.clone().unwrap()).collect::<Vec<_>>(), [room(1)]);

    for nothing in ["", "no-such-letter", "00000000-0000-0000-0000-000000000000"] {
        assert!(!outbox.redeliver(account, id, nothing).await.unwrap(), "{nothing}");
    }
    assert!(!outbox.redeliver(account, SubscriptionId(id.0 + 1), &shown[0].id).await.unwrap());
    assert!(outbox.redeliver(account, id, &shown[0].id).await.unwrap());
    assert!(!outbox.redeliver(account, id, &shown[0].id).await.unwrap(), "it lives already");
    let again = claim(&desk, id).await;
    assert_eq!(again.len(), 1);
    assert_eq!((&again[0].claim.letter, again[0].claim.attempt), (&shown[0].id, 1));
}

async fn a_disabled_subscription_is_sent_nothing_and_written_nothing(desk: Desk) {
    let (outbox, account) = (&desk.outbox, desk.account);
    let id = subscribe(&desk, &[NoticeKind::Assigned]).await.id;
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&Crew::of(1)).await;
    outbox.disable(account, id, DisabledReason::Gone).await.unwrap();
    desk.accept([allocate(&room(2))]).await;
    desk.assign(&Crew::of(1)).await;

    assert!(outbox.claim(account, id, 10, LEASE).await.unwrap().is_none());
    assert_eq!(outbox.due(account).await.unwrap(), []);
    let dead = outbox.dead_letters(account, id, None, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].trouble.as_deref(), Some("disabled: gone"));
    let disabled = outbox.subscription(account, id).await.unwrap().unwrap().disabled;
    assert_eq!(disabled, Some(DisabledReason::Gone));

    let enable = |enabled| SubscriptionChange { enabled: Some(enabled), ..SubscriptionChange::default() };
    let changed = outbox.change_subscription(account, id, enable(true)).await.unwrap().unwrap();
    assert_eq!(changed.disabled, None);
    desk.accept([allocate(&room(3))]).await;
    desk.assign(&Crew::of(1)).await;
    assert_eq!(take(&desk, id).await[0].room, Some(room(3)));
    let changed = outbox.change_subscription(account, id, enable(false)).await.unwrap().unwrap();
    assert_eq!(changed.disabled, Some(DisabledReason::Operator));
}

async fn letters_of_a_deleted_subscription_are_gone(desk: Desk) {
    let id = subscribe(&desk, &[NoticeKind::Assigned]).await.id;
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&Crew::of(1)).await;
    let letters = claim(&desk, id).await;
    assert!(desk.outbox.unsubscribe(desk.account, id).await.unwrap());

    assert!(desk.outbox.claim(desk.account, id, 10, LEASE).await.unwrap().is_none());
    assert!(!settle(&desk, &letters[0].claim, Fate::Delivered).await);
}

async fn a_conversation_that_waits_too_long_is_told_of_once_whoever_looks(desk: Desk) {
    let tell = async |limit| desk.outbox.tell_waiting(desk.account, SECOND * 300, limit).await.unwrap();
    desk.accept((1..=3).map(|n| allocate(&room(n)))).await;
    desk.fold().await;
    desk.pass(SECOND * 300).await;
    assert_eq!(tell(10).await, 0, "nobody wants to be told");
    let id = subscribe(&desk, &[NoticeKind::WaitingTooLong]).await.id;
    desk.accept([allocate(&room(4))]).await;
    desk.reserve(&Crew::of(1).capacity(1)).await;

    assert_eq!((tell(1).await, tell(10).await, tell(10).await), (1, 1, 0));
    let oldest = desk.counts().await.oldest_waiting_at;
    assert_eq!(oldest, Some(desk.now() - SECOND * 300), "whoever was told of waits on");
    let notices = take(&desk, id).await;
    let rooms: Vec<_> = notices.iter().map(|notice| notice.room.clone().unwrap()).collect();
    assert_eq!(rooms, [room(2), room(3)], "room-1 is reserved and room-4 is young");
    assert_eq!(notices[0].waited, Some(SECOND * 300));
    assert_eq!(notices[0].inbox, Some(SALES));
    assert!(notices[0].conversation.is_some());
    desk.pass(SECOND * 300).await;
    assert_eq!(tell(10).await, 1);
    assert_eq!(take(&desk, id).await[0].room, Some(room(4)));
}

async fn a_queue_is_told_unattended_once_until_it_is_attended(desk: Desk) {
    let queue = QueueKey { inbox: Some(SALES), team: None };
    let note = async |unattended| desk.outbox.note_attendance(desk.account, queue, unattended).await.unwrap();
    let queues = async || desk.outbox.queues(desk.account).await.unwrap();
    desk.accept([allocate(&room(1))]).await;
    desk.fold().await;
    assert_eq!(queues().await, [], "nobody wants to be told");
    let id = subscribe(&desk, &[NoticeKind::NoAgents]).await.id;
    let found = queues().await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].queue, found[0].waiting, found[0].unattended), (queue, true, false));

    assert!(!note(false).await);
    assert!(note(true).await && !note(true).await);
    let notices = take(&desk, id).await;
    assert_eq!(notices, [Notice { inbox: Some(SALES), ..Notice::blank(NoticeKind::NoAgents, desk.now()) }]);

    desk.accept([resolve(&room(1))]).await;
    desk.fold().await;
    let found = queues().await;
    assert_eq!(
        (found.len(), found[0].waiting, found[0].unattended),
        (1, false, true),
        "still to be attended"
    );
    assert!(note(false).await && !note(false).await);
    assert_eq!(queues().await, []);
    assert!(note(true).await);
    assert_eq!(kinds(&take(&desk, id).await), [NoticeKind::NoAgents]);
}

async fn old_dead_letters_go_and_receivers_far_behind_are_disabled(desk: Desk) {
    let (outbox, account) = (&desk.outbox, desk.account);
    let id = subscribe(&desk, &[NoticeKind::Assigned]).await.id;
    desk.accept((1..=3).map(|n| allocate(&room(n)))).await;
    desk.assign(&Crew::of(1)).await;
    let letters = claim(&desk, id).await;
    assert!(settle(&desk, &letters[0].claim, dead()).await);
    let dead_letters = async || outbox.dead_letters(account, id, None, 10).await.unwrap().len();

    desk.pass(SECOND * 60).await;
    assert_eq!(outbox.tidy(account, SECOND * 60, 2).await.unwrap(), []);
    assert_eq!(dead_letters().await, 1);
    desk.pass(SECOND).await;
    assert_eq!(outbox.tidy(account, SECOND * 60, 2).await.unwrap(), []);
    assert_eq!(dead_letters().await, 0);

    assert_eq!(outbox.tidy(account, SECOND * 60, 1).await.unwrap(), [id]);
    assert_eq!(dead_letters().await, 2);
    let disabled = outbox.subscription(account, id).await.unwrap().unwrap().disabled;
    assert_eq!(disabled, Some(DisabledReason::Behind));
}

async fn two_couriers_never_claim_the_same_letter(desk: Desk) {
    let id = subscribe(&desk, &[NoticeKind::Assigned]).await.id;
    desk.accept((0..60).map(|n| allocate(&room(n)))).await;
    desk.assign(&Crew::of(20)).await;
    let claiming = (0..8).map(|_| {
        let (outbox, account) = (desk.outbox.clone(), desk.account);
        tokio::spawn(async move { claim_all(&*outbox, account, id).await })
    });
    let claiming: Vec<_> = claiming.collect();

    let mut letters = Vec::new();
    for claimed in claiming {
        letters.extend(claimed.await.unwrap());
    }
    let all = letters.len();
    letters.sort();
    letters.dedup();
    assert_eq!((all, letters.len()), (60, 60));
}

async fn claim_all(
    outbox: &dyn Outbox,
    account: sebastian_core::AccountId,
    id: SubscriptionId,
) -> Vec<String> {
    let mut letters = Vec::new();
    // What somebody else is claiming at this moment is passed over, so an empty claim may be followed by another.
    for _ in 0..40 {
        let claimed = outbox.claim(account, id, 5, LEASE).await.unwrap().unwrap();
        letters.extend(claimed.letters.into_iter().map(|letter| letter.claim.letter));
    }
    letters
}
