//! A person at a terminal, who reads what a program asks and types.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use sebastian_testkit::eventually;

use crate::processes::SOON;

/// Killed on `Drop`.
pub struct Person {
    keyboard: File,
    /// Held open: the terminal outlives the program.
    terminal: OwnedFd,
    screen: Arc<Mutex<Screen>>,
    child: Mutex<Child>,
}

#[derive(Default)]
struct Screen {
    text: String,
    /// Up to here it has been read.
    read: usize,
}

impl Person {
    /// Starts `command` with a terminal of its own for all three streams.
    pub fn start(command: &mut Command) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let terminal = open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let stream = || terminal.try_clone().unwrap();
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let keyboard = File::from(keyboard);
        let screen = Arc::new(Mutex::new(Screen::default()));
        let (mut shown, seen) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length @ 1..) = shown.read(&mut bytes) {
                seen.lock().unwrap().text += &String::from_utf8_lossy(&bytes[..length]);
            }
        });
        Self { keyboard, terminal, screen, child: Mutex::new(child) }
    }

    /// Waits until `words` stand below what was read so far, and reads up to their end.
    pub async fn sees(&self, words: &str) {
        eventually("the words are on the screen", SOON, async || {
            let mut screen = self.screen.lock().unwrap();
            match screen.text[screen.read..].find(words) {
                Some(at) => {
                    screen.read += at + words.len();
                    Ok(())
                }
                None => Err(format!("no {words:?} below what was read of:\n{}", screen.text)),
            }
        })
        .await;
    }

    pub fn types(&self, text: &str) {
        (&self.keyboard).write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the question, then types the answer and Enter.
    pub async fn answers(&self, question: &str, answer: &str) {
        self.sees(question).await;
        self.types(&format!("{answer}\r"));
    }

    /// Everything that stood on the screen, what was typed and echoed too.
    pub fn saw(&self) -> String {
        self.screen.lock().unwrap().text.clone()
    }

    /// Whether the terminal shows what is typed.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// The program's exit code.
    pub async fn wait(&self, within: Duration) -> Option<i32> {
        eventually("the program has ended", within, async || {
            self.child.lock().unwrap().try_wait().unwrap().ok_or_else(|| self.saw())
        })
        .await
        .code()
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        // It may have ended long ago.
        let _ended = child.kill();
        let _reaped = child.wait();
    }
}
