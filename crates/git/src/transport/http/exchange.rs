//! One request and its answer.

use std::{
    io::{self, BufRead, BufReader, Cursor, Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes};
use parking_lot::Mutex;
use reqwest::{Response, header};

use super::{
    HttpClient,
    gzip::{self, Inflating},
    settings::SlowestPace,
};
use crate::transport::{Failure, Patience};

/// A request, then its answer: made when the answer is first looked at, for only then the body is complete.
pub(super) struct Exchange<'a> {
    client: &'a HttpClient,
    patience: Patience<'a>,
    stage: Stage,
    pace: Pace,
}

enum Stage {
    Prepared(Request),
    Answered(Response),
    Over,
}

pub(super) struct Request {
    pub(super) url: url::Url,
    pub(super) headers: Vec<String>,
    pub(super) body: PostBody,
    pub(super) content_type: String,
}

pub(super) type SharedExchange<'a> = Arc<Mutex<Exchange<'a>>>;

impl<'a> Exchange<'a> {
    pub(super) fn prepared(
        client: &'a HttpClient,
        patience: &Patience<'a>,
        request: Request,
    ) -> SharedExchange<'a> {
        Self::shared(client, patience, Stage::Prepared(request))
    }

    pub(super) fn answered(
        client: &'a HttpClient,
        patience: &Patience<'a>,
        response: Response,
    ) -> SharedExchange<'a> {
        Self::shared(client, patience, Stage::Answered(response))
    }

    fn shared(client: &'a HttpClient, patience: &Patience<'a>, stage: Stage) -> SharedExchange<'a> {
        Arc::new(Mutex::new(Exchange {
            client,
            patience: patience.clone(),
            stage,
            pace: Pace::new(client.settings.slowest_pace),
        }))
    }

    /// Sends the request unless it was sent.
    fn answer(&mut self) -> io::Result<()> {
        let Stage::Prepared(_) = self.stage else {
            return Ok(());
        };
        let Stage::Prepared(request) = std::mem::replace(&mut self.stage, Stage::Over) else {
            unreachable!("it was looked at just before")
        };
        let body = std::mem::take(&mut *request.body.0.lock());
        // A listing shrinks; the objects of a pack are compressed already.
        let is_listing = body
            .get(4..)
            .is_some_and(|body| body.starts_with(b"command=ls-refs"));
        let (body, is_gzipped) = match body.len() > gzip::WORTH_BYTES {
            true => (gzip::deflate(&body), true),
            false => (body, false),
        };
        let mut sent = self
            .client
            .request(&request.url, &request.headers, Some(Bytes::from(body)));
        if is_gzipped {
            sent = sent.header(header::CONTENT_ENCODING, gzip::NAME);
        }
        if is_listing {
            sent = sent.header(header::ACCEPT_ENCODING, gzip::NAME);
        }
        let response = self.client.send(&self.patience, sent)?;
        self.stage = Stage::Answered(self.client.check(
            &self.patience,
            response,
            Some(&request.content_type),
        )?);
        Ok(())
    }

    fn is_gzipped(&mut self) -> io::Result<bool> {
        self.answer()?;
        match &self.stage {
            Stage::Answered(response) => Ok(gzip::is_gzipped(response.headers())),
            _ => Ok(false),
        }
    }

    /// The next piece of the answer; empty at its end.
    fn next_chunk(&mut self) -> io::Result<Bytes> {
        self.answer()?;
        let Stage::Answered(response) = &mut self.stage else {
            return Ok(Bytes::new());
        };
        let since = Instant::now();
        match self.client.wait(&self.patience, response.chunk())? {
            Ok(Some(chunk)) => {
                if let Some(limit) = self.pace.fell_below(since.elapsed(), chunk.len()) {
                    return Err(self.patience.failure.fail(Failure::Stalled(limit)));
                }
                Ok(chunk)
            }
            Ok(None) => {
                self.stage = Stage::Over;
                Ok(Bytes::new())
            }
            Err(error) => {
                self.stage = Stage::Over;
                let failure = Failure::HungUp(io::Error::other(error.without_url()));
                Err(self.patience.failure.fail(failure))
            }
        }
    }
}

