//! What is printed around a play: what it will be, and what it was.

use std::{fmt::Write as _, time::Duration};

use super::{
    args::Demo,
    desk::Desk,
    figures::{self, Survived, Times, percentile},
    pace::{Pace, millis, words},
    paint::{Line, Look},
    script::{Figures, Script},
    verdict::{self, Evidence, Finding, all_hold},
};

/// Agents listed one by one; of more, only the least, the middle and the most are told.
const LISTED_MAX: usize = 16;

/// Violations told of each promise; a broken one breaks often.
const VIOLATIONS_MAX: usize = 5;

/// Where values begin.
const COLUMN: usize = 15;

/// What will be played. The same for the same seed.
pub(crate) fn announcement(script: &Script, demo: &Demo) -> String {
    let Figures { chats, customers, returns, nudges, breaks, moves, lost_webhooks } = script.figures();
    format!(
        "An hour at a support desk in {}: {} for {}, {} each.\n\
         Seed {}: {}, {} back, {} again while waiting, {}, {} by hand, {} lost.\n",
        humantime::format_duration(demo.length),
        count(chats, "chat"),
        count(demo.agents as usize, "agent"),
        demo.capacity,
        script.seed,
        count(customers, "customer"),
        verb(returns, "comes", "come"),
        verb(nudges, "writes", "write"),
        count(breaks, "break"),
        count(moves, "move"),
        count(lost_webhooks, "webhook"),
    )
}

fn count(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

fn verb(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What a play was, and whether every promise held.
pub(crate) struct Summary<'a> {
    pub script: &'a Script,
    pub pace: Pace,
    pub evidence: &'a Evidence,
    pub findings: &'a [Finding],
    pub survived: Survived,
    pub most_waiting: usize,
    /// What the ledger was, in words.
    pub ledger: &'static str,
}

impl<'a> Summary<'a> {
    pub fn new(
        desk: &Desk,
        script: &'a Script,
        pace: Pace,
        evidence: &'a Evidence,
        findings: &'a [Finding],
    ) -> Self {
        let survived = desk.platform.read(|state| Survived::count(state.requests(), &evidence.notes));
        Self {
            script,
            pace,
            evidence,
            findings,
            survived,
            most_waiting: figures::most_waiting(&evidence.applied),
            ledger: desk.home.in_words(),
        }
    }

    /// The whole of it.
    pub fn text(&self, colours: bool) -> String {
        let sections = [self.chats(), self.agents(), self.survived(), self.promises(), vec![self.verdict()]];
        sections.iter().fold(String::new(), |mut text, lines| {
            text.push('\n');
            for line in lines {
                // Writing to a string cannot fail.
                let _never = writeln!(text, "{}", line.shown(colours));
            }
            text
        })
    }

    fn chats(&self) -> Vec<Line> {
        let Figures { chats, customers, returns, .. } = self.script.figures();
        let Evidence { applied, notes, capacity, gift_noticed_within, .. } = self.evidence;
        let Times { waits, reactions } = Times::measure(applied, notes, *capacity, *gift_noticed_within);
        let desk = |wait: Duration| words(self.pace.at_desk(wait));
        let told = format!(
            "{chats} from {customers} customers, {returns} of them return visits; at most {} waited at once",
            self.most_waiting
        );
        let minute = self.pace.here(Duration::from_secs(60));
        vec![
            row("Chats").text(told),
            spread("Waits", &waits, desk)
                .with(Look::Dim, format!("desk time: a minute there is {} here", millis(minute))),
            spread("Reaction", &reactions, millis)
                .with(Look::Dim, "real time: from somebody free to assigned"),
            row("Ledger").text(self.ledger),
        ]
    }

    fn agents(&self) -> Vec<Line> {
        let served = figures::served(&self.evidence.applied, self.script);
        let mut counts: Vec<u32> = served.iter().map(|(_, chats)| *chats).collect();
        counts.sort_unstable();
        let (Some(least), Some(most)) = (counts.first(), counts.last()) else { return Vec::new() };
        let middle = counts[counts.len() / 2];
        let mut lines = vec![
            row("Agents").text(format!("{least} chats at least, {middle} in the middle, {most} at most")),
        ];
        if served.len() <= LISTED_MAX {
            lines.extend(served.iter().map(|(name, chats)| {
                Line::new()
                    .text(format!("  {name}"))
                    .upto(COLUMN + 5)
                    .text(format!("{chats:>4}  "))
                    .with(Look::Accent, "▪".repeat(bar(*chats, *most)))
            }));
        }
        lines
    }

    fn survived(&self) -> Vec<Line> {
        let Survived { duplicates, false_refusals, lost_replies, bad_gateways, lost_webhooks, moves } =
            self.survived;
        let told = [
            (duplicates, "repeated webhooks absorbed"),
            (false_refusals, "rooms called full that were empty"),
            (lost_replies, "assignments whose answer was lost"),
            (bad_gateways, "bad gateways"),
            (lost_webhooks, "webhooks that never came"),
            (moves, "moves by hand in the dashboard"),
        ];
        let told = told.iter().filter(|(count, _)| *count > 0).enumerate();
        let lines = told.map(|(index, (count, what))| {
            row(if index == 0 { "Survived" } else { "" }).text(format!("{count:>4}  {what}"))
        });
        lines.collect()
    }

    fn promises(&self) -> Vec<Line> {
        let mut lines =
            vec![row("Promises").with(Look::Dim, "checked over the platform's own ledger and ours")];
        for finding in self.findings {
            let id = if finding.id == verdict::REST { "" } else { finding.id };
            let (mark, look) = if finding.holds() { ("✓", Look::Good) } else { ("✗", Look::Bad) };
            lines.push(
                Line::new()
                    .text("  ")
                    .with(look, mark)
                    .text(format!(" {id:<4}{}", finding.promise))
                    .upto(COLUMN + 28)
                    .with(Look::Dim, finding.figure.as_str()),
            );
            let told = finding.violations.iter().take(VIOLATIONS_MAX);
            lines.extend(told.map(|broken| {
                Line::new().text("         ").with(Look::Bad, format!("{}: {}", broken.id, broken.what))
            }));
            if let more @ 1.. = finding.violations.len().saturating_sub(VIOLATIONS_MAX) {
                lines.push(Line::new().with(Look::Bad, format!("         and {more} more")));
            }
        }
        lines
    }

    fn verdict(&self) -> Line {
        if all_hold(self.findings) {
            return Line::new().with(Look::Good, "Every promise held.");
        }
        let broken: Vec<&str> =
            self.findings.iter().filter(|finding| !finding.holds()).map(|finding| finding.id).collect();
        let text = format!("Broken: {}. Run it again with --seed {}.", broken.join(", "), self.script.seed);
        Line::new().with(Look::Bad, text)
    }
}

fn row(heading: &str) -> Line {
    Line::new().with(Look::Bold, heading).upto(COLUMN)
}

/// Four points of what `times` spread over.
fn spread(heading: &str, times: &[Duration], shown: impl Fn(Duration) -> String) -> Line {
    let points = [("p50", 50), ("p95", 95), ("p99", 99), ("max", 100)];
    points.into_iter().fold(row(heading), |line, (name, percent)| {
        let value = shown(percentile(times, percent));
        let column = line.width();
        line.with(Look::Dim, format!("{name} ")).text(value).upto(column + 17)
    })
}

/// At most so many marks for `most`.
fn bar(chats: u32, most: u32) -> usize {
    const MARKS: u32 = 40;
    let marks = if most > MARKS { chats * MARKS / most } else { chats };
    usize::try_from(marks).unwrap_or_default()
}
