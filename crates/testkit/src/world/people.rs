//! People: customers who write, agents who come, go, serve and meddle, operators who change rules. And the ingest that
//! takes what the platform tells of them.

use std::time::Duration;

use sebastian_core::{
    AgentId, CapacityPolicyId, EventKind, FairDistribution, Hints, Label, LatestService, LeaveId, NewEvent,
    Priority, Rulebook, ServiceId, Source, Status, Strategy, Timestamp, Update,
    rulebook::{CapacityPolicy, Day, ExclusionRules, Leave, LeaveStatus, Paused},
};
use sebastian_store::{AuditEntry, Store};

use super::{Event, World, history::Whose, now, plan::Bug, platform::Ms};

/// A sender whose webhook is refused tries again this often.
const TRIES_MAX: u32 = 4;

impl World {
    pub(super) fn customer(&mut self) {
        if self.is_calm {
            return self.after(self.lull(), Event::Customer);
        }
        let next = self.dice.around(self.plan.arrival);
        self.after(next, Event::Customer);
        let room = self.dice.index(self.platform.rooms.len());
        let latest = self.platform.rooms[room].last_resolved();
        if !self.platform.write(room, self.now) {
            return;
        }
        if self.dice.one_in(60) {
            self.fault("room that refuses everybody");
            self.platform.poison(room);
        }
        self.watch.figures.sessions += 1;
        self.note(Whose::Room(room), "customer writes", 0);
        self.send_allocate(room, latest);
        let again = self.dice.around(90_000);
        self.after(again, Event::Nag(room));
    }

    pub(super) fn nag(&mut self, room: usize) {
        let waits = self.platform.rooms[room].session().is_some_and(|session| session.agent.is_none());
        if !waits {
            return;
        }
        if self.is_calm {
            return self.after(self.lull(), Event::Nag(room));
        }
        let latest = self.platform.rooms[room].last_resolved();
        self.send_allocate(room, latest);
        let again = self.dice.around(180_000);
        self.after(again, Event::Nag(room));
    }

    fn send_allocate(&mut self, room: usize, latest: Option<u64>) {
        let latest_service = latest.map(|id| LatestService { id: service(id), resolved: true });
        let inbox = Some(self.platform.rooms[room].inbox);
        self.send(room, EventKind::Allocate { inbox, latest_service, hints: Hints::default() });
    }

    /// A webhook on its way: perhaps doubled, late, or lost.
    fn send(&mut self, room: usize, kind: EventKind) {
        let session = self.platform.rooms[room].sessions.last().map_or(0, |session| session.service);
        if !self.is_calm && self.dice.one_in(self.plan.lost) {
            self.fault("webhook lost");
            return self.note(Whose::Room(room), "webhook lost", 0);
        }
        let mut span = self.latency();
        if self.dice.one_in(self.plan.disturbed) {
            self.fault("webhook late, behind those after it");
            span += self.dice.around(20_000);
        }
        if self.dice.one_in(self.plan.disturbed) {
            self.fault("webhook doubled");
            let copy = self.dice.around(60_000);
            self.deliver_in(copy, room, session, kind.clone(), 0);
        }
        self.deliver_in(span, room, session, kind, 0);
    }

    /// Delays are faults: none outlasts the last of them.
    fn deliver_in(&mut self, span: Ms, room: usize, session: u64, kind: EventKind, tries: u32) {
        let left = self.calm_at.saturating_sub(self.now) + 500;
        self.after(span.min(left), Event::Deliver(room, session, kind, tries));
    }

    /// The ingest answers a webhook.
    pub(super) fn deliver(&mut self, room: usize, session: u64, mut kind: EventKind, tries: u32) {
        if self.bug == Some(Bug::NamelessResolves)
            && let EventKind::Resolve { service } = &mut kind
        {
            *service = None;
        }
        let is_down = self.ledger_is_down();
        if is_down && self.bug != Some(Bug::SwallowedRetry) {
            // 503: the sender tries again, a few times.
            self.fault("webhook answered by a 503");
            if tries < TRIES_MAX {
                let span = self.dice.around(5_000);
                self.deliver_in(span, room, session, kind, tries + 1);
            }
            return;
        }
        let is_allocate = matches!(kind, EventKind::Allocate { .. });
        let event = NewEvent { room: self.platform.rooms[room].id.clone(), kind, source: Source::Webhook };
        if !is_down {
            self.accept(std::slice::from_ref(&event));
        }
        // The commit went through, its answer was lost, and the sender tries again.
        if !self.is_calm && self.dice.one_in(100) && tries < TRIES_MAX {
            self.fault("webhook repeated: its answer was lost");
            return self.deliver_in(1_000, room, session, event.kind, tries + 1);
        }
        let now = self.now;
        let opened = self.platform.rooms[room].sessions.last_mut();
        if let Some(opened) = opened.filter(|opened| is_allocate && opened.service == session) {
            opened.accepted_at = opened.accepted_at.or(Some(now));
        }
    }

    pub(super) fn accept(&mut self, events: &[NewEvent]) {
        now(self.store.accept(self.account, events)).expect("the ledger in memory never fails");
        self.watch.accepted(events);
        self.ring();
    }