/// Measures whether an answer comes as fast as the user wants. Only time spent waiting counts: what is slow may be us.
#[derive(Debug)]
struct Pace {
    slowest: Option<SlowestPace>,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(slowest: Option<SlowestPace>) -> Self {
        Pace {
            slowest,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Notes a piece; answers for how long it was too slow, if it was.
    fn fell_below(&mut self, waited: Duration, bytes: usize) -> Option<Duration> {
        let slowest = self.slowest?;
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < slowest.within {
            return None;
        }
        let wanted = self.waited.as_secs_f64() * slowest.bytes_per_second as f64;
        let is_slow = (self.bytes as f64) < wanted;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        is_slow.then_some(slowest.within)
    }
}

/// Collects the body of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct PostBody(Arc<Mutex<Vec<u8>>>);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The one header that is asked for, once the answer has come and was found good.
pub(super) struct Headers<'a> {
    exchange: SharedExchange<'a>,
    text: Cursor<String>,
}

impl<'a> Headers<'a> {
    pub(super) fn new(exchange: &SharedExchange<'a>, content_type: &str) -> Self {
        Headers {
            exchange: Arc::clone(exchange),
            text: Cursor::new(format!("content-type: {content_type}\n")),
        }
    }
}

impl BufRead for Headers<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.exchange.lock().answer()?;
        self.text.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.text.consume(amount);
    }
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.exchange.lock().answer()?;
        self.text.read(buffer)
    }
}

/// The answer, inflated where it comes compressed; otherwise piece by piece, without a copy in between.
pub(super) enum Body<'a> {
    /// Nobody has looked at the answer yet.
    Unopened(SharedExchange<'a>),
    Plain(Chunks<'a>),
    Gzip(Box<BufReader<Inflating<Chunks<'a>>>>),
}

impl<'a> Body<'a> {
    pub(super) fn new(exchange: &SharedExchange<'a>) -> Self {
        Body::Unopened(Arc::clone(exchange))
    }
}

impl BufRead for Body<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Body::Unopened(exchange) = self {
            let is_gzipped = exchange.lock().is_gzipped()?;
            let chunks = Chunks {
                exchange: Arc::clone(exchange),
                chunk: Bytes::new(),
                taken_bytes: 0,
            };
            *self = match is_gzipped {
                true => Body::Gzip(Box::new(BufReader::new(Inflating::new(chunks)))),
                false => Body::Plain(chunks),
            };
        }
        match self {
            Body::Unopened(_) => unreachable!("it was opened just before"),
            Body::Plain(chunks) => chunks.fill_buf(),
            Body::Gzip(inflating) => inflating.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Body::Unopened(_) => {}
            Body::Plain(chunks) => chunks.consume(amount),
            Body::Gzip(inflating) => inflating.consume(amount),
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// The bytes of an answer as they are sent.
pub(super) struct Chunks<'a> {
    exchange: SharedExchange<'a>,
    chunk: Bytes,
    taken_bytes: u64,
}

impl gzip::Counted for Chunks<'_> {
    fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }
}

impl BufRead for Chunks<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() {
            self.chunk = self.exchange.lock().next_chunk()?;
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.taken_bytes += amount as u64;
        self.chunk.advance(amount);
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_counts_waiting_only_and_starts_over_when_it_was_kept() {
        let mut pace = Pace::new(Some(SlowestPace {
            bytes_per_second: 100,
            within: Duration::from_secs(2),
        }));
        let second = Duration::from_secs(1);
        assert_eq!(pace.fell_below(second, 150), None);
        assert_eq!(pace.fell_below(Duration::ZERO, 50), None);
        assert_eq!(pace.fell_below(second, 0), None, "200 bytes in 2 s");
        assert_eq!(pace.fell_below(second, 199), None);
        assert_eq!(pace.fell_below(second, 0), Some(2 * second));
        assert_eq!(Pace::new(None).fell_below(100 * second, 0), None);
    }
}
