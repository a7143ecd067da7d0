//! What goes wrong, when, and for how long: the network, the platform, the ledger, the processes.

use super::{Event, World, history::Whose, matcher::Step, platform::Ms};

/// What is out of order now.
#[derive(Debug, Default)]
pub(super) struct Weather {
    /// Until when the ledger is not reachable.
    pub ledger_down: Ms,
    /// Until when the platform is in trouble, and how.
    pub platform_bad: (Ms, Trouble),
}

/// How the platform fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    /// One call in so many, in any way.
    #[default]
    Scattered,
    /// 429, or 503 on reads.
    Busy,
    /// 401.
    Denied,
    /// Nothing answers.
    Silent,
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Fine,
    /// Never arrives; the client gives up.
    Lost,
    /// Takes effect, and the client gives up before the answer.
    Unheard,
    /// Takes effect after the client gave up.
    Late,
    /// 5xx, with or without effect.
    Failed {
        applies: bool,
    },
    /// No: this agent, or for a reason nobody can make out.
    Refused {
        agent: bool,
    },
    Busy,
    Denied,
}

impl Fate {
    /// What went wrong with a call that was to change something.
    fn of_a_call(self) -> Option<&'static str> {
        Some(match self {
            Self::Fine => return None,
            Self::Lost => "call lost",
            Self::Unheard => "call applied, answer lost",
            Self::Late => "call applied after its time-out",
            Self::Failed { applies: false } => "call failed by a 5xx",
            Self::Failed { applies: true } => "call applied, answered by a 5xx",
            Self::Refused { agent: true } => "call refused: the agent",
            Self::Refused { agent: false } => "call refused for no reason",
            Self::Busy => "call answered by a 429",
            Self::Denied => "call answered by a 401",
        })
    }

    /// What went wrong with a list or a room that was asked for.
    fn of_a_read(self) -> Option<&'static str> {
        Some(match self {
            Self::Fine | Self::Refused { .. } => return None,
            Self::Lost | Self::Unheard | Self::Late => "read timed out",
            Self::Failed { .. } => "read failed by a 5xx",
            Self::Busy => "read answered by a 429 or 503",
            Self::Denied => "read answered by a 401",
        })
    }
}

/// When a client gives a call up.
pub(super) const TIMEOUT: Ms = 4_000;

/// A stopped process goes on after this.
const STOPPED: Ms = 60_000;

/// What happens to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doom {
    Crash,
    Stop,
}

impl World {
    /// Something new goes wrong, unless it was the last time.
    pub(super) fn change_weather(&mut self) {
        if self.is_calm {
            return self.after(self.lull(), Event::Weather);
        }
        let now = self.now;
        let until = |span: Ms| now + span;
        let worker = self.dice.index(self.workers.len());
        let span = self.dice.between(3_000, 40_000);
        let what = match self.dice.between(0, 12) {
            0 => {
                self.weather.ledger_down = until(span);
                "ledger down"
            }
            nth @ 1..=5 => {
                let (what, span, trouble) = match nth {
                    1 => ("platform overloaded", span, Trouble::Busy),
                    2 => ("platform lets nobody in", span, Trouble::Denied),
                    3 => ("platform silent", span, Trouble::Silent),
                    _ => ("platform fails now and then", span * 8, Trouble::Scattered),
                };
                self.weather.platform_bad = (until(span), trouble);
                what
            }
            nth => {
                // In the middle of an attempt, a few steps from here.
                let doom = if nth.is_multiple_of(2) { Doom::Crash } else { Doom::Stop };
                let steps = u32::try_from(self.dice.between(0, 8)).unwrap_or(0);
                self.workers[worker].doom = Some((steps, doom));
                let next = self.dice.around(600_000);
                return self.after(next, Event::Weather);
            }
        };
        self.note(Whose::World, what, i64::try_from(span).unwrap_or(0));
        self.fault(what);

        let next = self.dice.around(600_000);
        self.after(next, Event::Weather);
    }

    /// What becomes of an assign made now.
    pub(super) fn fate_of_a_call(&mut self) -> Fate {
        let fate = self.fate();
        fate.of_a_call().into_iter().for_each(|what| self.fault(what));
        fate
    }

