//! Words of the Common Expression Language: from text to tokens with their places.
//!
//! Grammar and meaning do not belong here. Source of the lexical rules: the CEL language definition,
//! <https://github.com/google/cel-spec/blob/master/doc/langdef.md>.

/// One word of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Identifier(String),
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longest first, so that `<=` is not read as `<` and `=`.
const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

/// Splits a whole expression. The second half of each pair is the byte where the token starts.
///
/// # Errors
///
/// What cannot be a token, in the words a person reads in the answer of a refused write.
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut reader = Reader { source, at: 0 };
    let mut all = Vec::new();
    loop {
        reader.skip_blank();
        let start = reader.at;
        let token = reader.next()?;
        let end = token == Token::End;
        all.push((token, start));
        if end {
            return Ok(all);
        }
    }
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            let skipped = rest.len() - trimmed.len();
            let comment = if trimmed.starts_with("//") {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else {
                0
            };
            self.at += skipped + comment;
            if comment == 0 {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Token, String> {
        let Some(first) = self.peek() else {
            return Ok(Token::End);
        };
        if let Some(prefix) = self.string_prefix() {
            return self.string(prefix);
        }
        if first.is_ascii_digit()
            || (first == '.' && self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let rest = self.rest();
            let length = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            let word = rest[..length].to_owned();
            self.at += length;
            return Ok(Token::Identifier(word));
        }
        match SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => Err(format!(
                "Syntax error: token recognition error at: '{first}'"
            )),
        }
    }

    /// The letters before an opening quote: `r` for raw, `b` for bytes, in either case and order.
    fn string_prefix(&self) -> Option<&'static str> {
        let rest = self.rest().as_bytes();
        let quote = |at: usize| matches!(rest.get(at), Some(b'"' | b'\''));
        let letter = |at: usize| rest.get(at).map(u8::to_ascii_lowercase);
        match (letter(0), letter(1)) {
            _ if quote(0) => Some(""),
            (Some(b'r'), _) if quote(1) => Some("r"),
            (Some(b'b'), _) if quote(1) => Some("b"),
            (Some(b'r'), Some(b'b')) | (Some(b'b'), Some(b'r')) if quote(2) => Some("rb"),
            _ => None,
        }
    }

    fn string(&mut self, prefix: &str) -> Result<Token, String> {
        self.at += prefix.len();
        let (raw, bytes) = (prefix.contains('r'), prefix.contains('b'));
        let single = if self.rest().starts_with('"') {
            "\""
        } else {
            "'"
        };
        let triple = single.repeat(3);
        let quote = if self.rest().starts_with(&triple) {
            triple.as_str()
        } else {
            single
        };
        self.at += quote.len();
        let mut text: Vec<u8> = Vec::new();
        loop {
            if self.rest().starts_with(quote) {
                self.at += quote.len();
                break;
            }
            let Some(next) = self.peek() else {
                return Err("Syntax error: string without an end".to_owned());
            };
            if next == '\n' && quote.len() == 1 {
                return Err("Syntax error: line break in a string".to_owned());
            }
            self.at += next.len_utf8();
            if next == '\\' && !raw {
                self.escape(&mut text, bytes)?;
            } else {
                text.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if bytes {
            return Ok(Token::Bytes(text));
        }
        String::from_utf8(text)
            .map(Token::Text)
            .map_err(|_| "Syntax error: string is not UTF-8".to_owned())
    }

    /// What follows a backslash. In bytes, `\x` and octal escapes are bytes, in text code points.
    fn escape(&mut self, text: &mut Vec<u8>, bytes: bool) -> Result<(), String> {
        let invalid = || "Syntax error: invalid escape in a string".to_owned();
        let kind = self.peek().ok_or_else(invalid)?;
        self.at += kind.len_utf8();
        let simple = match kind {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '?' | '"' | '\'' | '`' => u8::try_from(kind).ok(),
            _ => None,
        };
        if let Some(byte) = simple {
            text.push(byte);
            return Ok(());
        }
        let (digits, radix) = match kind {
            'x' | 'X' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return Err(invalid()),
        };
        let word = self.rest().get(..digits).ok_or_else(invalid)?;
        let code = u32::from_str_radix(word, radix).map_err(|_| invalid())?;
        self.at += digits;
        if bytes && !matches!(kind, 'u' | 'U') {
            text.push(u8::try_from(code).map_err(|_| invalid())?);
        } else {
            let letter = char::from_u32(code).ok_or_else(invalid)?;
            text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Token, String> {
        let rest = self.rest();
        let hexadecimal = rest.starts_with("0x") || rest.starts_with("0X");
        let mut length = 0;
        let mut double = false;
        let bytes = rest.as_bytes();
        if hexadecimal {
            length = 2;
            while bytes.get(length).is_some_and(u8::is_ascii_hexdigit) {
                length += 1;
            }
        } else {
            while let Some(byte) = bytes.get(length) {
                let next_is_digit = bytes.get(length + 1).is_some_and(u8::is_ascii_digit);
                match byte {
                    b'0'..=b'9' => {}
                    b'.' if !double && next_is_digit => double = true,
                    b'e' | b'E' if next_is_digit => double = true,
                    b'e' | b'E'
                        if matches!(bytes.get(length + 1), Some(b'+' | b'-'))
                            && bytes.get(length + 2).is_some_and(u8::is_ascii_digit) =>
                    {
                        double = true;
                        length += 1;
                    }
                    _ => break,
                }
                length += 1;
            }
        }
        let word = &rest[..length];
        let unsigned = !double && matches!(bytes.get(length), Some(b'u' | b'U'));
        let invalid = || format!("invalid int literal '{word}'");
        let token = if double {
            Token::Double(word.parse().map_err(|_| invalid())?)
        } else {
            let whole = if hexadecimal {
                u64::from_str_radix(&word[2..], 16)
            } else {
                word.parse()
            }
            .map_err(|_| invalid())?;
            if unsigned {
                Token::Uint(whole)
            } else {
                Token::Int(whole)
            }
        };
        self.at += length + usize::from(unsigned);
        Ok(token)
    }
}
