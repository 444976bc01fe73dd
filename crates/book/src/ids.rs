//! From order id to slot, in two loads, with memory for the ids in use only.

const PAGE: usize = 4096;
const NONE: u32 = u32::MAX;
/// Ids are dense by contract; this bound turns a stray one into a message instead of an allocation.
pub(crate) const LIMIT: u64 = 1 << 36;

/// A table from dense ids to slots. A page of 4,096 ids returns to the pool when its last id leaves, so that the
/// table stays as small as the span of live ids however many have passed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    directory: Vec<u32>,
    slots: Vec<u32>,
    live: Vec<u32>,
    spare: Vec<u32>,
}

impl Ids {
    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<u32> {
        let page = *self.directory.get(usize::try_from(id / PAGE as u64).ok()?)?;
        if page == NONE {
            return None;
        }
        let slot = self.slots[page as usize * PAGE + id as usize % PAGE];
        (slot != NONE).then_some(slot)
    }

    /// # Panics
    /// If `id` is in use or absurdly large.
    #[inline]
    pub(crate) fn insert(&mut self, id: u64, slot: u32) {
        assert!(id < LIMIT, "order ids are dense: {id}");
        let index = (id / PAGE as u64) as usize;
        if index >= self.directory.len() {
            self.directory.resize(index + 1, NONE);
        }
        let mut page = self.directory[index];
        if page == NONE {
            page = self.new_page();
            self.directory[index] = page;
        }
        let entry = &mut self.slots[page as usize * PAGE + id as usize % PAGE];
        assert!(*entry == NONE, "order id {id} is in use");
        *entry = slot;
        self.live[page as usize] += 1;
    }

    /// Forgets an id and returns its slot.
    #[inline]
    pub(crate) fn take(&mut self, id: u64) -> Option<u32> {
        let index = usize::try_from(id / PAGE as u64).ok()?;
        let page = *self.directory.get(index)?;
        if page == NONE {
            return None;
        }
        let entry = &mut self.slots[page as usize * PAGE + id as usize % PAGE];
        let slot = core::mem::replace(entry, NONE);
        if slot == NONE {
            return None;
        }
        let live = &mut self.live[page as usize];
        *live -= 1;
        if *live == 0 {
            self.directory[index] = NONE;
            self.spare.push(page);
        }
        Some(slot)
    }

    #[cold]
    fn new_page(&mut self) -> u32 {
        self.spare.pop().unwrap_or_else(|| {
            let page = u32::try_from(self.live.len()).expect("the bound on ids bounds the pages");
            self.slots.resize(self.slots.len() + PAGE, NONE);
            self.live.push(0);
            page
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_the_live_ids_and_not_those_that_passed() {
        let mut ids = Ids::default();
        for id in 0..1_000_000u64 {
            ids.insert(id, id as u32);
            if id >= 10 {
                assert_eq!(ids.get(id - 10), Some(id as u32 - 10));
                assert_eq!(ids.take(id - 10), Some(id as u32 - 10));
                assert_eq!(ids.take(id - 10), None);
                assert_eq!(ids.get(id - 10), None);
            }
        }
        assert!(ids.live.len() <= 2, "{} pages", ids.live.len());
    }

    #[test]
    #[should_panic(expected = "is in use")]
    fn an_id_in_use_is_refused() {
        let mut ids = Ids::default();
        ids.insert(5, 1);
        ids.insert(5, 2);
    }
}
