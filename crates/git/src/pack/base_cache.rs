//! Inflated objects kept in case a delta is based on them, within a budget of bytes.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::ObjectData;

/// Objects by their place in the pack. Evicts by second chance: what was used since it was last looked at stays.
pub(super) struct BaseCache {
    budget_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By index of the entry: every object passes here, and a table is cheaper than a map then.
    slots: Vec<Slot>,
    /// Indices of the slots that are filled, oldest first.
    order: VecDeque<u32>,
    used_bytes: usize,
}

#[derive(Default)]
struct Slot {
    data: Option<ObjectData>,
    used: bool,
}

impl BaseCache {
    pub(super) fn new(budget_bytes: usize) -> Self {
        BaseCache {
            budget_bytes,
            inner: Mutex::default(),
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<ObjectData> {
        let mut inner = self.inner.lock();
        let slot = inner.slots.get_mut(index as usize)?;
        slot.used = true;
        slot.data.clone()
    }

    pub(super) fn insert(&self, index: u32, data: &ObjectData) {
        if cost(data) > self.budget_bytes {
            return;
        }
        // Dropped after the lock is released: freeing is work.
        let mut evicted = Vec::new();
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let at = index as usize;
        if at >= inner.slots.len() {
            inner.slots.resize_with(at + 1, Slot::default);
        }
        let slot = Slot {
            data: Some(data.clone()),
            used: false,
        };
        inner.used_bytes += cost(data);
        match std::mem::replace(&mut inner.slots[at], slot).data {
            Some(old) => {
                inner.used_bytes -= cost(&old);
                evicted.push(old);
            }
            None => inner.order.push_back(index),
        }
        while inner.used_bytes > self.budget_bytes {
            let Some(oldest) = inner.order.pop_front() else {
                break;
            };
            let slot = &mut inner.slots[oldest as usize];
            if std::mem::take(&mut slot.used) {
                inner.order.push_back(oldest);
            } else if let Some(data) = slot.data.take() {
                inner.used_bytes -= cost(&data);
                evicted.push(data);
            }
        }
    }
}

/// Bytes of the object and about what it takes to keep it.
fn cost(data: &ObjectData) -> usize {
    data.capacity() + 96
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_budget_holds_and_what_is_used_stays() {
        let cache = BaseCache::new(4 * 1096);
        let object = || Arc::new(vec![0; 1000]);
        for index in 0..4 {
            cache.insert(index, &object());
        }
        assert!(cache.get(0).is_some());
        cache.insert(4, &object());
        assert!(cache.get(0).is_some(), "was used");
        assert!(cache.get(1).is_none(), "was the oldest unused");
        cache.insert(4, &object());
        assert_eq!(cache.inner.lock().used_bytes, 4 * 1096);
        assert_eq!(cache.inner.lock().order.len(), 4);
    }

    #[test]
    fn an_object_beyond_the_budget_is_not_kept() {
        let cache = BaseCache::new(100);
        cache.insert(0, &Arc::new(vec![0; 1000]));
        assert!(cache.get(0).is_none());
    }
}
