//! The terminal, borrowed for a while and given back as it was, whatever happens.

use std::{
    io::{self, Write},
    panic,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    execute, queue,
    style::Print,
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
        LeaveAlternateScreen,
    },
};

use crate::demo::paint::Line;

/// Whether the terminal is ours. The hook for panics has nothing but this to go by.
static BORROWED: AtomicBool = AtomicBool::new(false);

/// The terminal's other screen. Given back on drop, and before a panic is told.
pub(super) struct Screen {
    /// What stands there, line by line.
    shown: Vec<String>,
    size: (u16, u16),
    colours: bool,
}

impl Screen {
    /// Takes the terminal. Fails where there is none that can be controlled; then nothing is changed.
    pub fn open(colours: bool) -> io::Result<Self> {
        let size = terminal::size()?;
        terminal::enable_raw_mode()?;
        BORROWED.store(true, Ordering::SeqCst);
        let screen = Self { shown: Vec::new(), size, colours };
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            told(info);
        }));
        Ok(screen)
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (usize::from(self.size.0), usize::from(self.size.1))
    }

    /// Shows `lines`. Only what differs is written, all at once, so that nothing flickers.
    pub fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        if !BORROWED.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (columns, rows) = self.size();
        let mut next: Vec<String> =
            lines.iter().take(rows).map(|line| line.clone().cut(columns).shown(self.colours)).collect();
        next.resize(rows, String::new());
        let mut out = io::stdout().lock();
        queue!(out, BeginSynchronizedUpdate)?;
        for (row, line) in (0_u16..).zip(&next) {
            if self.shown.get(usize::from(row)) != Some(line) {
                queue!(out, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
            }
        }
        queue!(out, EndSynchronizedUpdate)?;
        self.shown = next;
        out.flush()
    }

    /// Takes in what was typed and how the window changed, without waiting. True when somebody wants to leave.
    pub fn asked_to_leave(&mut self) -> io::Result<bool> {
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let interrupts =
                        key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                    if interrupts || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(true);
                    }
                }
                Event::Resize(columns, rows) => {
                    self.size = (columns, rows);
                    self.shown.clear();
                    execute!(io::stdout(), Clear(ClearType::All))?;
                }
                _ => {}
            }
        }
        Ok(false)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Leaves the terminal as it was found; once.
pub(crate) fn give_back() {
    if BORROWED.swap(false, Ordering::SeqCst) {
        // There is nobody to tell when the terminal is gone.
        let _shown = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _raw = terminal::disable_raw_mode();
    }
}
