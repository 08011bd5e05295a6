//! One connection: requests in, answers out, faults where they were asked for.

use std::{
    io::{self, BufReader, Read, Write as _},
    net::{Shutdown, TcpStream},
};

use flate2::read::GzDecoder;

use super::{
    Fault, Request, Shared, backend,
    message::{Head, read_body, write_answer, write_chunk, write_head},
};

/// Serves requests until the client closes the connection, or a fault does.
pub(super) fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream.try_clone()?);
    while let Some(head) = Head::read(&mut input)? {
        let body = read_body(&head, &mut input, &mut stream)?;
        let next = answer(&mut stream, shared, &head, body)?;
        if next == Next::Close || head.wants_close() {
            break;
        }
    }
    stream.shutdown(Shutdown::Both)
}

#[derive(PartialEq, Eq)]
enum Next {
    Request,
    Close,
}

fn answer(stream: &mut TcpStream, shared: &Shared, head: &Head, body: Vec<u8>) -> io::Result<Next> {
    let (number, fault) = shared.begin(Request {
        method: head.method.clone(),
        target: head.target.clone(),
        protocol: head.header("git-protocol").to_owned(),
        authorization: head.header("authorization").to_owned(),
        body: inflate(head, &body)?,
        is_gzipped: !head.header("content-encoding").is_empty(),
        status: 0,
        sent_bytes: 0,
    });
    let mut whole = |status, header, body: &[u8]| {
        shared.note(number, status, body.len());
        write_answer(stream, status, &[header], body)?;
        Ok(Next::Request)
    };
    if !is_authorized(shared, head.header("authorization")) {
        return whole(401, ("WWW-Authenticate", "Basic realm=\"test\""), b"");
    }
    let (limit, at_limit) = match fault.clone() {
        Some(Fault::Answer {
            status,
            content_type,
            body,
        }) => return whole(status, ("Content-Type", &content_type), body.as_bytes()),
        Some(Fault::Redirect(url)) => return whole(302, ("Location", &url), b""),
        Some(Fault::Busy(seconds)) => return whole(429, ("Retry-After", &seconds.to_string()), b""),
        Some(Fault::CutAfter(bytes)) => (bytes, AtLimit::Cut),
        Some(Fault::StallAfter(bytes)) => (bytes, AtLimit::Stall),
        Some(Fault::FlipByte(_)) | None => (u64::MAX, AtLimit::Cut),
    };
    let mut flip = match fault {
        Some(Fault::FlipByte(at)) => Some(at),
        _ => None,
    };
    if let Some(file) = shared.options.file(&head.target) {
        let Ok(content) = file else {
            return whole(404, ("Content-Type", "text/plain"), b"there is no such file\n");
        };
        let length = content.len().to_string();
        write_head(stream, 200, [("Content-Length", length.as_str())])?;
        let sent = &content[..content.len().min(usize::try_from(limit).unwrap_or(usize::MAX))];
        shared.note(number, 200, sent.len());
        stream.write_all(sent)?;
        return match sent.len() == content.len() {
            true => Ok(Next::Request),
            false => end_early(stream, shared, at_limit),
        };
    }

    let mut answer = backend::run(&shared.options, head, body)?;
    let headers = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    shared.note(number, answer.status, 0);
    write_head(
        stream,
        answer.status,
        headers.chain([("Transfer-Encoding", "chunked")]),
    )?;
    let mut left = limit;
    while left > 0 {
        let mut piece = answer.next_piece(left)?;
        if let Some(at) = flip {
            match usize::try_from(at).ok().and_then(|at| piece.get_mut(at)) {
                Some(byte) => (*byte, flip) = (!*byte, None),
                None => flip = Some(at - piece.len() as u64),
            }
        }
        shared.note(number, answer.status, piece.len());
        // An empty piece, at the end of the answer, is also what ends a chunked body.
        write_chunk(stream, &piece)?;
        if piece.is_empty() {
            return Ok(Next::Request);
        }
        left -= piece.len() as u64;
    }
    end_early(stream, shared, at_limit)
}

fn end_early(stream: &mut TcpStream, shared: &Shared, at_limit: AtLimit) -> io::Result<Next> {
    if at_limit == AtLimit::Stall {
        shared.stalled();
        // Returns when the client hangs up or the server is dropped; a well-behaved client sends nothing here.
        while stream.read(&mut [0; 64])? > 0 {}
    }
    Ok(Next::Close)
}

#[derive(PartialEq, Eq)]
enum AtLimit {
    Cut,
    Stall,
}

fn is_authorized(shared: &Shared, authorization: &str) -> bool {
    let Some((user, password)) = &shared.options.credentials else {
        return true;
    };
    let expected = base64(format!("{user}:{password}").as_bytes());
    authorization.strip_prefix("Basic ") == Some(expected.as_str())
}

fn inflate(head: &Head, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    match head.header("content-encoding") {
        "gzip" | "x-gzip" => GzDecoder::new(body).read_to_end(&mut inflated)?,
        _ => (&mut &*body).read_to_end(&mut inflated)?,
    };
    Ok(inflated)
}

/// Base64 with padding, which basic authentication wants; not worth a dependency.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= group.len() {
                DIGITS[index as usize].into()
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        assert_eq!(base64(b"user:pass"), "dXNlcjpwYXNz");
        assert_eq!(base64(b"a:b1"), "YTpiMQ==");
        assert_eq!(base64(b"\xff\xfe"), "//4=");
    }
}
