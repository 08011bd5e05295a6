//! Inflated objects kept in case a delta is based on them, within a budget of bytes.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use super::ObjectData;

/// Objects by their place in the pack. Evicts by second chance: what was used since it was last looked at stays.
pub(super) struct BaseCache {
    budget_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    objects: HashMap<u32, Slot>,
    /// Every key of `objects` once, oldest first.
    order: VecDeque<u32>,
    used_bytes: usize,
}

struct Slot {
    data: ObjectData,
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
        let slot = inner.objects.get_mut(&index)?;
        slot.used = true;
        Some(slot.data.clone())
    }

    pub(super) fn insert(&self, index: u32, data: &ObjectData) {
        if cost(data) > self.budget_bytes {
            return;
        }
        // Dropped after the lock is released: freeing is work.
        let mut evicted = Vec::new();
        let mut inner = self.inner.lock();
        let slot = Slot {
            data: data.clone(),
            used: false,
        };
        inner.used_bytes += cost(data);
        match inner.objects.insert(index, slot) {
            Some(old) => {
                inner.used_bytes -= cost(&old.data);
                evicted.push(old.data);
            }
            None => inner.order.push_back(index),
        }
        while inner.used_bytes > self.budget_bytes {
            let Some(oldest) = inner.order.pop_front() else {
                break;
            };
            let slot = inner.objects.get_mut(&oldest).expect("order lists what is there");
            if std::mem::take(&mut slot.used) {
                inner.order.push_back(oldest);
            } else if let Some(slot) = inner.objects.remove(&oldest) {
                inner.used_bytes -= cost(&slot.data);
                evicted.push(slot.data);
            }
        }
        drop(inner);
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
