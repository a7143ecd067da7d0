//! The play: everybody in the script does what it says, at the pace of the play.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sebastian_core::{AgentId, Role};
use sebastian_platform::simulated::{Applied, Change, Delivery, Simulated, State};
use tokio::{sync::Notify, task::JoinSet};

use super::{
    desk::Desk,
    dice::Dice,
    pace::Pace,
    script::{Chat, Customer, Event, Script},
};
use crate::failure::Failure;

/// What a stalled desk is given beyond the longest pause of the script.
const STALL: Duration = Duration::from_secs(20);

/// How often to see whether the ledger came to rest; it is right behind the platform.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The play and what is to be remembered of it.
pub(crate) struct Play {
    pub script: Arc<Script>,
    pub pace: Pace,
    /// When the doors opened.
    pub began: Instant,
    platform: Simulated,
    /// Rung when somebody joins the room.
    joined: HashMap<String, Notify>,
    notes: Mutex<Notes>,
}

/// What the platform's own ledger does not tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    /// Allocation webhooks answered with a 2xx, each copy on its own.
    pub accepted: u64,
    /// Webhooks of either kind answered otherwise, or not at all.
    pub refused: u64,
    /// Webhooks that opened a session, as opposed to repeating it.
    pub told: u64,
    /// Sessions whose opening, or end, no webhook told.
    pub untold: HashSet<i64>,
    /// When each agent went or came back, in order.
    pub presence: BTreeMap<AgentId, Vec<(Instant, bool)>>,
    /// Moves made in the dashboard.
    pub moves: u64,
}

/// How a play ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Everybody was served and everything is resolved, on both sides.
    AtRest,
    /// Nothing moved any more, though something was left to do.
    Stalled,
}

impl Play {
    pub fn new(script: Arc<Script>, pace: Pace, platform: &Simulated) -> Arc<Self> {
        let joined = script.customers.iter().map(|customer| (customer.room.clone(), Notify::new())).collect();
        let (platform, notes) = (platform.clone(), Mutex::default());
        Arc::new(Self { script, pace, began: Instant::now(), platform, joined, notes })
    }

