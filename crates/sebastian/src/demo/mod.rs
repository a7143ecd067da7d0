//! `sebastian demo`: a busy hour, played at speed on the real product with nothing installed.
//!
//! The platform is simulated and served over real HTTP; the ingest and the worker are those of the other commands, on
//! the embedded ledger in a temporary folder, or with `--memory` on one in memory. A script written from a seed says who comes when and what goes wrong. At the end every
//! promise is judged over the platform's own ledger, and the exit code tells the verdict.

mod args;
mod desk;
mod dice;
mod figures;
mod home;
mod keep;
mod live;
mod names;
mod pace;
mod paint;
mod plain;
mod play;
mod scene;
mod script;
mod signals;
mod summary;
mod verdict;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

pub use self::args::Demo;
use self::{
    desk::{Desk, Lag},
    dice::Dice,
    home::Home,
    live::Live,
    pace::Pace,
    plain::Plain,
    play::{Ended, Play},
    scene::Scene,
    script::Script,
    signals::{INTERRUPTED, Interrupts},
    summary::Summary,
    verdict::{Evidence, all_hold},
};
use crate::{failure::Failure, print};

/// Pictures a second are enough for the eye, and cost next to nothing.
const PICTURE: Duration = Duration::from_millis(100);

/// How often lines say how the desk stands.
const STATUS: Duration = Duration::from_secs(1);

/// Plays, shows and judges. Must be called within a tokio runtime, once a process.
pub(crate) async fn run(demo: &Demo) -> Result<ExitCode, Failure> {
    let script =
        Script::write(demo.chats, demo.agents, demo.capacity, demo.seed.unwrap_or_else(Dice::draw_seed));
    let script = Arc::new(script);
    let live = !demo.plain && io::stdout().is_terminal() && io::stdin().is_terminal();
    if !live {
        start_log();
    }
    let home = Home::new(demo.memory)?;
    let interrupts = Interrupts::listen(home.folder())?;
    let pace = Pace { length: demo.length };
    let lag = Lag::of(&script, pace);
    let desk = Desk::open(&script, lag, home).await?;
    print(&summary::announcement(&script, demo));

    let play = Play::new(script.clone(), pace, &desk.platform);
    let scene = Scene::new(play.clone(), &desk.sources);
    let ended = tokio::select! {
        ended = play.run(&desk) => Some(ended?),
        () = show(&desk, scene, live) => None,
        () = interrupts.first() => None,
        failure = desk.broke() => {
            live::give_back();
            return Err(failure);
        }
    };
    live::give_back();
    let Some(ended) = ended else {
        print(&format!(
            "Stopped at {} by the desk's clock; nothing was judged.\n",
            play.pace.clock(play.elapsed())
        ));
        desk.close().await?;
        return Ok(INTERRUPTED.into());
    };
    let held = judge(&desk, &play, lag, ended).await?;
    if demo.keep {
        tokio::select! {
            () = stay_open(&desk, &play) => {}
            () = interrupts.first() => {}
            failure = desk.broke() => return Err(failure),
        }
    }
    desk.close().await?;
    Ok(exit_code(held))
}

/// The one thing scripts and CI read.
fn exit_code(held: bool) -> ExitCode {
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Shows the desk for as long as it is let; ends when somebody wants to leave.
async fn show(desk: &Desk, mut scene: Scene, live: bool) {
    // Where a terminal does not let itself be controlled, lines do.
    if let Some(live) = live.then(|| Live::open(paint::colours())).and_then(Result::ok) {
        return show_live(desk, scene, live).await;
    }
    let mut plain = Plain::new();
    let mut ticks = tokio::time::interval(STATUS);
    loop {
        ticks.tick().await;
        desk.platform.read(|state| scene.look(state));
        let lines = plain.news(&scene).into_iter().chain([plain::status(&scene)]);
        print(&lines.map(|line| line + "\n").collect::<String>());
    }
}

async fn show_live(desk: &Desk, mut scene: Scene, mut live: Live) {
    let mut ticks = tokio::time::interval(PICTURE);
    loop {
        ticks.tick().await;
        desk.platform.read(|state| scene.look(state));
        let leaves = live.show(&scene).and_then(|()| live.asked_to_leave());
        // A terminal that is gone leaves too.
        if leaves.unwrap_or(true) {
            return;
        }
    }
}

/// Judges the play, prints what it was, and tells whether every promise held.
async fn judge(desk: &Desk, play: &Play, lag: Lag, ended: Ended) -> Result<bool, Failure> {
    let evidence = Evidence::gather(desk, play, lag, ended).await?;
    let findings = evidence.judge();
    let summary = Summary::new(desk, &play.script, play.pace, &evidence, &findings);
    print(&summary.text(paint::colours()));
    Ok(all_hold(&findings))
}

/// Prints what to try, then whatever happens.
async fn stay_open(desk: &Desk, play: &Arc<Play>) {
    desk.platform.clear_faults();
    print(&keep::instructions(desk, &play.script));
    let mut scene = Scene::new(play.clone(), &desk.sources);
    let mut plain = Plain::new();
    desk.platform.read(|state| scene.look(state));
    plain.all_news(&scene);
    let mut ticks = tokio::time::interval(PICTURE);
    loop {
        ticks.tick().await;
        desk.platform.read(|state| scene.look(state));
        print(&plain.all_news(&scene).into_iter().map(|line| line + "\n").collect::<String>());
    }
}

/// Log lines go to standard error, and only when `RUST_LOG` asks for them.
fn start_log() {
    let Ok(filter) = EnvFilter::try_from_default_env() else { return };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // Only a second log could be refused, and there is no first.
    let _only = log.finish().try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_verdict() {
        assert_eq!(exit_code(true), ExitCode::SUCCESS);
        assert_eq!(exit_code(false), ExitCode::FAILURE);
    }
}
