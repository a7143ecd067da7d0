//! Why each agent was passed over.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::queue::{LeftOut, Standing, Tally};
use crate::{AgentId, InboxId};

/// Why an agent may not be given a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The roster is too old to trust.
    RosterStale,
    /// The policy deals nothing to this role.
    Role,
    /// Forced offline by an operator.
    ForcedOffline,
    /// Not in a presence the policy deals to.
    Presence,
    /// On an approved leave.
    OnLeave,
    /// Paused by an operator.
    Paused,
    /// Not a member of the conversation's inbox.
    NotInInbox,
    /// Not a member of the conversation's team.
    NotInTeam,
    /// Nobody told whether they are a member.
    InboxUnknown,
    /// Nobody told how many conversations they hold.
    LoadUnknown,
    /// Given as many of this inbox as fair distribution allows in a while.
    RateLimited,
    /// At capacity.
    Full,
    /// Their capacity policy keeps conversations like this one from them.
    Excluded,
    /// The platform refused them for this conversation a short while ago.
    Refused,
    /// Could have taken it; another was preferred.
    NotPreferred,
}

/// Agents and why each was rejected. Worked out when asked for: all decisions of a round share what they rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    pub(super) standing: Arc<Standing>,
    pub(super) facts: Arc<Facts>,
    /// How many conversations the round had given out before this one.
    pub(super) given_before: usize,
    pub(super) inbox: Option<InboxId>,
    pub(super) left_out: LeftOut,
    pub(super) chosen: Option<AgentId>,
}

/// What the agents held when the round began, and what it gave out, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Open conversations, by seat.
    pub loads: Vec<u32>,
    pub tallies: HashMap<Option<InboxId>, Vec<Tally>>,
    /// Seat and inbox of each conversation given out.
    pub given: Vec<(usize, Option<InboxId>)>,
}

impl Rejections {
    /// Every rejected agent with the reason.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, Rejection)> + '_ {
        let before = &self.facts.given[..self.given_before.min(self.facts.given.len())];
        let mut taken: HashMap<usize, (u32, u32)> = HashMap::new();
        for (seat, inbox) in before {
            let (in_all, of_inbox) = taken.entry(*seat).or_default();
            *in_all += 1;
            *of_inbox += u32::from(*inbox == self.inbox);
        }
        let tallies = self.facts.tallies.get(&self.inbox);
        let members = self.standing.members.iter().filter(|member| Some(member.agent) != self.chosen);
        let members = members.map(move |member| {
            let (in_all, of_inbox) = taken.get(&member.seat).copied().unwrap_or_default();
            let load = self.facts.loads.get(member.seat).map_or(in_all, |load| load + in_all);
            let mut tally = tallies.map(|tallies| tallies[member.seat]).unwrap_or_default();
            tally.open += of_inbox;
            tally.given += of_inbox;
            let shut = || member.shut(load, tally, self.standing.fair);
            (member.agent, self.left_out.why(member).or_else(shut).unwrap_or(Rejection::NotPreferred))
        });
        self.standing.rejected.iter().copied().chain(members)
    }
}