    /// What becomes of a question asked now.
    pub(super) fn fate_of_a_read(&mut self) -> Fate {
        let fate = self.fate();
        fate.of_a_read().into_iter().for_each(|what| self.fault(what));
        fate
    }

    fn fate(&mut self) -> Fate {
        if self.is_calm {
            return Fate::Fine;
        }
        let (until, trouble) = self.weather.platform_bad;
        let is_bad = self.now < until;
        match trouble {
            Trouble::Busy if is_bad => Fate::Busy,
            Trouble::Denied if is_bad => Fate::Denied,
            Trouble::Silent if is_bad => self.dice.pick(&[Fate::Lost, Fate::Unheard, Fate::Late]),
            Trouble::Scattered | Trouble::Busy | Trouble::Denied | Trouble::Silent => {
                let scattered = is_bad && trouble == Trouble::Scattered;
                if !self.dice.one_in(if scattered { 3 } else { 40 }) {
                    return Fate::Fine;
                }
                let (failed, applied) = (Fate::Failed { applies: false }, Fate::Failed { applies: true });
                let (agent, other) = (Fate::Refused { agent: true }, Fate::Refused { agent: false });
                let (late, busy) = (Fate::Late, Fate::Busy);
                self.dice.pick(&[Fate::Lost, Fate::Unheard, late, failed, applied, agent, other, busy])
            }
        }
    }

    /// How long one way to the platform takes.
    pub(super) fn latency(&mut self) -> Ms {
        self.dice.between(20, 200)
    }

    /// How far behind a list is.
    pub(super) fn lag(&mut self) -> Ms {
        let lag = self.dice.between(0, self.plan.lag + 1);
        if lag > 1_000 {
            self.fault("list behind by more than a second");
        }
        lag
    }

    pub(super) fn ledger_is_down(&self) -> bool {
        self.now < self.weather.ledger_down
    }

    /// Whether the worker goes down in this step of an attempt. A stopped one takes the step when it goes on.
    pub(super) fn is_struck(&mut self, worker: usize, step: &Step) -> bool {
        let Some((steps, doom)) = self.workers[worker].doom else { return false };
        if self.is_calm || steps > 0 {
            self.workers[worker].doom = (!self.is_calm).then(|| (steps - 1, doom));
            return false;
        }
        self.workers[worker].doom = None;
        self.watch.figures.strikes += 1;
        let left = self.calm_at.saturating_sub(self.now).max(1);
        match doom {
            Doom::Crash => {
                self.fault(match step {
                    Step::Try(_) => "worker crashes after the commit of a decision, or between two calls",
                    Step::Write(_) => "worker crashes right before a call",
                    Step::Heard(..) => "worker crashes during a call",
                    Step::Look(_) => "worker crashes during a read-back",
                    Step::Record(_) => "worker crashes between an answer and its record",
                    _ => "worker crashes elsewhere",
                });
                self.note(Whose::Worker(worker), "crashes", 0);
                self.workers[worker].crash();
                let span = self.dice.between(1_000, 20_000).min(left);
                self.after(span, Event::Restart(worker));
            }
            Doom::Stop => {
                self.fault("worker stopped for a minute in the middle of an attempt");
                self.note(Whose::Worker(worker), "stops, ms", i64::try_from(STOPPED.min(left)).unwrap_or(0));
                self.workers[worker].stopped_until = self.now + STOPPED.min(left);
            }
        }
        true
    }

    /// The faults are over: the ledger and the platform answer, everybody's process runs and everybody is at their desk.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
        self.weather = Weather::default();
        self.stir();
        self.lift_every_rule();
        self.platform.cure();
        self.platform.people.iter_mut().for_each(|person| person.is_online = true);
        self.note(Whose::World, "it is calm", 0);
    }

    /// The calm is over, unless it was the last.
    pub(super) fn go_on(&mut self) {
        let next = self.plan.lulls.into_iter().find(|at| *at > self.now);
        if let Some(next) = next {
            (self.is_calm, self.calm_at) = (false, next);
            self.note(Whose::World, "it is calm no more", 0);
        }
    }
}
