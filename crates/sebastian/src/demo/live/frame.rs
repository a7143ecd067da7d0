//! One picture of the desk, as lines for a terminal of any size.

use std::time::Duration;

use crate::demo::{
    pace::{HOUR, clock_at, counter, words},
    paint::{Line, Look},
    scene::{AgentSeen, Moment, Scene, What},
};

/// Columns of the agents' side, on a wide terminal and on others; what the names take of it.
const LEFT_WIDE: usize = 42;
const LEFT: usize = 36;
const NAME: usize = 17;

/// What keeps the sides apart.
const GAP: usize = 2;

/// A bar is at most this wide; up to half as many places have two columns each.
const BAR: usize = 10;

/// Rows of the head and of the foot, and of the queue's curve on a tall terminal and on others.
const HEAD: usize = 2;
const FOOT: usize = 2;
const CURVE_TALL: usize = 5;
const CURVE: usize = 3;

/// From so many columns or rows on, a terminal is wide or tall. Narrower than the least, the agents alone are shown.
const WIDE: usize = 110;
const TALL: usize = 30;
const BOTH_SIDES: usize = 72;

const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The picture: at most `rows` lines, none wider than `columns`.
pub(super) fn compose(scene: &Scene, columns: usize, rows: usize) -> Vec<Line> {
    let body = rows.saturating_sub(HEAD + FOOT);
    let inner = columns.saturating_sub(2);
    let mut lines = vec![head(scene, inner), Line::new()];
    if columns < BOTH_SIDES {
        lines.extend(agents(scene, inner, body));
    } else {
        let width = if columns < WIDE { LEFT } else { LEFT_WIDE };
        let height = if rows < TALL { CURVE } else { CURVE_TALL };
        let left = agents(scene, width - GAP, body);
        let right = queue_and_stream(scene, inner - width, height, body);
        let blank = || std::iter::repeat(Line::new());
        let pairs = left.into_iter().chain(blank()).zip(right.into_iter().chain(blank()));
        let join = |(left, right): (Line, Line)| left.cut(width - GAP).upto(width).then(right);
        lines.extend(pairs.take(body).map(join));
    }
    lines.resize(rows.saturating_sub(FOOT), Line::new());
    lines.push(Line::new());
    lines.push(foot(scene));
    let inset = lines.into_iter().map(|line| Line::new().text(" ").then(line).cut(columns));
    inset.take(rows).collect()
}

/// The desk's clock and how far the hour is.
fn head(scene: &Scene, width: usize) -> Line {
    const PROGRESS: usize = 24;
    let pace = scene.pace();
    let elapsed = scene.play.elapsed();
    let clock = pace.clock(elapsed);
    let gone = pace.at_desk(elapsed).min(HOUR);
    let done = usize::try_from(gone.as_secs()).unwrap_or(0) * PROGRESS / 3_600;
    let times = format!("  {} of {}", counter(elapsed), counter(pace.length));
    let name = Line::new().with(Look::Bold, "Sebastian");
    let subtitle = format!("  a busy hour at a support desk, seed {}", scene.play.script.seed);
    let title = name.clone().with(Look::Dim, subtitle);
    let right = Line::new()
        .with(Look::Bold, format!("{clock}  "))
        .with(Look::Accent, "━".repeat(done))
        .with(Look::Dim, "─".repeat(PROGRESS - done))
        .with(Look::Dim, times);
    let gap = width.saturating_sub(right.width());
    let title = if title.width() + GAP <= gap { title } else { name };
    title.upto(gap).then(right)
}

/// Everybody at the desk, in as many columns as it takes; whoever has no place is counted.
fn agents(scene: &Scene, width: usize, rows: usize) -> Vec<Line> {
    let (load, room) = scene.places();
    let heading = Line::new()
        .with(Look::Bold, "Agents")
        .upto(NAME)
        .with(Look::Dim, format!("{load} of {room} places taken"));
    let rows = rows.saturating_sub(1);
    let all = scene.agents.len();
    let mut lines = vec![heading];
    if all <= rows {
        lines.extend(scene.agents.iter().map(|agent| agent_row(agent, scene.capacity)));
        return lines;
    }
    let cell = 10 + bar_width(scene.capacity) + 2;
    let per_row = (width / cell).max(1);
    let rows = rows.saturating_sub(1);
    let shown = (rows * per_row).min(all);
    lines.extend(scene.agents[..shown].chunks(per_row).map(|cells| {
        let cell = |line: Line, (agent, n): (&AgentSeen, usize)| {
            line.upto(n * cell).then(agent_cell(agent, scene.capacity))
        };
        cells.iter().zip(0..).fold(Line::new(), cell)
    }));
    if shown < all {
        lines.push(Line::new().with(Look::Dim, format!("and {} more", all - shown)));
    }
    lines
}

