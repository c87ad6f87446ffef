//! The client's side of HTTP/1.1: one request out, one answer in, strictly. No pool, no retry, no lenience: whatever a careful client would
//! call broken is an error here, and says which kind.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

const LONGEST_LINE: u64 = 8 * 1024;
const MOST_HEADERS: usize = 100;
const LARGEST_BODY: usize = 1024 * 1024;

/// How a request failed. The names go into reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// No connection was made.
    Refused,
    /// The connection broke off before the first byte of the answer: reset, or closed without having been announced.
    Reset,
    /// Not finished in time, whether the connection or the answer was missing.
    TimedOut,
    /// The answer began and did not end.
    Unfinished,
    /// A whole answer, but not one the application gives by itself.
    BadAnswer,
}

impl Failure {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::TimedOut => "timed out",
            Self::Unfinished => "unfinished",
            Self::BadAnswer => "bad answer",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) version: String,
    pub(crate) pod: String,
    pub(crate) injected: bool,
    /// The server said that it closes the connection after this answer.
    pub(crate) closes: bool,
}

type Problem = (Failure, String);

pub(crate) async fn read_answer(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Answer, Problem> {
    let first = match line(from).await {
        Ok(Some(first)) => first,
        Ok(None) => return Err((Failure::Reset, "closed before an answer".to_owned())),
        Err(problem) => return Err((Failure::Reset, problem)),
    };
    let mut words = first.splitn(3, ' ');
    let (protocol, status) = (
        words.next().unwrap_or_default(),
        words.next().and_then(|word| word.parse().ok()),
    );
    let (true, Some(status)) = (protocol == "HTTP/1.1" || protocol == "HTTP/1.0", status) else {
        return Err((Failure::BadAnswer, format!("not a status line: {first:?}")));
    };
    let mut answer = Answer {
        status,
        closes: protocol == "HTTP/1.0",
        ..Answer::default()
    };
    let (mut length, mut chunked) = (None, false);
    for seen in 0.. {
        let line = unfinished(line(from).await)?;
        if line.is_empty() {
            break;
        }
        if seen >= MOST_HEADERS {
            return Err((
                Failure::BadAnswer,
                format!("more than {MOST_HEADERS} headers"),
            ));
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err((Failure::BadAnswer, format!("not a header: {line:?}")));
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => match value.parse::<usize>() {
                Ok(bytes) if bytes <= LARGEST_BODY => length = Some(bytes),
                _ => return Err((Failure::BadAnswer, format!("content-length is {value:?}"))),
            },
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => {
                answer.closes |= value
                    .split(',')
                    .any(|word| word.trim().eq_ignore_ascii_case("close"))
            }
            "x-version" => answer.version = value.to_owned(),
            "x-pod" => answer.pod = value.to_owned(),
            "x-injected" => answer.injected = value == "1",
            _ => {}
        }
    }
    match (chunked, length) {
        (true, _) => skip_chunks(from).await?,
        (false, Some(bytes)) => skip(from, bytes).await?,
        (false, None) => {
            return Err((
                Failure::BadAnswer,
                "the answer does not say how long it is".to_owned(),
            ));
        }
    }
    Ok(answer)
}

fn unfinished(line: Result<Option<String>, String>) -> Result<String, Problem> {
    match line {
        Ok(Some(line)) => Ok(line),
        Ok(None) => Err((Failure::Unfinished, "closed within the answer".to_owned())),
        Err(problem) => Err((Failure::Unfinished, problem)),
    }
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    from.take(LONGEST_LINE)
        .read_until(b'\n', &mut line)
        .await
        .map_err(|problem| problem.to_string())?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err("a line has no end".to_owned());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line)
        .map(Some)
        .map_err(|_| "a line is not UTF-8".to_owned())
}

async fn skip(from: &mut (impl AsyncBufRead + Unpin), bytes: usize) -> Result<(), Problem> {
    let mut left = bytes;
    let mut part = [0u8; 2048];
    while left > 0 {
        let most = left.min(part.len());
        match from.read(part.get_mut(..most).unwrap_or_default()).await {
            Ok(0) => {
                return Err((
                    Failure::Unfinished,
                    format!("closed with {left} bytes of {bytes} missing"),
                ));
            }
            Ok(read) => left -= read,
            Err(problem) => return Err((Failure::Unfinished, problem.to_string())),
        }
    }
    Ok(())
}

async fn skip_chunks(from: &mut (impl AsyncBufRead + Unpin)) -> Result<(), Problem> {
    loop {
        let text = unfinished(line(from).await)?;
        let size = usize::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16);
        let Some(size) = size.ok().filter(|size| *size <= LARGEST_BODY) else {
            return Err((Failure::BadAnswer, format!("a chunk's size is {text:?}")));
        };
        skip(from, size).await?;
        if size == 0 {
            while !unfinished(line(from).await)?.is_empty() {}
            return Ok(());
        }
        if !unfinished(line(from).await)?.is_empty() {
            return Err((
                Failure::BadAnswer,
                "a chunk is longer than its size".to_owned(),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(text: &str, expected: Result<u16, Failure>) {
        let found = read_answer(&mut text.as_bytes()).await;
        assert_eq!(
            found
                .as_ref()
                .map(|answer| answer.status)
                .map_err(|(failure, _)| *failure),
            expected,
            "{text:?} gave {found:?}"
        );
    }

    #[tokio::test]
    async fn tells_the_kinds_of_failure_apart() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(200)).await;
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Ok(200),
        )
        .await;
        check("", Err(Failure::Reset)).await;
        check("HTTP/1.1 20", Err(Failure::Reset)).await;
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
            Err(Failure::Unfinished),
        )
        .await;
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
            Err(Failure::Unfinished),
        )
        .await;
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
            Err(Failure::Unfinished),
        )
        .await;
        check("HTTP/1.1 200 OK\r\n\r\nok", Err(Failure::BadAnswer)).await;
        check("SSH-2.0\r\n\r\n", Err(Failure::BadAnswer)).await;
    }

    #[tokio::test]
    async fn reads_who_answered_and_whether_it_closes() {
        let text = "HTTP/1.1 500 X\r\nx-version: bad\r\nX-Pod: p\r\nx-injected: 1\r\nConnection: keep-alive, Close\r\ncontent-length: 0\r\n\r\n";
        let answer = read_answer(&mut text.as_bytes()).await.unwrap();
        assert_eq!(
            (
                answer.version.as_str(),
                answer.pod.as_str(),
                answer.injected,
                answer.closes
            ),
            ("bad", "p", true, true)
        );
    }
}
