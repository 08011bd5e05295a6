//! Bringing packs near, as many at a time as makes it faster.

use std::time::Duration;

use futures::{StreamExt as _, stream::FuturesUnordered};
use headstart_digest::PackId;
use tokio::time::Instant;

use crate::{ContentId, Store};

/// Packs on their way at first, and the fewest and most. A store holds a few MiB for each. Few, since those that share a link are
/// complete late, and only what is complete can be written out.
const FIRST: usize = 4;
const FEWEST: usize = 2;
const MOST: usize = 16;
/// So many more are tried at a time.
const STEP: usize = 2;
/// More at a time go on while each step brings this many times as much; fewer when it brings this little.
const GAIN: f64 = 1.08;
const LOSS: f64 = 0.75;

/// Prepares packs, in this order.
pub(super) async fn all(store: &dyn Store, packs: Vec<PackId>) {
    let mut packs = packs.into_iter();
    let mut width = Width::new(Instant::now());
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < width.now
            && let Some(pack) = packs.next()
        {
            under_way.push(store.prepare(ContentId::Pack(pack)));
        }
        match under_way.next().await {
            Some(bytes) => width.note(bytes, Instant::now()),
            None => return,
        }
    }
}

/// How many at a time. Grows step by step while more come in the same time, which they do as long as latency is what is waited
/// for; takes a step back that brought nothing, and shrinks at once when fewer come: a link or a server that is crowded.
struct Width {
    now: usize,
    /// The last change was a step up.
    grew: bool,
    began: Instant,
    /// Since then.
    packs: usize,
    bytes: u64,
    /// Bytes per second before.
    rate: Option<f64>,
}

impl Width {
    fn new(now: Instant) -> Self {
        Width {
            now: FIRST,
            grew: false,
            began: now,
            packs: 0,
            bytes: 0,
            rate: None,
        }
    }

    /// Takes note of a pack that came; of no bytes, one that was here already or will not come, which says nothing.
    fn note(&mut self, bytes: u64, now: Instant) {
        if bytes == 0 {
            return;
        }
        self.packs += 1;
        self.bytes += bytes;
        if self.packs < self.now {
            return;
        }
        let elapsed = now.duration_since(self.began).max(Duration::from_millis(1));
        let rate = self.bytes as f64 / elapsed.as_secs_f64();
        let last = self.now;
        self.now = match self.rate {
            Some(before) if rate < before * LOSS => (last / 2).max(FEWEST),
            Some(before) if rate < before * GAIN && self.grew => last - STEP,
            Some(before) if rate < before * GAIN => last,
            _ => (last + STEP).min(MOST),
        };
        self.grew = self.now > last;
        self.rate = Some(rate);
        (self.began, self.packs, self.bytes) = (now, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The width after as many rounds, where a round of `width` packs takes as long as `seconds` says.
    fn after(rounds: usize, seconds: impl Fn(usize, usize) -> f64) -> usize {
        let mut now = Instant::now();
        let mut width = Width::new(now);
        for round in 0..rounds {
            let packs = width.now;
            now += Duration::from_secs_f64(seconds(round, packs));
            for _ in 0..packs {
                width.note(1 << 24, now);
            }
        }
        width.now
    }

    #[test]
    fn latency_makes_it_wide_and_a_full_link_does_not() {
        assert_eq!(after(9, |_, _| 0.1), MOST);
        let full = |_, packs| packs as f64 * 0.1;
        assert_eq!(after(9, full), FIRST, "one step showed that it does not help");
    }

    #[test]
    fn a_crowded_server_is_asked_less() {
        let crowded = |round, packs| packs as f64 * f64::powi(2.0, round as i32);
        assert_eq!(after(9, crowded), FEWEST);
    }

    #[test]
    fn what_was_here_already_says_nothing() {
        let mut width = Width::new(Instant::now());
        for _ in 0..100 {
            width.note(0, Instant::now());
        }
        assert_eq!(width.now, FIRST);
    }
}
