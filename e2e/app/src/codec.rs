//! Reading one HTTP/1.1 request and writing one answer. Bounded, strict, and no more than the tests' clients and probes send.

use anyhow::{Context, bail};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const LONGEST_LINE: u64 = 8 * 1024;
const MOST_HEADERS: usize = 100;
const LARGEST_BODY: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) wants_close: bool,
}

/// `None` when the client closed the connection between two requests.
pub(crate) async fn read_request(
    from: &mut (impl AsyncBufRead + Unpin),
) -> anyhow::Result<Option<Request>> {
    let Some(first) = read_line(from).await? else {
        return Ok(None);
    };
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(protocol), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        bail!("not a request line: {first:?}");
    };
    let mut wants_close = protocol == "HTTP/1.0";
    let (mut length, mut chunked, mut expects) = (0usize, false, false);
    for seen in 0.. {
        let line = read_line(from)
            .await?
            .context("the connection ended within the headers")?;
        if line.is_empty() {
            break;
        }
        if seen >= MOST_HEADERS {
            bail!("more than {MOST_HEADERS} headers");
        }
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("not a header: {line:?}"))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                length = value
                    .parse()
                    .with_context(|| format!("content-length is {value:?}"))?
            }
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => {
                wants_close |= value
                    .split(',')
                    .any(|word| word.trim().eq_ignore_ascii_case("close"))
            }
            "expect" => expects = true,
            _ => {}
        }
    }
    if expects {
        bail!("`Expect` is not supported");
    }
    if chunked {
        skip_chunks(from).await?;
    } else {
        skip(from, length).await?;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        wants_close,
    }))
}

pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) content_type: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a str,
    pub(crate) close: bool,
}

/// Head and body leave in one write, so that a process that ends between two writes cannot leave half an answer behind.
pub(crate) async fn write_answer(
    to: &mut (impl AsyncWrite + Unpin),
    answer: &Answer<'_>,
) -> std::io::Result<()> {
    use std::fmt::Write;
    let reason = match answer.status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    let mut out = String::with_capacity(256 + answer.body.len());
    let _ = write!(
        out,
        "HTTP/1.1 {} {reason}\r\ncontent-type: {}\r\ncontent-length: {}\r\n",
        answer.status,
        answer.content_type,
        answer.body.len()
    );
    for (name, value) in answer.headers {
        let _ = write!(out, "{name}: {value}\r\n");
    }
    if answer.close {
        out.push_str("connection: close\r\n");
    }
    out.push_str("\r\n");
    out.push_str(answer.body);
    to.write_all(out.as_bytes()).await?;
    to.flush().await
}

async fn read_line(from: &mut (impl AsyncBufRead + Unpin)) -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    from.take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        bail!(
            "the connection ended within a line, or the line is longer than {LONGEST_LINE} bytes"
        );
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(
        String::from_utf8(line).context("a line is not UTF-8")?,
    ))
}

async fn skip(from: &mut (impl AsyncBufRead + Unpin), length: usize) -> anyhow::Result<()> {
    if length > LARGEST_BODY {
        bail!("a body of {length} bytes is too large");
    }
    let mut left = length;
    let mut part = [0u8; 4096];
    while left > 0 {
        let most = left.min(part.len());
        let read = from.read(part.get_mut(..most).unwrap_or_default()).await?;
        if read == 0 {
            bail!("the connection ended within the body");
        }
        left -= read;
    }
    Ok(())
}

async fn skip_chunks(from: &mut (impl AsyncBufRead + Unpin)) -> anyhow::Result<()> {
    loop {
        let line = read_line(from)
            .await?
            .context("the connection ended within the body")?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .with_context(|| format!("a chunk's size is {size:?}"))?;
        skip(from, size).await?;
        if size == 0 {
            // Trailers end with an empty line.
            while !read_line(from)
                .await?
                .context("the connection ended within the trailers")?
                .is_empty()
            {}
            return Ok(());
        }
        if !read_line(from)
            .await?
            .context("the connection ended within the body")?
            .is_empty()
        {
            bail!("a chunk is longer than its size");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> anyhow::Result<Option<Request>> {
        read_request(&mut text.as_bytes()).await
    }

    #[tokio::test]
    async fn reads_bodies_and_the_wish_to_close() {
        let text = "POST /a?b=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        let mut rest = text.as_bytes();
        let first = read_request(&mut rest).await.unwrap().unwrap();
        assert_eq!(
            (
                first.method.as_str(),
                first.path.as_str(),
                first.query.as_str(),
                first.wants_close
            ),
            ("POST", "/a", "b=1", false)
        );
        assert!(read_request(&mut rest).await.unwrap().unwrap().wants_close);
        assert!(read_request(&mut rest).await.unwrap().is_none());
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert!(read(chunked).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn refuses_what_is_broken() {
        for text in [
            "nonsense\r\n\r\n",
            "GET / HTTP/1.1\r\nHost",
            "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        ] {
            assert!(read(text).await.is_err(), "{text:?} was taken");
        }
    }
}
