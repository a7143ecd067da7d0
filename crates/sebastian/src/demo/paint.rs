//! Text with colours, for the live view and the summary: few, and none that a light or a dark terminal cannot show.

use std::fmt::Write as _;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Plain,
    Bold,
    Dim,
    /// All is well.
    Good,
    /// Nothing wrong, and no room left.
    Full,
    /// By hand, or broken.
    Bad,
    /// What the eye should find.
    Accent,
}

impl Look {
    /// What follows ESC [ and stands before `m`.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Full => "33",
            Self::Bad => "31",
            Self::Accent => "36",
        }
    }
}

/// A line of pieces. Every character is one column wide: no other is used here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(Look, String)>);

impl Line {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    #[must_use]
    pub fn with(mut self, look: Look, text: impl Into<String>) -> Self {
        self.0.push((look, text.into()));
        self
    }

    /// Adds a plain piece.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.with(Look::Plain, text)
    }

    /// Adds blanks up to `column`, or cuts what stands beyond it.
    #[must_use]
    pub fn upto(self, column: usize) -> Self {
        let width = self.width();
        if width > column { self.cut(column) } else { self.text(" ".repeat(column - width)) }
    }

    /// Adds the pieces of `other`.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// Drops whatever stands beyond `column`.
    #[must_use]
    pub fn cut(mut self, column: usize) -> Self {
        let mut left = column;
        for (_, text) in &mut self.0 {
            if let Some((end, _)) = text.char_indices().nth(left) {
                text.truncate(end);
            }
            left -= text.chars().count();
        }
        self
    }

    /// The text alone.
    pub fn plain(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().to_owned()
    }

    /// The text with its colours.
    pub fn painted(&self) -> String {
        let mut painted = String::new();
        for (look, text) in self.0.iter().filter(|(_, text)| !text.is_empty()) {
            // Writing to a string cannot fail.
            let _never = match look {
                Look::Plain => write!(painted, "{text}"),
                look => write!(painted, "\x1b[{}m{text}\x1b[0m", look.code()),
            };
        }
        painted
    }

    /// As the reader can show it.
    pub fn shown(&self, colours: bool) -> String {
        if colours { self.painted() } else { self.plain() }
    }
}

/// Whether standard output shows colours: it is a terminal, and nobody asked for none (no-color.org).
pub(crate) fn colours() -> bool {
    use std::io::IsTerminal;
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_and_filled_by_what_is_seen() {
        let line = Line::new().with(Look::Good, "██░").text(" Ayu");
        assert_eq!((line.width(), line.clone().cut(2).plain()), (7, "██".to_owned()));
        assert_eq!(line.clone().upto(9).width(), 9);
        assert_eq!(line.painted(), "\u{1b}[32m██░\u{1b}[0m Ayu");
    }
}