    /// Somebody serves the room from now on, and will be done some time.
    pub(super) fn will_finish(&mut self, room: usize) {
        let Some(session) = self.platform.rooms[room].session() else { return };
        let service = session.service;
        let span = self.dice.around(self.plan.service);
        self.after(span, Event::Finish(room, service));
    }

    pub(super) fn finish(&mut self, room: usize, service: u64) {
        let session = self.platform.rooms[room].session();
        let is_served = session.is_some_and(|one| one.service == service && one.agent.is_some());
        if !is_served {
            return;
        }
        if self.is_calm {
            return self.after(self.lull(), Event::Finish(room, service));
        }
        self.resolve(room);
    }

    fn resolve(&mut self, room: usize) {
        let Some(session) = self.platform.rooms[room].session() else { return };
        let named = Some(self::service(session.service));
        self.note(Whose::Room(room), "resolved", 0);
        self.platform.resolve(room, self.now);
        self.send(room, EventKind::Resolve { service: named });
    }

    /// Somebody takes, moves, gives back or resolves a room in the dashboard.
    pub(super) fn meddle(&mut self) {
        if self.is_calm {
            return self.after(self.lull(), Event::Meddle);
        }
        let next = self.dice.around(900_000);
        self.after(next, Event::Meddle);
        let open = |room: &usize| self.platform.rooms[*room].session().is_some();
        let rooms: Vec<usize> = (0..self.platform.rooms.len()).filter(open).collect();
        if rooms.is_empty() {
            return;
        }
        let room = self.dice.pick(&rooms);
        let people: Vec<AgentId> = self.platform.people.iter().map(|person| person.id).collect();
        let agent = self.dice.pick(&people);
        if self.dice.one_in(5) {
            self.fault("room resolved by hand, served or not");
            return self.resolve(room);
        }
        let served = self.platform.rooms[room].session().and_then(|session| session.agent);

        let to = if served.is_some() && self.dice.one_in(3) { None } else { Some(agent) };
        let (what, fault) = match to {
            Some(_) => ("given by hand to", "room given or moved by hand"),
            None => ("taken by hand from", "agent taken out of a room by hand"),
        };
        self.note(Whose::Room(room), what, to.or(served).map_or(0, |agent| agent.0));
        self.fault(fault);
        self.platform.meddle(room, to, self.now);
        if to.is_some() {
            self.will_finish(room);
        } else if let Some(session) = self.platform.rooms[room].sessions.last_mut() {
            // It waits again, and nobody told us yet.
            session.accepted_at = None;
            self.after(30_000, Event::Nag(room));
        }
    }

    pub(super) fn presence(&mut self) {
        if self.is_calm {
            return self.after(self.lull(), Event::Presence);
        }
        let next = self.dice.around(400_000);
        self.after(next, Event::Presence);
        let nth = self.dice.index(self.platform.people.len());
        let away = self.platform.people.iter().filter(|person| !person.is_online).count();
        let person = &mut self.platform.people[nth];
        // Mostly somebody is there.
        person.is_online = !person.is_online || away * 2 > self.plan.agents;
        let (id, is_online) = (person.id, i64::from(person.is_online));
        self.note(Whose::Agent(id), "online", is_online);
    }

    pub(super) fn operate(&mut self) {
        if self.is_calm {
            return self.after(self.lull(), Event::Operate);
        }
        let next = self.dice.around(600_000);
        self.after(next, Event::Operate);
        if self.ledger_is_down() {
            return;
        }
        match self.dice.between(0, 12) {
            0..=3 => self.change_conversation(),
            4..=6 => self.lift_every_rule(),
            _ => self.change_rule(),
        }
    }

    fn change_rule(&mut self) {
        let (what, minutes) = (self.dice.between(0, 9), self.dice.between(1, 6));
        let agent = AgentId(1 + i64::try_from(self.dice.index(self.plan.agents)).unwrap_or(0));
        let inbox =
            sebastian_core::InboxId(1 + i64::try_from(self.dice.index(self.plan.inboxes)).unwrap_or(0));
        let capacity = u32::try_from(self.dice.between(0, 4)).unwrap_or(0);
        let strategy = self.dice.pick(&[Strategy::Balanced, Strategy::RoundRobin, Strategy::LongestIdle]);
        let (coin, fair) = (self.dice.one_in(2), self.plan.policy.fair_distribution);

        let words = RULES[usize::try_from(what).unwrap_or(0)];
        self.note(Whose::World, words, agent.0);
        self.fault(words);
        self.amend(|rules, now| {
            let paused =
                Paused { since: now, until: Some(now + Duration::from_secs(60 * minutes)), reason: None };
            match what {
                0 => rules.paused = Some(paused),
                1 => rules.agents.entry(agent).or_default().paused = Some(paused),
                2 => rules.agents.entry(agent).or_default().capacity = coin.then_some(capacity),
                3 => rules.inboxes.entry(inbox).or_default().paused = Some(paused),
                4 => rules.inboxes.entry(inbox).or_default().overrides.strategy = coin.then_some(strategy),
                5 => {
                    let id = rules.agents.entry(agent).or_default();
                    id.capacity_policy = coin.then_some(CapacityPolicyId(1));
                    rules.capacity_policies.insert(CapacityPolicyId(1), capacity_policy(capacity, now));
                }
                6 => drop(rules.leaves.insert(LeaveId(1), leave(agent, coin, now))),
                7 => rules.inboxes.entry(inbox).or_default().manual = coin,
                _ => {
                    let limit = 1 + capacity;
                    let other = fair.map(|rule| FairDistribution { limit, ..rule }).filter(|_| coin);
                    rules.inboxes.entry(inbox).or_default().overrides.fair_distribution = other;
                }
            }
        });
        self.stir();
    }

