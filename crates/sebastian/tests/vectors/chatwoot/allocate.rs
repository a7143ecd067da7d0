//! Bulk runs.

use std::collections::BTreeSet;

use sebastian_core::{AgentId, NoticeKind, Policy, PolicyId, QueueKey, QueueRules};
use sebastian_store::{Fate, NewSubscription, Outbox, SubscriptionId};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    format::{self, Expect, Step, number, read},
    world::{self, World, room},
};
use crate::{
    desk::{self, Run},
    report::{Problems, expect},
};

/// Plays a row of kind `allocate`.
pub fn play(row: &Value, policy: &Policy) -> Result<Problems, String> {
    let given: format::Given = read(&row["given"])?;
    let members: Vec<AgentId> =
        given.agents.iter().filter(|one| one.inbox_member).map(|one| AgentId(one.id)).collect();
    let steps: Vec<Step> = read(&row["steps"])?;
    let added = steps.iter().filter_map(|step| match step {
        Step::AddConversations { conversations } => Some(conversations),
        _ => None,
    });
    let later: Vec<format::Conversation> = added.flatten().cloned().collect();
    let mut game = Game { world: World::new(given, &later, policy)?, members, problems: Problems::new() };
    let subscription = game.subscribe();
    for (index, step) in steps.into_iter().enumerate() {
        game.step(step, index, subscription)?;
    }
    Ok(game.problems)
}

struct Game {
    world: World,
    members: Vec<AgentId>,
    problems: Problems,
}

impl Game {
    fn subscribe(&self) -> SubscriptionId {
        let wanted = NewSubscription {
            url: "https://receiver.example".to_owned(),
            events: BTreeSet::from([NoticeKind::Assigned]),
            secret: SecretString::from("whsec_dmVjdG9ycw=="),
        };
        let desk = &self.world.desk;
        desk::now(desk.store.subscribe(desk.account, wanted)).expect("there is room for one").id
    }

    fn step(&mut self, step: Step, index: usize, subscription: SubscriptionId) -> Result<(), String> {
        let world = &mut self.world;
        match step {
            Step::Run { limit, expect } => {
                self.events(subscription);
                let run = self.world.desk.run(limit);
                let before = self.problems.len();
                self.judge(&run, &expect, subscription)?;
                for problem in &mut self.problems[before..] {
                    problem.insert_str(0, &format!("step {}: ", index + 1));
                }
            }
            Step::SetPresence { agent_id, presence } => {
                let agent = world.desk.agents.get_mut(&AgentId(agent_id));
                agent.ok_or_else(|| format!("no agent {agent_id}"))?.presence = world::presence(&presence);
            }
            Step::AddConversations { conversations } => world.add(&conversations)?,
            Step::Advance { seconds } => {
                let span = std::time::Duration::from_secs(seconds);
                world.desk.set_time(world.desk.time() + span);
            }
            Step::SetStatus { conversation_id, status } => world.set_status(conversation_id, &status)?,
            Step::SetAssignee { conversation_id, assignee_id } => {
                world.set_assignee(conversation_id, assignee_id)?;
            }
            Step::ResolveSome { agent_id, count } => {
                let open: Vec<i64> = world.with_status("open").collect();
                let theirs = open.into_iter().filter(|id| world.assignee(*id) == Some(AgentId(agent_id)));
                for id in theirs.take(count).collect::<Vec<_>>() {
                    world.set_status(id, "resolved")?;
                }
            }
        }
        Ok(())
    }

