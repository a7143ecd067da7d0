//! A rotation during a round of decisions.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{BEHIND_MAX, Rotation, Turns};
use crate::{AgentId, candidates::Candidates};

/// A rotation, and the sum of the weights of everybody in it.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    pub rotation: Rotation,
    pub round: i64,
}

/// Somebody of a rotation who may be chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contender {
    /// In the rotation.
    pub place: usize,
    pub weight: u32,
    /// Those of a group are kept from the same conversations, and gain nothing by them.
    pub group: usize,
}

/// A rotation in which contenders take turns. They stand in lines of equal gain: a conversation brings everybody of a line
/// the same, so that nobody changes places but who is served, and a turn is a look at the head of each line instead of at
/// everybody.
#[derive(Debug)]
pub(crate) struct Turning {
    /// Less what the lines have gained.
    roll: Roll,
    turns: Turns,
    lines: Vec<Line>,
    /// Which line each place stands in.
    line_of: Vec<Option<u32>>,
    /// Behind everybody. Only kept up to date under [`Turns::LeastRecent`].
    back: i64,
}

/// Contenders of the same group and weight.
#[derive(Debug)]
struct Line {
    group: usize,
    weight: i64,
    /// How many stand in it.
    count: i64,
    /// What each of them gained since the line formed; not in their turns yet.
    gained: i64,
    /// Nobody's turn is less.
    least: i64,
    /// The conversation may go to them.
    is_in: bool,
    /// Places, by who is nearest to a turn.
    nearest: Candidates<Reverse<i64>>,
}

impl Turning {
    /// Lets `contenders`, each once, take turns.
    pub fn new(roll: Roll, turns: Turns, contenders: impl IntoIterator<Item = Contender>) -> Self {
        let turn = |place: usize| roll.rotation.0[place].1;
        let mut alike: BTreeMap<_, Vec<(Reverse<i64>, usize)>> = BTreeMap::new();
        for Contender { place, weight, group } in contenders {
            // Who was served longest ago comes first, whatever their weight.
            let weight = if turns == Turns::Smooth { weight } else { 0 };
            alike.entry((group, weight)).or_default().push((Reverse(turn(place)), place));
        }
        let mut line_of = vec![None; roll.rotation.0.len()];
        for (number, places) in (0..).zip(alike.values()) {
            places.iter().for_each(|(_, place)| line_of[*place] = Some(number));
        }
        let line = |((group, weight), places): ((usize, u32), Vec<_>)| Line {
            group,
            weight: i64::from(weight),
            count: i64::try_from(places.len()).unwrap_or(i64::MAX),
            gained: 0,
            least: places.iter().map(|(Reverse(turn), _)| *turn).min().unwrap_or(i64::MAX),
            is_in: false,
            nearest: Candidates::new(places),
        };
        let lines = alike.into_iter().map(line).collect();
        Self { back: roll.rotation.back(), roll, turns, lines, line_of }
    }

    /// Nobody is left to be chosen.
    pub fn is_over(&self) -> bool {
        self.lines.iter().all(|line| line.count == 0)
    }

    /// Whose place it is.
    pub fn agent(&self, place: usize) -> AgentId {
        self.roll.rotation.0[place].0
    }

    /// Whoever has this place is chosen no more.
    pub fn drop_out(&mut self, place: usize) {
        if let Some(number) = self.line_of[place].take() {
            let line = &mut self.lines[number as usize];
            line.count -= 1;
            self.roll.rotation.0[place].1 += line.gained;
        }
    }

    /// Chooses among the groups that the conversation `admits`, but for the places in `left_out`, each once, and charges the turn.
    /// Returns the place and the charge. A weight of nothing is chosen only when there is no other.
    pub fn choose(&mut self, admits: impl Fn(usize) -> bool, left_out: &[usize]) -> Option<(usize, i64)> {
        for line in &mut self.lines {
            line.is_in = line.count > 0 && admits(line.group);
        }
        let (first, charge) = match self.turns {
            Turns::Smooth => {
                let total = self.gain(left_out);
                let first = self.first(left_out, |line| line.weight > 0);
                let (first, turn) = first.or_else(|| self.first(left_out, |_| true))?;
                self.catch_up(turn - BEHIND_MAX * self.roll.round, left_out);
                (first, total)
            }
            Turns::LeastRecent => {
                let (first, turn) = self.first(left_out, |_| true)?;
                self.back -= 1;
                (first, turn - self.back - 1)
            }
        };
        self.lower(first, charge);
        Some((first, charge))
    }

    /// Lets everybody gain their weight who is in and not left out. Returns the sum.
    fn gain(&mut self, left_out: &[usize]) -> i64 {
        let mut total = 0;
        for line in self.lines.iter_mut().filter(|line| line.is_in) {
            line.gained += line.weight;
            total += line.weight * line.count;
        }
        for place in left_out {
            let line = self.line_of[*place].map(|number| &self.lines[number as usize]);
            if let Some(weight) = line.filter(|line| line.is_in).map(|line| line.weight) {
                self.lower(*place, weight);
                total -= weight;
            }
        }
        total
    }

    /// Who is nearest to a turn, and of equals the first; with how near they are.
    fn first(&mut self, left_out: &[usize], among: impl Fn(&Line) -> bool) -> Option<(usize, i64)> {
        let Self { roll, lines, line_of, .. } = self;
        let heads =
            (0..).zip(lines).filter(|(_, line)| line.is_in && among(line)).filter_map(|(number, line)| {
                let turn = |place: usize| {
                    (line_of[place] == Some(number)).then(|| Reverse(roll.rotation.0[place].1))
                };
                let (Reverse(turn), place) = line.nearest.best(turn, |place| left_out.contains(&place))?;
                Some((Reverse(turn + line.gained), place))
            });
        heads.min().map(|(Reverse(turn), place)| (place, turn))
    }

    /// Brings up to `floor` who is in and further behind.
    fn catch_up(&mut self, floor: i64, left_out: &[usize]) {
        let Self { roll, lines, line_of, .. } = self;
        let behind = |line: &Line| line.is_in && line.least + line.gained < floor;
        for (number, line) in (0..).zip(lines).filter(|(_, line)| behind(line)) {
            line.least = i64::MAX;
            for place in line.nearest.numbers().filter(|place| line_of[*place] == Some(number)) {
                let turn = &mut roll.rotation.0[place].1;
                if !left_out.contains(&place) {
                    *turn = (floor - line.gained).max(*turn);
                }
                line.least = line.least.min(*turn);
            }
            let turn =
                |place: usize| (line_of[place] == Some(number)).then(|| Reverse(roll.rotation.0[place].1));
            line.nearest.rank_anew(turn);
        }
    }

    fn lower(&mut self, place: usize, by: i64) {
        let turn = &mut self.roll.rotation.0[place].1;
        *turn -= by;
        if let Some(number) = self.line_of[place] {
            let least = &mut self.lines[number as usize].least;
            *least = (*least).min(*turn);
        }
    }

    /// The rotation after these turns.
    pub fn close(mut self) -> Roll {
        (0..self.line_of.len()).for_each(|place| self.drop_out(place));
        self.roll
    }
}
