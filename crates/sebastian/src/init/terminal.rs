//! Questions to a person at a terminal.

use std::io::{self, IsTerminal, Write};

use crossterm::{
    event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    terminal,
};
use secrecy::SecretString;

/// Longer than any key or password; a whole file pasted by mistake ends here.
const SECRET_CHARS_MAX: usize = 1_024;

/// A person who can be asked.
pub(super) struct Terminal(());

/// The person left (Ctrl-C, Ctrl-D), or the terminal is gone.
pub(super) struct Left;

impl From<io::Error> for Left {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Terminal {
    /// The terminal this process runs at. `None`: nobody would see a question or could answer it.
    pub fn of_this_process() -> Option<Self> {
        (io::stdin().is_terminal() && io::stdout().is_terminal()).then_some(Self(()))
    }

    /// A line of text; what is typed can be seen. An empty line means `default`, where there is one.
    pub fn line(&self, question: &str, default: Option<&str>) -> Result<String, Left> {
        loop {
            match default {
                Some(default) => print(&format!("{question} [{default}]: "))?,
                None => print(&format!("{question}: "))?,
            }
            match (read_line()?, default) {
                (typed, _) if !typed.is_empty() => return Ok(typed),
                (_, Some(default)) => return Ok(default.to_owned()),
                (_, None) => {}
            }
        }
    }

    /// A line of text, which may be empty.
    pub fn line_or_nothing(&self, question: &str) -> Result<Option<String>, Left> {
        print(&format!("{question}: "))?;
        Ok(Some(read_line()?).filter(|typed| !typed.is_empty()))
    }

    /// A line that is not shown. `None`: an empty one.
    pub fn secret(&self, question: &str) -> Result<Option<SecretString>, Left> {
        let typed = tokio::task::block_in_place(|| read_unseen(question));
        print("\n")?;
        typed
    }

    /// Yes or no.
    pub fn yes(&self, question: &str, default: bool) -> Result<bool, Left> {
        let choice = if default { "Y/n" } else { "y/N" };
        loop {
            match self.line(question, Some(choice))?.to_ascii_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                "y/n" => return Ok(default),
                _ => print("Please answer y or n.\n")?,
            }
        }
    }
}

/// What was typed, without the spaces around it. Fails at the end of input.
fn read_line() -> Result<String, Left> {
    let mut line = String::new();
    if tokio::task::block_in_place(|| io::stdin().read_line(&mut line))? == 0 {
        print("\n")?;
        return Err(Left);
    }
    Ok(line.trim().to_owned())
}

/// The terminal's raw mode, ended on drop.
struct Raw;

impl Raw {
    fn begin() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _gone = terminal::disable_raw_mode();
    }
}

/// Asks only once nothing typed is shown any more, lest a quick answer be.
fn read_unseen(question: &str) -> Result<Option<SecretString>, Left> {
    let _raw = Raw::begin()?;
    print(&format!("{question}: "))?;
    // One allocation, so that growing leaves no copies behind.
    let mut typed = String::with_capacity(4 * SECRET_CHARS_MAX);
    loop {
        let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event::read()? else {
            continue;
        };
        let with_control = modifiers.contains(KeyModifiers::CONTROL);
        match code {
            KeyCode::Enter => break,
            KeyCode::Char('j' | 'm') if with_control => break,
            KeyCode::Char('c' | 'd') if with_control => return Err(Left),
            KeyCode::Char('u') if with_control => typed.clear(),
            KeyCode::Char(_) if with_control => {}
            KeyCode::Char(letter) if typed.len() < SECRET_CHARS_MAX => typed.push(letter),
            KeyCode::Backspace => {
                typed.pop();
            }
            _ => {}
        }
    }
    let typed = typed.trim();
    Ok(if typed.is_empty() { None } else { Some(typed.into()) })
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
