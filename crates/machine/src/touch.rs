//! Who touches which page when: only the next touch that matters is found, exactly in law for the pattern.

use numashock_engine::{Nanos, Seed, Span, Stream, sample};

use crate::machine::Machine;
use crate::pages::Region;
use crate::{BackgroundConfig, Part, Pattern, TouchConfig};

const PPM: u64 = 1_000_000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Where at least one page in this many matters, uniform touches are tried one by one.
const DENSE: u64 = 8;

/// One step of xorshift64*: the next state and the output.
fn xorshift(state: u64) -> (u64, u64) {
    let mut x = state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    (x, x.wrapping_mul(2_685_821_657_736_338_717))
}

/// The clock of background touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// Touches a second.
    pub(crate) rate: u64,
    /// When touch 0 is due.
    pub(crate) start: Nanos,
    /// What each takes.
    pub(crate) cost: Span,
}

impl Clock {
    pub(crate) fn of(config: &BackgroundConfig) -> Clock {
        Clock { rate: config.rate_per_s, start: config.start, cost: config.touch_cost }
    }

    pub(crate) fn due(&self, touch: u64) -> Nanos {
        let whole = touch / self.rate * NANOS_PER_SECOND;
        Nanos(self.start.0 + whole + touch % self.rate * NANOS_PER_SECOND / self.rate)
    }

    /// How many touches are due by `now`.
    pub(crate) fn due_by(&self, now: Nanos) -> u64 {
        if now < self.start {
            return 0;
        }
        let beyond = u128::from((now - self.start).0 + 1) * u128::from(self.rate);
        u64::try_from(beyond.div_ceil(u128::from(NANOS_PER_SECOND))).expect("touches are counted in 64 bits")
    }
}

/// The next touch that matters: its number, its page, and the generator's state after it.
#[derive(Clone, Copy, Debug)]
struct Planned {
    number: u64,
    page: u64,
    state: u64,
}

/// One sequence of touches of a thread on a region.
#[derive(Clone, Debug)]
pub(crate) struct Toucher {
    pub(crate) thread: u16,
    pub(crate) region: u16,
    pub(crate) generation: u32,
    config: TouchConfig,
    part: Option<Part>,
    clock: Option<Clock>,
    stream: Stream,
    /// Touches made so far, and the generator's state before the next one.
    done: u64,
    /// When they were counted: touches still to make begin no earlier.
    since: Nanos,
    /// Time that a missed touch takes: longer on a shared CPU.
    pace: Span,
    state: u64,
    planned: Option<Planned>,
    /// The region's epoch that the plan was made in.
    epoch: u32,
    /// Time of a unit's misses on an otherwise idle machine, and what it holds for.
    pub(crate) idle_misses: Option<(Resting, Span)>,
}

/// Which threads touch a region, as far as it matters: whether one of them is alone with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TouchedBy {
    #[default]
    Nobody,
    /// One thread, by its id.
    One(u16),
    Several,
}

impl TouchedBy {
    pub(crate) fn with(self, thread: u16) -> TouchedBy {
        match self {
            TouchedBy::Nobody => TouchedBy::One(thread),
            TouchedBy::One(other) if other == thread => self,
            TouchedBy::One(_) | TouchedBy::Several => TouchedBy::Several,
        }
    }

    /// Whether any thread but this one touches it.
    pub(crate) fn has_others_than(self, thread: usize) -> bool {
        match self {
            TouchedBy::Nobody => false,
            TouchedBy::One(only) => usize::from(only) != thread,
            TouchedBy::Several => true,
        }
    }
}

/// What the time of misses depends on while nothing else loads the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resting {
    /// Pages of the region moved so far.
    pub(crate) moves: u64,
    /// Node of the thread.
    pub(crate) node: crate::NodeId,
}

impl Toucher {
    pub(crate) fn of_unit(thread: u16, config: &TouchConfig, seed: Seed, entity: u64) -> Toucher {
        Toucher::new(thread, config, None, seed.stream("machine.unit", entity))
    }

    pub(crate) fn by_clock(thread: u16, config: &BackgroundConfig, seed: Seed, entity: u64) -> Toucher {
        let stream = seed.stream("machine.background", entity);
        Toucher { part: config.part, ..Toucher::new(thread, &config.touch, Some(Clock::of(config)), stream) }
    }

