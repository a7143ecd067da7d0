//! What goes wrong, when, and for how long: the network, the platform, the ledger, the processes.

use super::{Event, World, platform::Ms};

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
    Busy,
    Denied,
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
        if self.is_over {
            return;
        }
        let now = self.now;
        let until = |span: Ms| now + span;
        let worker = self.dice.index(self.workers.len());
        let span = self.dice.between(3_000, 40_000);
        match self.dice.between(0, 12) {
            0 => self.weather.ledger_down = until(span),
            1 => self.weather.platform_bad = (until(span), Trouble::Busy),
            2 => self.weather.platform_bad = (until(span), Trouble::Denied),
            3 => self.weather.platform_bad = (until(span), Trouble::Silent),
            4 | 5 => self.weather.platform_bad = (until(span * 8), Trouble::Scattered),
            nth => {
                // In the middle of an attempt, a few steps from here.
                let doom = if nth.is_multiple_of(2) { Doom::Crash } else { Doom::Stop };
                let steps = u32::try_from(self.dice.between(0, 8)).unwrap_or(0);
                self.workers[worker].doom = Some((steps, doom));
            }
        }
        self.note("weather changes", i64::try_from(span).unwrap_or(0), 0);
        let next = self.dice.around(600_000);
        self.after(next, Event::Weather);
    }

    /// What becomes of a call made now.
    pub(super) fn fate(&mut self) -> Fate {
        if self.is_over {
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
                self.dice.pick(&[Fate::Lost, Fate::Unheard, Fate::Late, failed, applied, Fate::Busy])
            }
        }
    }

    /// How long one way to the platform takes.
    pub(super) fn latency(&mut self) -> Ms {
        self.dice.between(20, 200)
    }

    /// How far behind a list is.
    pub(super) fn lag(&mut self) -> Ms {
        self.dice.between(0, self.plan.lag + 1)
    }

    pub(super) fn ledger_is_down(&self) -> bool {
        self.now < self.weather.ledger_down
    }

    /// Whether the worker goes down in this step of an attempt. A stopped one takes the step when it goes on.
    pub(super) fn is_struck(&mut self, worker: usize) -> bool {
        let Some((steps, doom)) = self.workers[worker].doom else { return false };
        if self.is_over || steps > 0 {
            self.workers[worker].doom = (!self.is_over).then(|| (steps - 1, doom));
            return false;
        }
        self.workers[worker].doom = None;
        self.watch.figures.strikes += 1;
        let left = self.plan.calm_at.saturating_sub(self.now).max(1);
        match doom {
            Doom::Crash => {
                self.note("worker crashes", i64::try_from(worker).unwrap_or(0), 0);
                self.workers[worker].crash();
                let span = self.dice.between(1_000, 20_000).min(left);
                self.after(span, Event::Restart(worker));
            }
            Doom::Stop => {
                self.note("worker stops", i64::try_from(worker).unwrap_or(0), 0);
                self.workers[worker].stopped_until = self.now + STOPPED.min(left);
            }
        }
        true
    }

    /// The last fault is over: the ledger and the platform answer, everybody's process runs, people go home.
    pub(super) fn calm(&mut self) {
        self.is_over = true;
        self.weather = Weather::default();
        self.is_idle = false;
        self.lift_every_rule();
        self.note("calm", 0, 0);
    }
}
