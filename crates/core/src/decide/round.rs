//! One round of decisions.

use std::collections::BTreeMap;

use super::{
    Decision, Head, Outcome, QueueKey, Rate, Rejection, Snapshot, Standpoint, Verdicts, desk::Desk,
    queue::Queue, standing::Member,
};
use crate::{Policy, QueueRules, Timestamp};

pub(super) struct Round<'a> {
    desk: Desk<'a>,
    queues: Vec<Queue<'a>>,
    /// Which of `queues`.
    numbers: BTreeMap<QueueKey, usize>,
}

impl<'a> Round<'a> {
    pub fn new(snapshot: &'a Snapshot, policy: &'a Policy, now: Timestamp) -> Self {
        Self { desk: Desk::new(snapshot, policy, now), queues: Vec::new(), numbers: BTreeMap::new() }
    }

    pub fn is_over(&self) -> bool {
        self.desk.is_spent()
    }

    pub fn decide(&mut self, head: &Head) -> Decision {
        let Self { desk, queues, numbers } = self;
        let key = head.queue();
        let number = *numbers.entry(key).or_insert_with(|| {
            queues.push(Queue::new(key, None, None, desk));
            queues.len() - 1
        });
        let queue = &mut queues[number];
        // An answer adds to what the roster tells of the agents, and where that is all there is nothing to add.
        let answer = if queue.is_unknown() { desk.snapshot.answers.agents.get(&head.room) } else { None };
        let Some(answer) = answer else {
            return queue.decide(head, desk);
        };
        let mut answered = Queue::new(key, Some(answer), queue.hand_over(), desk);
        let decision = answered.decide(head, desk);
        queue.take_over(answered.hand_over(), desk);
        // Who may serve this room says nothing of the rooms behind it.
        let blocked = decision.outcome == Outcome::Pass && decision.hold.is_none();
        Decision { blocked, ..decision }
    }

    /// Whether something of the queue may be given out now, or might if the platform told more.
    pub fn could_serve(&mut self, key: QueueKey) -> bool {
        self.desk.could_serve(key)
    }

    /// Adds to the decisions what only the end of the round tells.
    pub fn complete(self, decisions: &mut [Decision], heads: &[Head]) {
        let Self { desk, mut queues, mut numbers } = self;
        for (decision, head) in decisions.iter_mut().zip(heads).rev() {
            if !matches!(decision.outcome, Outcome::Reserve { .. }) {
                continue;
            }
            let last = numbers.remove_entry(&head.queue());
            let turned = last.and_then(|(key, number)| Some((key, queues[number].hand_over()?.rotation)));
            decision.rotation = turned;
            if numbers.is_empty() {
                break;
            }
        }
        desk.close();
    }

    pub fn explain(mut self, head: &Head) -> Verdicts {
        let key = head.queue();
        let rules = self.desk.rules(key);
        self.desk.tally(key.inbox, rules.fair_distribution);
        let answer = self.desk.snapshot.answers.agents.get(&head.room).map(Vec::as_slice);
        let verdicts = self.desk.verdicts(key, &rules, answer).enumerate();
        let agents = verdicts.map(|(index, verdict)| {
            let member = Member::new(index, &self.desk.seats[index], &rules);
            self.standpoint(head, &rules, &member, verdict.err())
        });
        Verdicts {
            hold: rules.hold,
            agents: agents.collect(),
            excluded: rules.excludes(&head.traits.labels, head.last_activity_at, self.desk.now),
        }
    }

    /// How an agent stands, whom `barred` keeps from the whole queue.
    fn standpoint(
        &self,
        head: &Head,
        rules: &QueueRules<'a>,
        member: &Member,
        barred: Option<Rejection>,
    ) -> Standpoint {
        let Desk { snapshot, seats, now, .. } = &self.desk;
        let seat = &seats[member.seat];
        let tally = self.desk.holdings(head.inbox).tally(member);
        let fair = rules.fair_distribution;
        let excluded = rules.excludes_for(member.agent, &head.traits.labels, head.last_activity_at, *now);
        let left_out = || {
            let is_refused = head.refuses(member.agent, *now);
            if is_refused { Some(Rejection::Refused) } else { excluded.as_ref().map(|_| Rejection::Excluded) }
        };
        let rejection = barred.or_else(left_out).or_else(|| member.shut(seat.certain_load(), tally, fair));
        // Whoever is full by our own count is full, though the whole load be unknown.
        let load = seat.load.or((rejection == Some(Rejection::Full)).then_some(seat.held));
        let by_inbox = member.limits.of_inbox.map(|limit| (Some(tally.open), limit));
        let in_all = member.limits.in_all.map(|limit| (load, limit));
        let left = |(held, limit): &(Option<u32>, u32)| limit.saturating_sub(held.unwrap_or(0));
        let nearest = in_all.into_iter().chain(by_inbox).min_by_key(left);
        let window = snapshot.windows.get(&(head.inbox, member.agent));
        Standpoint {
            agent: member.agent,
            rejection,
            load: nearest.map_or(load, |(held, _)| held),
            limit: nearest.map(|(_, limit)| limit),
            rate: fair.map(|rule| Rate {
                given: tally.given,
                limit: rule.limit,
                window: rule.window,
                free_at: window.and_then(|window| window.free_at(rule, *now)),
            }),
            excluded,
        }
    }
}
