//! Deterministic filler that compresses and deltas like source text.

use std::fmt::Write as _;

const WORDS: [&str; 48] = [
    "account",
    "address",
    "amount",
    "async",
    "await",
    "balance",
    "billing",
    "button",
    "cache",
    "card",
    "chart",
    "client",
    "config",
    "const",
    "context",
    "currency",
    "customer",
    "event",
    "export",
    "fetch",
    "filter",
    "form",
    "format",
    "function",
    "handler",
    "header",
    "index",
    "interface",
    "invoice",
    "layout",
    "ledger",
    "limit",
    "locale",
    "logger",
    "member",
    "module",
    "order",
    "payment",
    "promise",
    "queue",
    "record",
    "render",
    "request",
    "session",
    "state",
    "stream",
    "transfer",
    "wallet",
];

/// A seeded generator of words, numbers and source-like text (SplitMix64 beneath).
pub(super) struct Prose {
    state: u64,
}

impl Prose {
    pub(super) fn seeded(seed: u64) -> Self {
        Prose {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1),
        }
    }

    /// A number from 0 to below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub(super) fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }

    /// Source-like text of some paragraphs, about 350 bytes each.
    pub(super) fn source(&mut self, paragraphs: usize) -> String {
        let mut text = String::with_capacity(paragraphs * 360);
        for _ in 0..paragraphs {
            let (name, argument) = (self.word(), self.word());
            writeln!(
                text,
                "export function {name}{}({argument}: number) {{",
                self.below(10_000)
            )
            .expect("writing to a String cannot fail");
            for _ in 0..6 {
                let (left, call, right) = (self.word(), self.word(), self.word());
                writeln!(
                    text,
                    "  const {left} = await {call}.{right}({argument}, {});",
                    self.below(1_000_000)
                )
                .expect("writing to a String cannot fail");
            }
            text.push_str("}\n\n");
        }
        text
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_story() {
        assert_eq!(Prose::seeded(7).source(3), Prose::seeded(7).source(3));
        assert_ne!(Prose::seeded(7).source(3), Prose::seeded(8).source(3));
    }
}
