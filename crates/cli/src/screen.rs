//! Drawing the same lines over and over in a terminal, in place. Pure but for asking the terminal's size.
//! What the lines say is not decided here.

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

impl Size {
    /// That of stdout; asked anew for each picture, for windows change their size.
    pub fn of_stdout() -> Self {
        let asked = rustix::termios::tcgetwinsize(std::io::stdout())
            .ok()
            .map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)))
            .filter(|(columns, rows)| *columns > 0 && *rows > 0);
        let (columns, rows) = asked.unwrap_or((80, 24));
        Self { columns, rows }
    }
}

/// What stands on the screen.
#[derive(Debug, Default)]
pub struct Screen {
    /// Width of each line drawn last, in characters.
    drawn: Vec<usize>,
}

impl Screen {
    /// What to write so that `text` takes the place of what was drawn before.
    pub fn draw(&mut self, text: &str, size: Size) -> String {
        let back = self.rows(size);
        let mut lines: Vec<String> = text
            .trim_end()
            .lines()
            .map(|line| cut(line, size.columns))
            .collect();
        // What scrolled off the top cannot be gone over any more: one row stays for the cursor.
        let most = size.rows.saturating_sub(1).max(1);
        if lines.len() > most {
            let hidden = lines.len() - (most - 1);
            lines.truncate(most - 1);
            lines.push(cut(&format!("… {hidden} more lines"), size.columns));
        }
        self.drawn = lines.iter().map(|line| line.chars().count()).collect();
        let mut drawn = String::new();
        if back > 0 {
            drawn.push_str(&format!("\x1b[{back}A"));
        }
        // Without wrapping (DEC private mode 7) characters of double width cannot take another row either.
        drawn.push_str("\r\x1b[J\x1b[?7l");
        for line in lines {
            drawn.push_str(&line);
            drawn.push('\n');
        }
        drawn.push_str("\x1b[?7h");
        drawn
    }

    /// Rows that what was drawn takes now: a terminal made narrower has wrapped it.
    fn rows(&self, size: Size) -> usize {
        let columns = size.columns.max(1);
        let rows = self
            .drawn
            .iter()
            .map(|width| width.div_ceil(columns).max(1));
        rows.sum()
    }
}

/// At most so wide, and without what moves the cursor: texts come from containers and schedulers too.
fn cut(line: &str, columns: usize) -> String {
    let plain = line
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    let columns = columns.max(1);
    let mut cut: String = plain.clone().take(columns).collect();
    if plain.count() > columns {
        cut.pop();
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(columns: usize, rows: usize) -> Size {
        Size { columns, rows }
    }

    /// The visible lines of a picture.
    fn lines(drawn: &str) -> Vec<&str> {
        let body = drawn.split("\x1b[?7l").nth(1).unwrap();
        body.split("\x1b[?7h").next().unwrap().lines().collect()
    }

    #[test]
    fn lines_are_cut_to_the_width() {
        let mut screen = Screen::default();
        let drawn = screen.draw("web in shop\nwaits for pods of both sides\n", size(12, 24));
        assert_eq!(lines(&drawn), ["web in shop", "waits for p…"]);
        assert!(!drawn.starts_with("\x1b[1A"), "nothing was drawn before");
        // As wide as the terminal is not too wide.
        assert_eq!(
            lines(&screen.draw("123456789012", size(12, 24))),
            ["123456789012"]
        );
    }

    #[test]
    fn goes_back_over_what_it_drew() {
        let mut screen = Screen::default();
        screen.draw("a\nb\n\nc", size(40, 24));
        assert!(
            screen
                .draw("a", size(40, 24))
                .starts_with("\x1b[4A\r\x1b[J")
        );
        assert!(
            screen
                .draw("a", size(40, 24))
                .starts_with("\x1b[1A\r\x1b[J")
        );
    }

    #[test]
    fn counts_the_rows_that_a_narrower_terminal_has_wrapped() {
        let mut screen = Screen::default();
        screen.draw(&format!("{}\nshort\n", "x".repeat(50)), size(60, 24));
        // 50 characters are three rows of 20, the other line is one.
        assert!(screen.draw("next", size(20, 24)).starts_with("\x1b[4A"));
        screen.draw(&"x".repeat(50), size(20, 24));
        assert!(
            screen.draw("next", size(20, 24)).starts_with("\x1b[1A"),
            "it was cut"
        );
    }

    #[test]
    fn no_more_lines_than_can_be_gone_over() {
        let mut screen = Screen::default();
        let drawn = screen.draw("1\n2\n3\n4\n5\n6", size(40, 5));
        assert_eq!(lines(&drawn), ["1", "2", "3", "… 3 more lines"]);
        assert!(screen.draw("1", size(40, 5)).starts_with("\x1b[4A"));
    }

    #[test]
    fn what_moves_the_cursor_is_not_drawn() {
        let drawn = Screen::default().draw("pod: \x1b[2Jgone\tx", size(40, 24));
        assert_eq!(lines(&drawn), ["pod:  [2Jgone x"]);
    }
}
