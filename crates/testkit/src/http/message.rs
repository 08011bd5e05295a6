//! Requests read, answers written: the HTTP/1.1 that Git clients speak.

use std::io::{self, BufRead, Read, Write};

/// The largest request body taken in; a negotiation with some hundred thousand wants fits.
const MAX_BODY_BYTES: u64 = 256 << 20;
const MAX_HEADER_BYTES: u64 = 64 << 10;

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head; `None` when the client has closed the connection.
    pub(super) fn read(input: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut input = input.take(MAX_HEADER_BYTES);
        let Some(first) = line(&mut input)? else {
            return Ok(None);
        };
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(invalid("the request line is not HTTP"));
        };
        let mut head = Head {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
        };
        while let Some(header) = line(&mut input)?.filter(|header| !header.is_empty()) {
            let (name, value) = header
                .split_once(':')
                .ok_or_else(|| invalid("a header without colon"))?;
            head.headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Some(head))
    }

    /// A header's value, empty when it is missing. `name` is in lower case.
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value)
    }

    pub(super) fn wants_close(&self) -> bool {
        self.header("connection").eq_ignore_ascii_case("close")
    }
}

/// Reads the body that `head` announces, without its transfer coding.
pub(super) fn read_body(
    head: &Head,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> io::Result<Vec<u8>> {
    if head.header("expect").eq_ignore_ascii_case("100-continue") {
        output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        output.flush()?;
    }
    if head.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        return read_chunks(input);
    }
    let length = match head.header("content-length") {
        "" => 0,
        length => length
            .parse()
            .map_err(|_| invalid("Content-Length is no number"))?,
    };
    let mut body = Vec::new();
    read_exactly(input, length, &mut body)?;
    Ok(body)
}

fn read_chunks(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(&mut input.take(MAX_HEADER_BYTES))?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid("a chunk size is no number"))?;
        read_exactly(input, size, &mut body)?;
        let end = line(&mut input.take(MAX_HEADER_BYTES))?;
        if end.is_none_or(|end| !end.is_empty()) {
            return Err(invalid("a chunk without end (trailers are not supported)"));
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_exactly(input: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if length.saturating_add(body.len() as u64) > MAX_BODY_BYTES {
        return Err(invalid("the body is too large"));
    }
    if input.take(length).read_to_end(body)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// One line without its end; `None` at the end of input.
pub(super) fn line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        line.pop();
    }
    String::from_utf8(line)
        .map(Some)
        .map_err(|_| invalid("a header that is not UTF-8"))
}

/// Writes a whole answer.
pub(super) fn write_answer(
    output: &mut impl Write,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let length = body.len().to_string();
    write_head(
        output,
        status,
        headers
            .iter()
            .copied()
            .chain([("Content-Length", length.as_str())]),
    )?;
    output.write_all(body)?;
    output.flush()
}

/// Writes the head of an answer.
pub(super) fn write_head<'a>(
    output: &mut impl Write,
    status: u16,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> io::Result<()> {
    // Clients go by the number; the reason is decoration.
    write!(output, "HTTP/1.1 {status} Status\r\n")?;
    for (name, value) in headers {
        write!(output, "{name}: {value}\r\n")?;
    }
    output.write_all(b"\r\n")
}

/// Writes one chunk of a chunked body; an empty one ends it.
pub(super) fn write_chunk(output: &mut impl Write, chunk: &[u8]) -> io::Result<()> {
    write!(output, "{:x}\r\n", chunk.len())?;
    output.write_all(chunk)?;
    output.write_all(b"\r\n")?;
    output.flush()
}

pub(super) fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_joined() {
        let mut input: &[u8] =
            b"POST /r HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nrest";
        let head = Head::read(&mut input).unwrap().unwrap();
        assert_eq!(read_body(&head, &mut input, &mut Vec::new()).unwrap(), b"abcde");
        assert_eq!(input, b"rest");
    }

    #[test]
    fn a_body_cut_short_is_an_error() {
        let mut input: &[u8] = b"POST /r HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
        let head = Head::read(&mut input).unwrap().unwrap();
        assert!(read_body(&head, &mut input, &mut Vec::new()).is_err());
    }

    #[test]
    fn expect_is_answered_before_the_body_is_read() {
        let mut input: &[u8] = b"POST /r HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na";
        let mut output = Vec::new();
        let head = Head::read(&mut input).unwrap().unwrap();
        read_body(&head, &mut input, &mut output).unwrap();
        assert!(output.starts_with(b"HTTP/1.1 100"));
    }
}