    fn judge(&mut self, run: &Run, wanted: &Expect, subscription: SubscriptionId) -> Result<(), String> {
        let events = self.events(subscription);
        let (world, problems) = (&self.world, &mut self.problems);
        let given: BTreeSet<i64> =
            run.given.iter().filter_map(|(room, _)| world::conversation(room)).collect();
        let unassigned =
            || world.with_status("open").filter(|id| world.desk.serves(&room(*id)).is_none()).count();
        if let Some(count) = &wanted.assigned_count {
            expect(problems, "assigned_count", count, &run.given.len());
        }
        for (id, assignee) in &wanted.assignees {
            let found = world.assignee(number(id)?).map(|agent| agent.0);
            expect(problems, &format!("assignee of {id}"), assignee, &found);
        }
        for (id, some) in &wanted.assignee_in {
            let found = world.assignee(number(id)?);
            if !found.is_some_and(|agent| some.contains(&agent.0)) {
                problems.push(format!("assignee of {id}: expected one of {some:?}, found {found:?}"));
            }
        }
        for (id, bot) in &wanted.ai_assignees {
            let found = world.ai_assignee(number(id)?).map(|agent| agent.0);
            expect(problems, &format!("bot of {id}"), bot, &found);
        }
        if let Some(count) = &wanted.unassigned_count {
            expect(problems, "unassigned_count", count, &unassigned());
        }
        for (agent, count) in &wanted.open_counts {
            let id = AgentId(number(agent)?);
            let found = world.with_status("open").filter(|one| world.assignee(*one) == Some(id)).count();
            expect(problems, &format!("open_counts of {agent}"), count, &found);
        }
        for (agent, count) in &wanted.window_counts {
            let found = window_count(world, AgentId(number(agent)?));
            expect(problems, &format!("window_counts of {agent}"), count, &found);
        }
        if let Some(ids) = &wanted.assigned_ids {
            expect(problems, "assigned_ids", &ids.iter().copied().collect(), &given);
        }
        if let Some(count) = &wanted.conversations_examined {
            expect(problems, "conversations_examined", count, &run.examined);
        }
        if let Some(queue) = &wanted.queue_after {
            let rotation = world.desk.rotation(QueueKey { inbox: Some(world.inbox), team: None });
            let line = desk::line(&rotation, &self.members, &world.desk.policy);
            expect(problems, "queue_after", queue, &line.iter().map(|agent| agent.0).collect());
        }
        if let Some(wanted) = &wanted.events {
            expect(problems, "events", wanted, &events);
        }
        for (id, wanted) in &wanted.provenance {
            expect(problems, &format!("provenance of {id}"), wanted, &provenance(world, number(id)?));
        }
        Ok(())
    }

    /// What subscribers are told of assignments since the last time, as the rows put it.
    fn events(&self, subscription: SubscriptionId) -> Vec<Value> {
        let desk = &self.world.desk;
        let mut events = Vec::new();
        loop {
            let claimed =
                desk.store.claim(desk.account, subscription, 1_000, std::time::Duration::from_secs(60));
            let letters = desk::now(claimed).map(|claimed| claimed.letters).unwrap_or_default();
            if letters.is_empty() {
                return events;
            }
            for letter in letters {
                let conversation = letter.notice.room.as_ref().and_then(world::conversation);
                let policy = conversation.and_then(|id| decided_by(&self.world, id));
                events.push(json!({
                    "type": "assignee_changed",
                    "conversation_id": conversation,
                    "agent_id": letter.notice.agent,
                    "performed_by": policy.map(|id| json!({"type": "assignment_policy", "id": id})),
                }));
                desk::now(desk.store.settle_letter(desk.account, &letter.claim, Fate::Delivered));
            }
        }
    }
}

/// How many of the row's inbox an agent was given in the window of the rules.
fn window_count(world: &World, agent: AgentId) -> u32 {
    let (facts, now) = (world.desk.facts(), world.desk.time());
    let rules = QueueRules::of(&facts.rules, &world.desk.policy, (Some(world.inbox), None), now);
    let window = facts.windows.get(&(Some(world.inbox), agent));
    rules.fair_distribution.zip(window).map_or(0, |(rule, window)| window.count(rule.window, now))
}

/// The policy that the recorded decision of a conversation names.
fn decided_by(world: &World, id: i64) -> Option<PolicyId> {
    let conversation = world.desk.latest(&room(id))?;
    let decision = world.desk.decision(conversation.id)?;
    decision.snapshot.rules.inboxes.get(&conversation.inbox?)?.policy
}

/// How a conversation came to its agent: by a decision that was recorded, or by somebody's hand.
fn provenance(world: &World, id: i64) -> Value {
    let Some(conversation) = world.desk.latest(&room(id)) else { return Value::Null };
    let holder = conversation.holder();
    let decision = world.desk.decision(conversation.id);
    let decided = decision.filter(|one| one.attempt == conversation.attempt && Some(one.agent) == holder);
    let source = if decided.is_some() { "automatic" } else { "manual" };
    json!({ "source": source, "assignee_id": holder })
}