    fn new(thread: u16, config: &TouchConfig, clock: Option<Clock>, stream: Stream) -> Toucher {
        let state = match config.pattern {
            Pattern::Xorshift { state } | Pattern::XorshiftHotCold { state, .. } => state,
            _ => 0,
        };
        Toucher {
            thread,
            region: config.region.0,
            generation: 0,
            config: *config,
            part: None,
            clock,
            stream,
            done: 0,
            since: Nanos::ZERO,
            pace: clock.map_or(Span::ZERO, |clock| clock.cost),
            state,
            planned: None,
            epoch: u32::MAX,
            idle_misses: None,
        }
    }

    pub(crate) fn is_background(&self) -> bool {
        self.clock.is_some()
    }

    pub(crate) fn config(&self) -> &TouchConfig {
        &self.config
    }

    pub(crate) fn part(&self) -> Option<Part> {
        self.part
    }

    /// Whether both are parts of one sequence of touches of a thread.
    pub(crate) fn same_sequence(&self, other: &Toucher) -> bool {
        let (Some(part), Some(others)) = (self.part, other.part) else { return false };
        // With one offset both would touch the same pages of the pattern, each on its own.
        part.pages == others.pages
            && part.offset != others.offset
            && self.clock == other.clock
            && self.config.pattern == other.config.pattern
    }

    /// Touches made, when they were counted, and the generator's state.
    pub(crate) fn progress(&self) -> (u64, Nanos, u64) {
        (self.done, self.since, self.state)
    }

    pub(crate) fn set_progress(&mut self, (done, since, state): (u64, Nanos, u64)) {
        assert!(
            self.planned.is_none_or(|planned| planned.number >= done),
            "a planned touch was not overtaken"
        );
        (self.done, self.since, self.state) = (done, since, state);
    }

    /// Whether the next touch is a write.
    pub(crate) fn draw_write(&mut self) -> bool {
        match u64::from(self.config.write_ppm) {
            0 => false,
            PPM => true,
            _ => self.stream.chance_ppm(self.config.write_ppm),
        }
    }

    /// Counts the background touches made by `now` by a thread that was free from `free_at` on.
    pub(crate) fn commit(&mut self, now: Nanos, free_at: Nanos, pages: u64) {
        let Some(clock) = self.clock else { return };
        let begin = free_at.max(self.since);
        if now < begin {
            return;
        }
        let made = match (now - begin).0.checked_div(self.pace.0) {
            Some(possible) => clock.due_by(now).min(self.done + possible),
            None => clock.due_by(now),
        };
        // A planned touch that is due right now has not been made yet.
        let made = self.planned.map_or(made, |planned| made.min(planned.number)).max(self.done);
        self.skip_to(made, pages);
        self.since = now;
    }

    /// Counts the background touches made by `now`: the first `made`, but none beyond the planned one.
    pub(crate) fn commit_to(&mut self, now: Nanos, made: u64, pages: u64) {
        let made = self.planned.map_or(made, |planned| made.min(planned.number)).max(self.done);
        self.skip_to(made, pages);
        self.since = now;
    }

    /// The number of the next touch that matters, if one was found.
    pub(crate) fn planned_number(&self) -> Option<u64> {
        self.planned.map(|planned| planned.number)
    }

    /// The thread gets this share of the CPU time it asks for, in parts per million.
    pub(crate) fn set_speed(&mut self, speed: u64) {
        self.pace = self.clock.map_or(Span::ZERO, |clock| clock.cost.scaled(PPM, speed));
    }

    fn skip_to(&mut self, number: u64, pages: u64) {
        let pages = self.part.map_or(pages, |part| part.pages);
        if matches!(self.config.pattern, Pattern::Xorshift { .. } | Pattern::XorshiftHotCold { .. }) {
            for _ in self.done..number {
                self.state = self.generate(self.state, pages).0;
            }
        }
        self.done = number;
    }

    /// Finds the next touch that matters, from the touches made so far on.
    pub(crate) fn plan(&mut self, region: &Region) {
        self.epoch = region.epoch;
        self.planned = if region.attention.len() == 0 { None } else { self.next_event(region) };
    }

    /// When the planned background touch is made by a thread that is free from `free_at` on; never without a plan.
    pub(crate) fn planned_at(&self, free_at: Nanos) -> Nanos {
        match (self.planned, self.clock) {
            (Some(planned), Some(clock)) => {
                let caught_up = free_at.max(self.since) + self.pace * (planned.number - self.done);
                clock.due(planned.number).max(caught_up)
            }
            _ => Nanos::NEVER,
        }
    }

    /// Makes the planned background touch, now; returns its page.
    pub(crate) fn make_due(&mut self, now: Nanos) -> u64 {
        self.since = now;
        self.make_planned()
    }

    fn make_planned(&mut self) -> u64 {
        let planned = self.planned.take().expect("a touch was planned");
        self.done = planned.number + 1;
        self.state = planned.state;
        planned.page
    }

