//! Two trees side by side.

use std::{cmp::Ordering, ops::ControlFlow};

use super::{NodeId, Tree};

/// What each of two trees has at a path; one of them may have nothing.
pub(crate) type Both = (Option<NodeId>, Option<NodeId>);

impl Tree<'_> {
    /// Visits every path of this tree and of another one, those of both once, until told to stop: folders before what is in
    /// them, names in order, the root first.
    pub(crate) fn walk_both<B>(
        &self,
        other: &Tree<'_>,
        mut visit: impl FnMut(&[u8], Both) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut path = Vec::new();
        let mut stack = vec![((Some(Self::ROOT), Some(Self::ROOT)), 0)];
        while let Some((both, parent_length)) = stack.pop() {
            path.truncate(parent_length);
            if parent_length > 0 {
                path.push(b'/');
            }
            match both {
                (Some(id), _) => path.extend_from_slice(self.name(id)),
                (None, Some(id)) => path.extend_from_slice(other.name(id)),
                (None, None) => {}
            }
            visit(&path, both)?;
            // The stack gives back the last first.
            let children = self.children_of_both(other, both).into_iter().rev();
            stack.extend(children.map(|both| (both, path.len())));
        }
        ControlFlow::Continue(())
    }

    fn children_of_both(&self, other: &Tree<'_>, (one, two): Both) -> Vec<Both> {
        let mut ones = one
            .map_or_else(Vec::new, |id| self.children(id))
            .into_iter()
            .peekable();
        let mut twos = two
            .map_or_else(Vec::new, |id| other.children(id))
            .into_iter()
            .peekable();
        let mut children = Vec::with_capacity(ones.len().max(twos.len()));
        loop {
            let order = match (ones.peek(), twos.peek()) {
                (None, None) => return children,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(&one), Some(&two)) => self.name(one).cmp(other.name(two)),
            };
            children.push((
                if order.is_le() { ones.next() } else { None },
                if order.is_ge() { twos.next() } else { None },
            ));
        }
    }
}