    /// How long it has been going.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is to be remembered so far.
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays the hour, then waits for the desk to come to rest. Dropped, it stops where it is.
    pub async fn run(self: &Arc<Self>, desk: &Desk) -> Result<Ended, Failure> {
        let mut tasks = JoinSet::new();
        for index in 0..self.script.customers.len() {
            let play = self.clone();
            tasks.spawn(async move { play.customer(&play.script.customers[index]).await });
        }
        for index in 0..self.script.events.len() {
            let play = self.clone();
            tasks.spawn(async move { play.event(play.script.events[index]).await });
        }
        let mut calling = JoinSet::new();
        let play = self.clone();
        calling.spawn(async move { play.call_agents().await });

        let acted = async { while tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = acted => {}
            () = self.stalled() => return Ok(Ended::Stalled),
        }
        let until = Instant::now() + STALL;
        while Instant::now() < until {
            if desk.standing().await?.is_at_rest() {
                return Ok(Ended::AtRest);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(Ended::Stalled)
    }

    /// Waits until the hour is over and nothing has happened for longer than anything takes.
    async fn stalled(&self) {
        let patience = self.pace.here(self.script.longest_pause()) + STALL;
        tokio::time::sleep(self.pace.length.saturating_sub(self.elapsed())).await;
        loop {
            let seen = self.platform.read(|state| state.applied().len());
            let moved = |state: &State| state.applied().len() > seen;
            if self.platform.wait_until(patience, moved).await.is_err() {
                return;
            }
        }
    }

    /// Tells each customer's task when an agent joins its room.
    async fn call_agents(&self) {
        let mut next = 0;
        loop {
            let news: Vec<Applied> = self.platform.read(|state| state.applied()[next..].to_vec());
            next += news.len();
            for applied in news {
                if let (Change::Assigned { .. }, Some(joined)) =
                    (&applied.change, self.joined.get(&*applied.room))
                {
                    joined.notify_one();
                }
            }
            // Whether or not anything came in time, look again.
            let _waited = self.platform.wait_until(STALL, |state| state.applied().len() > next).await;
        }
    }

    async fn customer(&self, customer: &Customer) {
        for chat in &customer.chats {
            tokio::time::sleep(self.pace.here(chat.after)).await;
            self.chat(customer, chat).await;
        }
    }

    /// One chat, from the first message to its end.
    async fn chat(&self, customer: &Customer, chat: &Chat) {
        let Customer { room, channel, .. } = customer;
        if chat.lost.opening {
            self.platform.new_chat(room, *channel);
            self.note_untold(room);
        } else {
            self.notes().told += 1;
            self.note(self.platform.customer_writes(room, *channel).await);
        }
        for pause in &chat.nudges {
            tokio::select! {
                () = self.agent_in(room) => break,
                () = tokio::time::sleep(self.pace.here(*pause)) => {
                    self.note(self.platform.customer_writes(room, *channel).await);
                }
            }
        }
        self.agent_in(room).await;
        tokio::time::sleep(self.pace.here(chat.handling)).await;
        if chat.lost.closing {
            self.note_untold(room);
            self.platform.resolve(room, None);
        } else if let Some(sent) = self.platform.agent_resolves(room).await
            && !sent.accepted()
        {
            self.notes().refused += 1;
        }
    }

    /// Waits until an agent is in the room.
    async fn agent_in(&self, room: &str) {
        let Some(joined) = self.joined.get(room) else { return };
        // A call left over from the room's last session is no agent.
        while self.platform.agent_of(room).is_none() {
            joined.notified().await;
        }
    }

    fn note(&self, sent: Option<Delivery>) {
        let Some(sent) = sent else { return };
        let mut notes = self.notes();
        for status in sent.statuses {
            let accepted = status.is_some_and(|status| (200..300).contains(&status));
            notes.accepted += u64::from(accepted);
            notes.refused += u64::from(!accepted);
        }
    }

    fn note_untold(&self, room: &str) {
        let service = self.platform.read(|state| state.room(room)?.service());
        self.notes().untold.extend(service);
    }

    async fn event(&self, (at, event): (Duration, Event)) {
        tokio::time::sleep(self.pace.here(at).saturating_sub(self.elapsed())).await;
        match event {
            Event::Presence { agent, online } => {
                self.platform.set_presence(agent, online);
                self.notes().presence.entry(agent).or_default().push((Instant::now(), online));
            }
            Event::Give { pick } => {
                let mut dice = Dice::new(pick);
                let choice = self
                    .platform
                    .read(|state| Some((state.waiting().first()?.clone(), pick_agent(state, &mut dice)?)));
                let given = choice.is_some_and(|(room, agent)| self.platform.dashboard_assign(&room, agent));
                self.notes().moves += u64::from(given);
            }
            Event::Transfer { pick } => {
                let mut dice = Dice::new(pick);
                let choice = self
                    .platform
                    .read(|state| Some((self.pick_served(state, &mut dice)?, pick_agent(state, &mut dice)?)));
                let moved =
                    choice.is_some_and(|(room, agent)| self.platform.dashboard_transfer(&room, agent));
                self.notes().moves += u64::from(moved);
            }
        }
    }

    /// A room somebody is in.
    fn pick_served(&self, state: &State, dice: &mut Dice) -> Option<String> {
        let rooms = self.script.customers.iter().map(|customer| &customer.room);
        let served: Vec<&String> = rooms.filter(|room| state.agent_of(room).is_some()).collect();
        dice.pick(&served).map(|room| (*room).clone())
    }
}

/// Somebody at their desk, whatever they hold: people do not count.
fn pick_agent(state: &State, dice: &mut Dice) -> Option<AgentId> {
    let online = state.agents().filter(|agent| agent.role == Role::Agent && agent.online);
    let online: Vec<AgentId> = online.map(|agent| agent.id).collect();
    dice.pick(&online).copied()
}