fn agent_row(agent: &AgentSeen, capacity: u32) -> Line {
    let row = Line::new().text(agent.name.as_str()).upto(NAME).then(bar(agent, capacity));
    let row = row.upto(NAME + bar_width(capacity) + 1).text(format!("{}/{capacity}", agent.load));
    if agent.online { row } else { row.with(Look::Dim, "  break") }
}

fn agent_cell(agent: &AgentSeen, capacity: u32) -> Line {
    let first_name = agent.name.split(' ').next().unwrap_or(&agent.name);
    let look = if agent.online { Look::Plain } else { Look::Dim };
    Line::new().with(look, first_name).upto(9).text(" ").then(bar(agent, capacity))
}

fn bar_width(capacity: u32) -> usize {
    let places = usize::try_from(capacity).unwrap_or(BAR);
    if places * 2 <= BAR { places * 2 } else { places.min(BAR) }
}

/// Taken places and free ones. What people gave beyond capacity shows as a full bar in another colour.
fn bar(agent: &AgentSeen, capacity: u32) -> Line {
    let width = bar_width(capacity);
    let load = usize::try_from(agent.load).unwrap_or(usize::MAX);
    let places = usize::try_from(capacity.max(1)).unwrap_or(BAR);
    let taken = load.saturating_mul(width).div_ceil(places).min(width);
    let look = match agent.load.cmp(&capacity) {
        _ if !agent.online => Look::Dim,
        std::cmp::Ordering::Less => Look::Good,
        std::cmp::Ordering::Equal => Look::Full,
        std::cmp::Ordering::Greater => Look::Bad,
    };
    Line::new().with(look, "█".repeat(taken)).with(Look::Dim, "░".repeat(width - taken))
}

fn queue_and_stream(scene: &Scene, width: usize, height: usize, rows: usize) -> Vec<Line> {
    let mut lines = vec![waiting(scene)];
    lines.extend(curve(scene, width, height));
    lines.push(Line::new());
    lines.push(Line::new().with(Look::Bold, "Assignments"));
    let left = rows.saturating_sub(lines.len());
    lines.extend(scene.moments.iter().filter_map(|moment| stream_row(scene, moment)).take(left));
    lines
}

fn waiting(scene: &Scene) -> Line {
    let heading = Line::new().with(Look::Bold, "Waiting  ");
    match scene.waiting.first() {
        None => heading.with(Look::Dim, "nobody"),
        Some(longest) => heading
            .with(Look::Accent, scene.waiting.len().to_string())
            .with(Look::Dim, format!("  the longest for {}", words(scene.pace().at_desk(*longest)))),
    }
}

/// How many waited, over the hour, with the hour's beginning, middle and end below.
fn curve(scene: &Scene, width: usize, rows: usize) -> Vec<Line> {
    const MINUTES: usize = 60;
    let width = width.min(MINUTES);
    let top = scene.queue.iter().max().copied().unwrap_or_default().max(rows * 2);
    let minute = |column: usize| column * MINUTES / width.max(1);
    let most = |column: usize| {
        let minutes = scene.queue.get(minute(column)..)?;
        minutes.iter().take(minute(column + 1) - minute(column)).max().copied()
    };
    let columns: Vec<Option<usize>> = (0..width).map(most).collect();
    let height = |waiting: usize| (waiting * rows * 8).div_ceil(top);
    let row = |level: usize| {
        let block = |waiting: &Option<usize>| match waiting {
            Some(waiting) => EIGHTHS[height(*waiting).saturating_sub(level * 8).min(8)],
            None => ' ',
        };
        Line::new().with(Look::Accent, columns.iter().map(block).collect::<String>())
    };
    let mut lines: Vec<Line> = (0..rows).rev().map(row).collect();
    let gap = width.saturating_sub(15) / 2;
    let axis = format!(
        "{}{}{}{}{}",
        clock_at(Duration::ZERO),
        "─".repeat(gap),
        clock_at(HOUR / 2),
        "─".repeat(width.saturating_sub(15 + gap)),
        clock_at(HOUR)
    );
    lines.push(Line::new().with(Look::Dim, axis));
    lines
}