    /// Touches of a unit that end before touch number `limit`: the page of the next one that matters, if any.
    pub(crate) fn next_in_unit(&mut self, region: &Region, limit: u64) -> Option<u64> {
        if self.epoch != region.epoch || self.planned.is_none() {
            self.plan(region);
        }
        match self.planned {
            Some(planned) if planned.number < limit => Some(self.make_planned()),
            _ => {
                self.skip_unit_to(region, limit);
                None
            }
        }
    }

    fn skip_unit_to(&mut self, region: &Region, limit: u64) {
        self.skip_to(limit, region.base_pages());
    }

    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    fn next_event(&mut self, region: &Region) -> Option<Planned> {
        let pages = region.pages;
        let planned = match self.config.pattern {
            Pattern::Sequential { start } => return self.next_in_order(region, start),
            Pattern::Uniform if region.attention.len() * DENSE >= pages => self.try_uniform(region),
            Pattern::Uniform => {
                let members = region.attention.len();
                let gap = sample::failures_before_success(&mut self.stream, members, pages);
                let page = region.attention.random_member(0, pages, members, &mut self.stream);
                Planned { number: self.done.saturating_add(gap), page, state: 0 }
            }
            Pattern::HotCold { hot_pages_ppm, hot_touches_ppm } => {
                return self.next_hot_or_cold(
                    region,
                    hot_pages(pages, hot_pages_ppm),
                    u64::from(hot_touches_ppm),
                );
            }
            Pattern::Xorshift { .. } => {
                let reach = Reach::of(self.part, region);
                if reach.members(region, reach.from, reach.to) == 0 {
                    return None;
                }
                self.walk(region)
            }
            Pattern::XorshiftHotCold { hot_pages, hot_percent, .. } => {
                let reach = Reach::of(self.part, region);
                let border = reach.in_region(hot_pages);
                let hot = reach.members(region, reach.from, border);
                let cold = reach.members(region, border.next_multiple_of(region.unit), reach.to);
                if (hot == 0 || hot_percent == 0) && (cold == 0 || hot_percent == 100) {
                    return None;
                }
                self.walk(region)
            }
        };
        Some(planned)
    }

    /// The next touch of a sweep that matters. In base pages: the first touch of a huge page is the event.
    fn next_in_order(&self, region: &Region, start: u64) -> Option<Planned> {
        let reach = Reach::of(self.part, region);
        let (unit, span) = (region.unit, reach.span);
        let cursor = (start + self.done) % span;
        let here = cursor as i64 + reach.offset;
        let inside = (reach.from as i64..reach.to as i64).contains(&here);
        let at =
            if inside || here < reach.from as i64 { reach.from.max(here.max(0) as u64) } else { reach.to };
        let found = |from: u64| region.attention.next_from(from / unit).filter(|page| page * unit < reach.to);
        let ahead = if at < reach.to { found(at) } else { None };
        let page = ahead.or_else(|| found(reach.from))?;
        let first = ((page * unit).max(reach.from) as i64 - reach.offset) as u64;
        let gap = if inside && page == here as u64 / unit { 0 } else { (first + span - cursor) % span };
        Some(Planned { number: self.done + gap, page, state: 0 })
    }

    /// Uniform touches one by one, until one matters: cheaper than logarithms where most do.
    fn try_uniform(&mut self, region: &Region) -> Planned {
        let mut number = self.done;
        loop {
            let page = self.stream.below(region.pages);
            if region.attention.contains(page) {
                return Planned { number, page, state: 0 };
            }
            number += 1;
        }
    }

    /// A mixture of two uniform parts: the chance that a touch matters is `share × marked / pages`, summed.
    fn next_hot_or_cold(&mut self, region: &Region, hot: u64, hot_share: u64) -> Option<Planned> {
        let pages = region.pages;
        let cold = pages - hot;
        let hot_members = region.attention.rank(hot);
        let cold_members = region.attention.len() - hot_members;
        let hot_weight = u128::from(hot_share) * u128::from(hot_members) * u128::from(cold);
        let weight = hot_weight + u128::from(PPM - hot_share) * u128::from(cold_members) * u128::from(hot);
        if weight == 0 {
            // What needs attention lies in a part that is never touched.
            return None;
        }
        let total = u128::from(PPM) * u128::from(hot) * u128::from(cold);
        let shift = (128 - total.leading_zeros()).saturating_sub(62);
        let reduced = |value: u128| ((value >> shift) as u64).max(1);
        let gap = sample::failures_before_success(&mut self.stream, reduced(weight), reduced(total));
        let to_hot = self.stream.below(reduced(weight)) < (hot_weight >> shift) as u64;
        let page = if cold_members == 0 || (to_hot && hot_members > 0) {
            region.attention.random_member(0, hot, hot_members, &mut self.stream)
        } else {
            region.attention.random_member(hot, pages, cold_members, &mut self.stream)
        };
        Some(Planned { number: self.done.saturating_add(gap), page, state: 0 })
    }

