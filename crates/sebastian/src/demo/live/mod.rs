//! The live view: the desk at work, in the terminal.

mod frame;
mod screen;

use std::io;

use self::screen::Screen;
pub(crate) use self::screen::give_back;
use super::scene::Scene;

/// The view on the terminal.
pub(crate) struct Live(Screen);

impl Live {
    /// Takes the terminal, if there is one that can be controlled.
    pub fn open(colours: bool) -> io::Result<Self> {
        Screen::open(colours).map(Self)
    }

    /// Shows the scene as it is now.
    pub fn show(&mut self, scene: &Scene) -> io::Result<()> {
        let (columns, rows) = self.0.size();
        self.0.draw(&frame::compose(scene, columns, rows))
    }

    /// Whether somebody typed Ctrl-C, q or Esc. Does not wait.
    pub fn asked_to_leave(&mut self) -> io::Result<bool> {
        self.0.asked_to_leave()
    }
}