/// A line of the stream; ends of chats are too many to be told.
fn stream_row(scene: &Scene, moment: &Moment) -> Option<Line> {
    const CUSTOMER: usize = 7;
    const SOURCE: usize = 14;
    const AGENT: usize = 24;
    const WAITED: usize = 42;
    let row = Line::new().with(Look::Dim, scene.pace().clock(moment.at)).upto(CUSTOMER);
    Some(match &moment.what {
        What::Assigned { customer, source, agent, waited, by_hand } => {
            let row = row.text(customer.as_str()).upto(SOURCE).with(Look::Dim, &**source).upto(AGENT - 1);
            let row = row.text(" ").with(Look::Good, "→ ").text(agent.as_str()).upto(WAITED);
            if *by_hand {
                row.with(Look::Bad, "  by hand")
            } else {
                row.with(Look::Dim, format!("  after {}", words(scene.pace().at_desk(*waited))))
            }
        }
        What::Transferred { customer, to, .. } => {
            let row = row.text(customer.as_str()).upto(SOURCE).with(Look::Bad, "moved").upto(AGENT);
            row.with(Look::Bad, "→ ").text(to.as_str()).upto(WAITED).with(Look::Bad, "  by hand")
        }
        What::Presence { agent, online: false } => row.with(Look::Dim, format!("{agent} goes on a break")),
        What::Presence { agent, online: true } => row.with(Look::Dim, format!("{agent} is back")),
        What::Resolved { .. } => return None,
    })
}

fn foot(scene: &Scene) -> Line {
    let to_come = scene.play.script.figures().chats.saturating_sub(scene.opened);
    let figure = |line: Line, (count, what): (usize, &str)| {
        line.with(Look::Bold, count.to_string()).with(Look::Dim, format!(" {what}   "))
    };
    let figures = [
        (scene.done, "served"),
        (scene.in_hand, "in hand"),
        (scene.waiting.len(), "waiting"),
        (to_come, "to come"),
    ];
    figures.into_iter().fold(Line::new(), figure).with(Look::Dim, "q quits")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sebastian_core::Role;
    use sebastian_platform::simulated::{Simulated, SimulatedConfig};

    use super::*;
    use crate::demo::{pace::Pace, play::Play, script::Script};

    /// A desk where everybody has chats and some wait.
    fn scene(agents: u32, capacity: u32) -> (Simulated, Scene) {
        let script = Arc::new(Script::write(300, agents, capacity, 7));
        let tenant = SimulatedConfig { agents: script.staff.clone(), ..SimulatedConfig::tenant() };
        let platform = Simulated::start(tenant).unwrap();
        let play = Play::new(script.clone(), Pace { length: Duration::from_secs(30) }, &platform);
        let mut scene = Scene::new(play, &std::collections::HashMap::new());
        let agents: Vec<_> = script.staff.iter().filter(|agent| agent.role == Role::Agent).collect();
        for (index, customer) in script.customers.iter().enumerate() {
            platform.new_chat(&customer.room, customer.channel);
            if index < 200 {
                platform.dashboard_assign(&customer.room, agents[index % agents.len()].id);
            }
        }
        platform.read(|state| scene.look(state));
        (platform, scene)
    }

    #[tokio::test]
    async fn a_picture_fits_a_terminal_of_any_size() {
        for (agents, capacity) in [(1, 1), (12, 3), (200, 40)] {
            let (_platform, scene) = scene(agents, capacity);
            for columns in [1, 20, 71, 72, 80, 109, 110, 300] {
                for rows in [1, 2, 5, 24, 30, 100] {
                    let lines = compose(&scene, columns, rows);
                    assert!(lines.len() <= rows, "{} lines in {columns} by {rows}", lines.len());
                    assert!(lines.iter().all(|line| line.width() <= columns), "{columns} by {rows}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_picture_shows_who_holds_what_and_who_waits() {
        let (_platform, scene) = scene(12, 20);
        let lines: Vec<String> = compose(&scene, 120, 40).iter().map(Line::plain).collect();
        let picture = lines.join("\n");
        for shown in ["Ayu Lestari", "17/20", "Waiting  64", "11:30", "by hand", "200 in hand", "64 waiting"]
        {
            assert!(picture.contains(shown), "no {shown} in\n{picture}");
        }
    }
}