    /// The recorded workload's generator, touch by touch.
    fn walk(&self, region: &Region) -> Planned {
        let reach = Reach::of(self.part, region);
        let mut state = self.state;
        let mut number = self.done;
        loop {
            let (next, touched) = self.generate(state, reach.span);
            state = next;
            let at = touched.wrapping_add_signed(reach.offset);
            if (reach.from..reach.to).contains(&at) && region.attention.contains(at / region.unit) {
                return Planned { number, page: at / region.unit, state };
            }
            number += 1;
        }
    }

    fn generate(&self, state: u64, pages: u64) -> (u64, u64) {
        let (next, output) = xorshift(state);
        match self.config.pattern {
            Pattern::XorshiftHotCold { hot_pages, hot_percent, .. } => {
                let part = output >> 20;
                let hot = output % 100 < u64::from(hot_percent);
                (next, if hot { part % hot_pages } else { hot_pages + part % (pages - hot_pages) })
            }
            _ => (next, output % pages),
        }
    }
}

impl Machine {
    /// The other parts of a sequence of touches over several regions count the touch just made.
    pub(crate) fn keep_up(&mut self, thread: usize, toucher: usize) {
        if self.touchers[toucher].part().is_none() {
            return;
        }
        let made = self.touchers[toucher].progress();
        for other in self.threads[thread].background.clone() {
            if other != toucher && self.touchers[other].same_sequence(&self.touchers[toucher]) {
                self.touchers[other].set_progress(made);
            }
        }
    }
}

/// Which pages of a region a pattern goes over.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// Pages that the pattern goes over, and where its page 0 lies in the region.
    span: u64,
    offset: i64,
    /// Base pages of the region that it touches.
    from: u64,
    to: u64,
}

impl Reach {
    fn of(part: Option<Part>, region: &Region) -> Reach {
        let size = region.base_pages();
        let Part { pages: span, offset } = part.unwrap_or(Part { pages: size, offset: 0 });
        let inside = |page: i64| page.clamp(0, size as i64) as u64;
        Reach { span, offset, from: inside(offset), to: inside(span as i64 + offset) }
    }

    /// A page of the pattern as one of the region, or the nearest that it touches.
    fn in_region(&self, page: u64) -> u64 {
        (page as i64 + self.offset).clamp(self.from as i64, self.to as i64) as u64
    }

    /// Pages of the region's own size in `from..to`, in base pages, that need attention.
    fn members(&self, region: &Region, from: u64, to: u64) -> u64 {
        let below = |page: u64| region.attention.rank(page.div_ceil(region.unit));
        if from < to { below(to) - region.attention.rank(from / region.unit) } else { 0 }
    }
}

/// How many pages are hot: at least one, and not all.
pub(crate) fn hot_pages(pages: u64, share_ppm: u32) -> u64 {
    (u128::from(pages) * u128::from(share_ppm) / u128::from(PPM)).clamp(1, u128::from(pages - 1)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_any_ids_are_told_apart() {
        for threads in [&[][..], &[3], &[3, 3], &[0, 64], &[64, 0, 0], &[65_535, 65_535], &[1, 2, 3]] {
            let touched = threads.iter().fold(TouchedBy::default(), |seen, thread| seen.with(*thread));
            for asked in [0, 3, 64, 65_535] {
                let others = threads.iter().any(|thread| usize::from(*thread) != asked);
                assert_eq!(touched.has_others_than(asked), others, "{threads:?} for {asked}");
            }
            let several = threads.iter().any(|thread| *thread != threads[0]);
            assert_eq!(touched == TouchedBy::Several, several, "{threads:?}");
        }
    }

    #[test]
    fn touches_fall_due_at_the_rate() {
        let clock = Clock { rate: 3, start: Nanos(100), cost: Span(0) };
        assert_eq!([0, 1, 2, 3].map(|k| clock.due(k).0), [100, 333_333_433, 666_666_766, 1_000_000_100]);
        for touch in 0..20 {
            let due = clock.due(touch);
            assert_eq!(clock.due_by(due), touch + 1);
            assert_eq!(clock.due_by(Nanos(due.0 - 1)), touch);
        }
    }
}
