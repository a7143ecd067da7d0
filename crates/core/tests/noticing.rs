//! What subscribers are told of: whose state changed, who is full, which queue nobody serves.

use std::{collections::BTreeSet, sync::Arc};

use sebastian_core::{
    Agent, AgentId, Attendance, Conversation, ConversationId, InboxId, NoticeKind, Origin, Policy, Presence,
    QueueKey, Role, RoomId, Rooms, Roster, Rulebook, Seq, State, TeamId, Timestamp, Timing,
    notice::attendance,
    rulebook::{Paused, Team},
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SALES: InboxId = InboxId(7);

fn agent(id: i64) -> Agent {
    Agent {
        id: AgentId(id),
        name: String::new(),
        role: Role::Agent,
        presence: Presence::Online,
        forced_offline: false,
        inboxes: Some(vec![SALES]),
        reported_load: Some(0),
        listed: false,
        online_since: None,
    }
}

fn attended(agents: Vec<Agent>, rules: Rulebook, team: Option<TeamId>) -> Attendance {
    let queue = QueueKey { inbox: Some(SALES), team };
    attendance(queue, &Arc::new(Roster::new(1, NOW, agents)), &Arc::new(rules), &Policy::default(), NOW)
}

fn with(change: impl FnOnce(&mut Agent)) -> Vec<Agent> {
    let mut changed = agent(1);
    change(&mut changed);
    vec![changed]
}

#[test]
fn a_queue_is_attended_by_whoever_may_serve_it_however_much_they_hold() {
    let none = Rulebook::default;
    for (agents, expected) in [
        (vec![agent(1)], Attendance::Attended),
        (with(|agent| agent.reported_load = Some(99)), Attendance::Attended),
        (with(|agent| agent.reported_load = None), Attendance::Attended),
        (vec![], Attendance::Unattended),
        (with(|agent| agent.presence = Presence::Offline), Attendance::Unattended),
        (with(|agent| agent.forced_offline = true), Attendance::Unattended),
        (with(|agent| agent.role = Role::Admin), Attendance::Unattended),
        (with(|agent| agent.inboxes = Some(vec![])), Attendance::Unattended),
        (with(|agent| agent.inboxes = None), Attendance::Unknown),
    ] {
        assert_eq!(attended(agents.clone(), none(), None), expected, "{agents:?}");
    }
}

#[test]
fn nothing_is_said_of_a_queue_that_is_not_dealt_or_of_a_roster_that_is_old() {
    let paused = Some(Paused { since: NOW, until: None, reason: None });
    assert_eq!(attended(vec![], Rulebook { paused, ..Rulebook::default() }, None), Attendance::Unknown);

    let later = NOW + Policy::default().staleness_max + std::time::Duration::from_millis(1);
    let (roster, rules) = (Arc::new(Roster::new(1, NOW, vec![])), Arc::default());
    let queue = QueueKey { inbox: Some(SALES), team: None };
    assert_eq!(attendance(queue, &roster, &rules, &Policy::default(), later), Attendance::Unknown);
}

#[test]
fn a_teams_queue_is_attended_by_its_members_alone() {
    let team = |members: &[i64]| {
        let team = Team {
            name: "Sales".into(),
            description: String::new(),
            allow_auto_assign: true,
            capacity: None,
            members: members.iter().copied().map(AgentId).collect::<BTreeSet<_>>(),
            created_at: NOW,
            updated_at: NOW,
        };
        Rulebook { teams: [(TeamId(3), team)].into(), ..Rulebook::default() }
    };
    assert_eq!(attended(vec![agent(1)], team(&[1]), Some(TeamId(3))), Attendance::Attended);
    assert_eq!(attended(vec![agent(1)], team(&[2]), Some(TeamId(3))), Attendance::Unattended);
}

#[test]
fn a_transfer_names_who_had_it_and_a_conversation_found_assigned_is_not_numbered_yet() {
    let state = State::Assigned { agent: AgentId(1), at: NOW };
    let room = |name| RoomId::parse(name).unwrap();
    let known = Conversation {
        id: ConversationId(4),
        inbox: Some(SALES),
        opened_at: NOW,
        ..Conversation::blank(room("a"), Seq(1), Origin::Event, state)
    };
    let mut rooms = Rooms::new(NOW, Timing::default(), vec![known], []);
    assert!(rooms.transfer(&room("a"), AgentId(1), AgentId(2)));
    let listing =
        sebastian_core::Listing { agent: AgentId(3), asked_at: NOW, rooms: vec![(room("b"), None)] };
    rooms.adopt(&listing, &Default::default());

    let told: Vec<_> = rooms
        .finish()
        .notices
        .into_iter()
        .map(|notice| (notice.kind, notice.conversation, notice.agent, notice.previous_agent))
        .collect();
    assert_eq!(
        told,
        [
            (NoticeKind::Assigned, Some(ConversationId(4)), Some(AgentId(2)), Some(AgentId(1))),
            (NoticeKind::Assigned, None, Some(AgentId(3)), None),
        ]
    );
}

#[test]
fn every_kind_is_known_by_its_name() {
    for kind in NoticeKind::ALL {
        assert_eq!(NoticeKind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(NoticeKind::parse("conversation.resolved"), None);
}