    fn amend(&mut self, mut change: impl FnMut(&mut Rulebook, Timestamp) + Send) {
        let mut amend = |rules: &mut Rulebook, now: Timestamp| {
            change(rules, now);
            let (action, resource, id) = ("update", "rules", String::new());
            vec![AuditEntry { action, resource, id, before: None, after: None }]
        };
        now(self.store.amend(self.account, "operator", &mut amend))
            .expect("the ledger in memory never fails");
    }

    /// Everything the operators set is taken back, and everybody is there.
    pub(super) fn lift_every_rule(&mut self) {
        self.amend(|rules, _| {
            rules.paused = None;
            rules.agents.values_mut().for_each(|agent| agent.paused = None);
            rules.inboxes.values_mut().for_each(|inbox| (inbox.paused, inbox.manual) = (None, false));
            rules.agents.values_mut().for_each(|agent| agent.capacity_policy = None);
            rules.leaves.clear();
            rules
                .agents
                .values_mut()
                .for_each(|agent| agent.capacity = agent.capacity.filter(|most| *most > 0));
        });
        self.note(Whose::World, "every rule lifted", 0);
        self.stir();
    }

    /// Puts a conversation off, takes it up, takes its agent away, or says how pressing it is.
    fn change_conversation(&mut self) {
        let open = |room: &usize| self.platform.rooms[*room].session().is_some();
        let rooms: Vec<usize> = (0..self.platform.rooms.len()).filter(open).collect();
        if rooms.is_empty() {
            return;
        }
        let room = self.dice.pick(&rooms);
        let priority =
            self.dice.pick(&[None, Some(Priority::Low), Some(Priority::High), Some(Priority::Urgent)]);
        let minutes = self.dice.between(1, 10);
        let until = self.time(self.now) + Duration::from_secs(60 * minutes);
        let update = match self.dice.between(0, 5) {
            4 => Update { retry: true, ..Update::default() },
            0 => Update { status: Some(Status::Snoozed), snoozed_until: Some(until), ..Update::default() },
            1 => Update { unassign: true, ..Update::default() },
            2 => {
                let labels = [vip()].into_iter().filter(|_| self.dice.one_in(2));
                Update { labels: Some(labels.collect()), ..Update::default() }
            }
            _ => Update { priority: Some(priority), ..Update::default() },
        };
        self.fault("conversation put off, labelled, ranked, given back or tried again by an operator");
        self.note(
            Whose::Room(room),
            "changed by an operator, and its agent taken away",
            i64::from(update.unassign),
        );
        if update.unassign {
            self.platform.new_era(room);
        }
        let event = NewEvent {
            room: self.platform.rooms[room].id.clone(),
            kind: EventKind::Update(update),
            source: Source::Operator,
        };
        self.accept(&[event]);
    }
}

/// What operators change, in the order of the dice.
const RULES: [&str; 9] = [
    "account paused by an operator",
    "agent paused by an operator",
    "capacity of an agent changed",
    "inbox paused by an operator",
    "strategy of an inbox changed",
    "capacity policy of an agent changed",
    "leave of an agent changed",
    "automatic assignment of an inbox switched",
    "fair distribution of an inbox changed",
];

/// The label that a capacity policy of the world excludes.
pub(super) fn vip() -> Label {
    Label::parse("vip").expect("a short word is a label")
}

fn capacity_policy(total: u32, now: Timestamp) -> CapacityPolicy {
    CapacityPolicy {
        name: "plain chats".to_owned(),
        description: String::new(),
        inbox_limits: Vec::new(),
        total_limit: Some(total),
        exclusion_rules: ExclusionRules { excluded_labels: vec![vip()], exclude_older_than_hours: None },
        created_at: now,
        updated_at: now,
    }
}

/// Today, for whom it is granted.
fn leave(agent: AgentId, is_granted: bool, now: Timestamp) -> Leave {
    let today = Day(i32::try_from(now.as_millis() / 86_400_000).unwrap_or(0));
    Leave {
        agent,
        start: today,
        end: today,
        utc_offset_minutes: 0,
        kind: "sick".to_owned(),
        reason: None,
        status: if is_granted { LeaveStatus::Approved } else { LeaveStatus::Pending },
        approved_at: is_granted.then_some(now),
        created_at: now,
        updated_at: now,
    }
}

fn service(id: u64) -> ServiceId {
    ServiceId::parse(&id.to_string()).expect("a number is an id")
}
