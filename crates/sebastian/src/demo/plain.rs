//! The same desk as lines, for logs, pipes and terminals that show no more.

use super::{
    pace::words,
    scene::{Moment, Scene, What},
};

/// What happened since it was last asked, and how the desk stands.
pub(crate) struct Plain {
    told: usize,
}

impl Plain {
    pub fn new() -> Self {
        Self { told: 0 }
    }

    /// What people did since the last call, oldest first; the many assignments are left to the figures.
    pub fn news(&mut self, scene: &Scene) -> Vec<String> {
        let new = scene.happened - std::mem::replace(&mut self.told, scene.happened);
        let news = scene.moments.iter().take(new).rev();
        news.filter(|moment| is_rare(&moment.what)).map(|moment| line(scene, moment)).collect()
    }

    /// Everything that happened since the last call, oldest first.
    pub fn all_news(&mut self, scene: &Scene) -> Vec<String> {
        let new = scene.happened - std::mem::replace(&mut self.told, scene.happened);
        scene.moments.iter().take(new).rev().map(|moment| line(scene, moment)).collect()
    }
}

fn is_rare(what: &What) -> bool {
    match what {
        What::Assigned { by_hand, .. } => *by_hand,
        What::Transferred { .. } | What::Presence { .. } => true,
        What::Resolved { .. } => false,
    }
}

fn line(scene: &Scene, Moment { at, what }: &Moment) -> String {
    let clock = scene.pace().clock(*at);
    match what {
        What::Assigned { customer, agent, by_hand: true, .. } => {
            format!("{clock}  {customer} is given to {agent} by hand, in the dashboard")
        }
        What::Assigned { customer, agent, waited, .. } => {
            format!("{clock}  {customer} goes to {agent} after {}", words(scene.pace().at_desk(*waited)))
        }
        What::Transferred { customer, from, to } => {
            format!("{clock}  {customer} is moved by hand from {from} to {to}")
        }
        What::Presence { agent, online: false } => format!("{clock}  {agent} goes on a break"),
        What::Presence { agent, online: true } => format!("{clock}  {agent} is back"),
        What::Resolved { customer, agent } => format!("{clock}  {agent} resolves the chat of {customer}"),
    }
}

/// How the desk stands, in one line.
pub(crate) fn status(scene: &Scene) -> String {
    let (load, room) = scene.places();
    let clock = scene.pace().clock(scene.play.elapsed());
    let longest = scene.waiting.first().map_or(String::new(), |longest| {
        format!(", the longest for {}", words(scene.pace().at_desk(*longest)))
    });
    let (waiting, done, chats) = (scene.waiting.len(), scene.done, scene.play.script.figures().chats);
    format!("{clock}  {done} of {chats} served, {load} of {room} places taken, {waiting} waiting{longest}")
}
