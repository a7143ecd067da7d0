//! Why each agent was passed over.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize};

use super::{
    exclusions::LeftOut,
    standing::{Standing, Tally},
};
use crate::{AgentId, InboxId, Roster};

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

impl Rejection {
    /// They might be eligible if only somebody told.
    pub(super) fn is_for_want_of_knowledge(self) -> bool {
        matches!(self, Self::InboxUnknown | Self::LoadUnknown)
    }
}

/// Agents and why each was rejected. Worked out when asked for: all decisions of a round share what they rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    pub(super) standing: Arc<Standing>,
    /// Empty until the round is over.
    pub(super) facts: Arc<OnceLock<Facts>>,
    /// How many conversations the round had given out before this one.
    pub(super) given_before: usize,
    pub(super) inbox: Option<InboxId>,
    pub(super) left_out: LeftOut,
    pub(super) chosen: Option<AgentId>,
}

/// What the agents held when the round was over, and what it gave out, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Who sits where.
    pub roster: Arc<Roster>,
    /// Open conversations, by seat.
    pub loads: Vec<u32>,
    pub tallies: BTreeMap<Option<InboxId>, Vec<Tally>>,
    /// Seat and inbox of each conversation given out.
    pub given: Vec<(usize, Option<InboxId>)>,
}

impl Rejections {
    /// Every rejected agent with the reason.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, Rejection)> + '_ {
        self.facts.get().into_iter().flat_map(|facts| self.resting_on(facts))
    }

    fn resting_on<'s>(&'s self, facts: &'s Facts) -> impl Iterator<Item = (AgentId, Rejection)> + 's {
        let mut given_since: HashMap<usize, (u32, u32)> = HashMap::new();
        for (seat, inbox) in &facts.given[self.given_before..] {
            let (in_all, of_inbox) = given_since.entry(*seat).or_default();
            *in_all += 1;
            *of_inbox += u32::from(*inbox == self.inbox);
        }
        let tallies = facts.tallies.get(&self.inbox);
        let members = self.standing.members.iter().filter(|member| Some(member.agent) != self.chosen);
        let members = members.map(move |member| {
            let (in_all, of_inbox) = given_since.get(&member.seat).copied().unwrap_or_default();
            let tally = tallies.map_or_else(Tally::default, |tallies| tallies[member.seat].before(of_inbox));
            let shut = || member.shut(facts.loads[member.seat] - in_all, tally, self.standing.fair);
            (member.agent, self.left_out.why(member).or_else(shut).unwrap_or(Rejection::NotPreferred))
        });
        self.standing.rejected(&facts.roster).chain(members)
    }
}
