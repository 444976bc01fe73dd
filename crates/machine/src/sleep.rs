//! A thread that sleeps between batches of touches: when it runs, and what CPU time that takes.
//!
//! Its loop: wake up, make every touch that is due, and those that fall due meanwhile; then sleep again. What stalls it is CPU
//! time and lengthens the batch; a long stall leaves touches to catch up with, for which it stays awake.
//!
//! Let `g(t) = t − cost of all touches due by t`. A batch ends at the first time that `g` reaches a level: at the end nothing is
//! due that is not made. From one batch to the next the level rises by the sleep and the wake-up, whatever the batch held, and a
//! stall raises it by its length. So any batch is found directly, without those before it.

use numashock_engine::{Nanos, Span};

use crate::effects::Wake;
use crate::machine::Machine;
use crate::touch::Clock;
use crate::{Effects, Event};

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const PPM: u64 = 1_000_000;

/// What a thread was doing at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doing {
    /// Which batch, from the current one on; when asleep, the one after.
    batch: i128,
    /// When it woke up or will wake up for that batch.
    wakes: u64,
    pub(crate) asleep: bool,
}

/// A thread in its loop.
#[derive(Clone, Debug)]
pub(crate) struct Sleeper {
    /// Sleep and timer slack.
    rest: u64,
    /// Nominal costs: of a wake-up, and of the touches by `clocks`.
    wake: u64,
    clocks: Vec<Clock>,
    /// The same as long as others slow the thread down; `speed` and `steal` are in parts per million.
    slow_wake: u64,
    slow_costs: Vec<u64>,
    speed: u64,
    steal: u64,
    /// Wall to CPU time while awake, in parts per million: others have the rest of its CPU.
    share: u64,
    /// When the current batch began; touches are made from `free_at` on.
    awake_since: u64,
    free_at: u64,
    /// `free_at` less the costs of the touches made before: the level of the current batch.
    level: i128,
    /// CPU time at `free_at`.
    cpu: u64,
}

impl Sleeper {
    /// A thread that has used `cpu` and wakes up when the first touch is due.
    pub(crate) fn new(rest: Span, wake: Span, cpu: u64) -> Sleeper {
        Sleeper {
            rest: rest.0,
            wake: wake.0,
            clocks: Vec::new(),
            slow_wake: wake.0,
            slow_costs: Vec::new(),
            speed: PPM,
            steal: 0,
            share: PPM,
            awake_since: 0,
            free_at: 0,
            level: 0,
            cpu,
        }
    }

    /// Adds a sequence of touches; before the first one.
    pub(crate) fn add_clock(&mut self, clock: Clock) {
        let first = self.clocks.iter().map(|clock| clock.start.0).chain([clock.start.0]).min();
        self.awake_since = first.unwrap_or(0);
        self.free_at = self.awake_since;
        self.level = i128::from(self.free_at);
        self.slow_costs.push(clock.cost.0);
        self.clocks.push(clock);
    }

    /// Costs of all touches due before `time`, or by it.
    fn due_cost(&self, time: u64, inclusive: bool) -> i128 {
        let by = if inclusive { Some(time) } else { time.checked_sub(1) };
        let Some(by) = by else { return 0 };
        let cost = |(clock, cost): (&Clock, &u64)| i128::from(clock.due_by(Nanos(by))) * i128::from(*cost);
        self.clocks.iter().zip(&self.slow_costs).map(cost).sum()
    }

    fn rise(&self) -> i128 {
        i128::from(self.rest + self.slow_wake)
    }

    /// When a batch ends; `u64::MAX` if it never catches up.
    fn end(&self, batch: i128) -> u64 {
        let level = self.level + batch * self.rise();
        let (mut load, mut offset) = (0, level * NANOS_PER_SECOND);
        for (clock, cost) in self.clocks.iter().zip(&self.slow_costs) {
            let rate = i128::from(clock.rate) * i128::from(*cost);
            load += rate;
            offset -= rate * i128::from(clock.start.0);
        }
        if load >= NANOS_PER_SECOND {
            return u64::MAX;
        }
        // Touches that fell due evenly would end it there; that they come one by one puts it off a little.
        let even = offset.div_euclid(NANOS_PER_SECOND - load).max(i128::from(self.free_at));
        let mut end = u64::try_from(even).unwrap_or(u64::MAX);
        loop {
            let next = level + self.due_cost(end, true);
            match u64::try_from(next) {
                Ok(next) if next > end => end = next,
                Ok(_) => return end,
                Err(_) => return u64::MAX,
            }
        }
    }

    /// The first batch that ends at `time` or later.
    fn batch_at(&self, time: u64) -> i128 {
        if self.end(0) >= time {
            return 0;
        }
        let reached = i128::from(time) - self.due_cost(time, true) - self.level;
        let mut batch = (reached / self.rise()).max(1);
        while batch > 1 && self.end(batch - 1) >= time {
            batch -= 1;
        }
        while self.end(batch) < time {
            batch += 1;
        }
        batch
    }

    /// What it does at a time, if nothing stalls it from now on.
    pub(crate) fn doing(&self, time: Nanos) -> Doing {
        let batch = self.batch_at(time.0);
        let wakes = if batch == 0 { self.awake_since } else { self.end(batch - 1) + self.rest };
        Doing { batch, wakes, asleep: time.0 < wakes }
    }

    /// `time`, or when it wakes up if it sleeps then.
    pub(crate) fn next_awake(&self, time: Nanos) -> Nanos {
        time.max(Nanos(self.doing(time).wakes))
    }

    fn cpu_of(&self, wall: u64) -> u64 {
        if self.share == PPM { wall } else { Span(wall).scaled(self.share, PPM).0 }
    }

    /// CPU time at a time, if nothing stalls it from now on.
    pub(crate) fn runtime(&self, time: Nanos) -> u64 {
        let Doing { batch, wakes, asleep } = self.doing(time);
        let until = if asleep { wakes } else { time.0 };
        self.runtime_in(batch, until)
    }

    /// CPU time at a time in that batch or at its wake-up.
    fn runtime_in(&self, batch: i128, time: u64) -> u64 {
        let slept = batch * i128::from(self.rest);
        let ran = i128::from(time) - i128::from(self.free_at) - slept;
        let part = self.cpu_of(ran.unsigned_abs() as u64);
        if ran < 0 { self.cpu.saturating_sub(part) } else { self.cpu + part }
    }

    /// The first time at which the CPU time is `runtime` or more; `None` beyond the end of time.
    pub(crate) fn reaches(&self, runtime: u64) -> Option<Nanos> {
        let missing = runtime.saturating_sub(self.cpu);
        let needed = if self.share == PPM {
            missing
        } else {
            u64::try_from((u128::from(missing) * u128::from(PPM)).div_ceil(u128::from(self.share.max(1))))
                .ok()?
        };
        // The batch in which it happens: the first at whose end that much time was spent awake.
        let awake = |batch: i128| match self.end(batch) {
            u64::MAX => i128::MAX,
            end => i128::from(end) - i128::from(self.free_at) - batch * i128::from(self.rest),
        };
        let (mut less, mut most) = (-1, 0);
        while awake(most) < i128::from(needed) {
            less = most;
            most = most * 2 + 1;
        }
        while most - less > 1 {
            let middle = less + (most - less) / 2;
            if awake(middle) < i128::from(needed) { less = middle } else { most = middle }
        }
        let at = i128::from(self.free_at) + i128::from(needed) + most * i128::from(self.rest);
        u64::try_from(at).ok().map(Nanos)
    }

    /// When a touch is made, if nothing stalls the thread from now on. Touches are made in the order in which they fall due.
    pub(crate) fn made_at(&self, sequence: usize, number: u64) -> Nanos {
        let due = self.clocks[sequence].due(number).0;
        let batch = self.batch_at(due);
        let at = self.level + batch * self.rise() + self.cost_before(sequence, number, due);
        Nanos(u64::try_from(at).unwrap_or(u64::MAX).max(self.free_at).max(due))
    }

    /// Costs of the touches that come before that one.
    fn cost_before(&self, sequence: usize, number: u64, due: u64) -> i128 {
        let mut cost = 0;
        for (other, (clock, each)) in self.clocks.iter().zip(&self.slow_costs).enumerate() {
            let count = match other.cmp(&sequence) {
                core::cmp::Ordering::Less => clock.due_by(Nanos(due)),
                core::cmp::Ordering::Equal => number,
                core::cmp::Ordering::Greater => due.checked_sub(1).map_or(0, |by| clock.due_by(Nanos(by))),
            };
            cost += i128::from(count) * i128::from(*each);
        }
        cost
    }

    /// How many touches of a sequence have begun before `now`, at least `done` and no more than `limit`.
    pub(crate) fn begun(&self, sequence: usize, done: u64, limit: Option<u64>, now: Nanos) -> u64 {
        let mut least = done;
        let mut most = self.clocks[sequence].due_by(now).max(done);
        if let Some(limit) = limit.filter(|limit| (done..=most).contains(limit)) {
            most = limit;
            // Mostly all before the one that is due now.
            if limit == done || self.made_at(sequence, limit - 1) < now {
                return limit;
            }
        }
        while least < most {
            let middle = least + (most - least) / 2;
            if self.made_at(sequence, middle) < now { least = middle + 1 } else { most = middle }
        }
        least
    }

    /// Brings the state up to `now`, after the touches begun before; `done` counts them by sequence.
    pub(crate) fn settle(&mut self, now: Nanos, done: &[u64]) {
        let Doing { batch, wakes, asleep } = self.doing(now);
        let made: i128 = done
            .iter()
            .zip(&self.slow_costs)
            .map(|(count, cost)| i128::from(*count) * i128::from(*cost))
            .sum();
        let ready = if batch == 0 { self.free_at } else { wakes + self.slow_wake };
        let level = self.level + batch * self.rise();
        let after = u64::try_from(level + made).unwrap_or(0).max(ready);
        // While it runs, what it is about to do begins no earlier than now.
        let free_at = if asleep { ready } else { after.max(now.0) };
        self.cpu = self.runtime_in(batch, free_at);
        self.awake_since = wakes;
        self.free_at = free_at;
        self.level = i128::from(free_at) - made;
    }

    /// Something holds the settled thread up from now on, waking it if it sleeps.
    pub(crate) fn hold(&mut self, now: Nanos, span: Span) {
        if now.0 < self.awake_since {
            let early = self.free_at - now.0;
            self.cpu -= self.cpu_of(self.free_at - self.awake_since);
            self.awake_since = now.0;
            self.free_at = now.0;
            self.level -= i128::from(early);
        }
        self.free_at += span.0;
        self.level += i128::from(span.0);
        self.cpu += self.cpu_of(span.0);
    }

    /// CPU time that a charge nobody waits for takes all the same, as far as the thread has slept since its birth.
    pub(crate) fn work(&mut self, span: Span, cpu_at_birth: u64) {
        let slept = (cpu_at_birth + self.free_at).saturating_sub(self.cpu);
        self.cpu += span.0.min(slept);
    }

    /// The settled thread makes a touch, now.
    pub(crate) fn touch(&mut self, sequence: usize) {
        let cost = self.slow_costs[sequence];
        self.free_at += cost;
        self.cpu += self.cpu_of(cost);
    }

    /// Others take that share of every CPU from now on; the thread is settled. `done` counts the touches made by sequence.
    pub(crate) fn set_steal(&mut self, steal: u64, done: &[u64]) {
        self.steal = steal;
        self.slow_down(done);
    }

    /// The thread has `share` of its CPU while it is awake, of the `duty` that it asks for; it is settled.
    pub(crate) fn set_share(&mut self, share: u64, duty: u64, done: &[u64]) {
        self.share = share.saturating_mul(PPM).checked_div(duty).unwrap_or(PPM).clamp(1, PPM);
        self.speed = self.share;
        self.slow_down(done);
    }

    fn slow_down(&mut self, done: &[u64]) {
        let speed = (u128::from(self.speed) * u128::from(PPM - self.steal) / u128::from(PPM)).max(1) as u64;
        let slowed = |cost: u64| Span(cost).scaled(PPM, speed).0;
        self.slow_wake = slowed(self.wake);
        self.slow_costs = self.clocks.iter().map(|clock| slowed(clock.cost.0)).collect();
        let made: i128 = done
            .iter()
            .zip(&self.slow_costs)
            .map(|(count, cost)| i128::from(*count) * i128::from(*cost))
            .sum();
        self.level = i128::from(self.free_at) - made;
    }
}

/// After so many ticks without a hit the search for one goes on later.
const MOST_TICKS: u32 = 1_000;

impl Machine {
    /// Whether a thread that sleeps between touches is awake; `None` for any other thread.
    pub(crate) fn is_awake(&self, now: Nanos, thread: usize) -> Option<bool> {
        self.threads[thread].sleeper.as_ref().map(|sleeper| !sleeper.doing(now).asleep)
    }

    /// Whether a tick that hits the CPU of a thread by its share finds it there.
    pub(crate) fn tick_finds(&self, now: Nanos, thread: usize) -> bool {
        self.is_awake(now, thread).unwrap_or(true)
    }

    /// Counts the touches that a sleeper has begun before now.
    pub(crate) fn settle_sleeper(&mut self, now: Nanos, thread: usize) {
        let Some(mut sleeper) = self.threads[thread].sleeper.take() else { return };
        for place in 0..self.threads[thread].background.len() {
            let toucher = self.threads[thread].background[place];
            let toucher = &mut self.touchers[toucher];
            let pages = self.regions[usize::from(toucher.region)].base_pages();
            let made = sleeper.begun(place, toucher.done(), toucher.planned_number(), now);
            toucher.commit_to(now, made, pages);
        }
        sleeper.settle(now, &self.touches_done(thread));
        self.threads[thread].sleeper = Some(sleeper);
    }

    fn touches_done(&self, thread: usize) -> Vec<u64> {
        self.threads[thread].background.iter().map(|toucher| self.touchers[*toucher].done()).collect()
    }

    /// Counts the touches that one background toucher has made by now; those of a sleeper are counted together.
    pub(crate) fn count_one(&mut self, now: Nanos, toucher: usize) {
        let thread = usize::from(self.touchers[toucher].thread);
        if self.threads[thread].sleeper.is_some() {
            return self.settle_sleeper(now, thread);
        }
        let pages = self.regions[usize::from(self.touchers[toucher].region)].base_pages();
        self.touchers[toucher].commit(now, self.threads[thread].free_at, pages);
    }

    /// When the planned touch of a background toucher is made; never without a plan.
    pub(crate) fn touch_time(&self, toucher: usize) -> Nanos {
        let state = &self.threads[usize::from(self.touchers[toucher].thread)];
        let Some(sleeper) = &state.sleeper else { return self.touchers[toucher].planned_at(state.free_at) };
        let Some(number) = self.touchers[toucher].planned_number() else { return Nanos::NEVER };
        let place = state.background.iter().position(|other| *other == toucher);
        sleeper.made_at(place.expect("the thread makes it"), number)
    }

    /// Makes the planned touch of a toucher, now; returns its page.
    pub(crate) fn make_touch(&mut self, now: Nanos, thread: usize, toucher: usize) -> u64 {
        self.settle_sleeper(now, thread);
        let place = self.threads[thread].background.iter().position(|other| *other == toucher);
        if let Some(sleeper) = &mut self.threads[thread].sleeper {
            sleeper.touch(place.expect("the thread makes it"));
        }
        self.touchers[toucher].make_due(now)
    }

    /// What nobody waits for is CPU time all the same.
    pub(crate) fn uncharged_work(&mut self, thread: usize, span: Span) {
        let birth = self.threads[thread].runtime_at_birth;
        if let Some(sleeper) = &mut self.threads[thread].sleeper {
            sleeper.work(span, birth);
            self.threads[thread].tick_stale = true;
        }
    }

    /// Brings the wake-ups for a sleeper up to date after a stall.
    pub(crate) fn after_stall(&mut self, now: Nanos, thread: usize, uncharged: Span, effects: &mut Effects) {
        if self.threads[thread].sleeper.is_none() {
            return;
        }
        self.uncharged_work(thread, uncharged);
        self.requeue_sleeper(now, thread, effects);
    }

    fn requeue_sleeper(&mut self, now: Nanos, thread: usize, effects: &mut Effects) {
        for place in 0..self.threads[thread].background.len() {
            let toucher = self.threads[thread].background[place];
            let at = self.touch_time(toucher);
            if at < Nanos::NEVER {
                self.queue_touch(at.max(now), toucher, effects);
            }
        }
        self.ensure_tick(now, thread, effects);
    }

    /// The share of a sleeper has changed; its touches are counted.
    pub(crate) fn share_of_sleeper(&mut self, now: Nanos, thread: usize) {
        if self.threads[thread].sleeper.is_none() {
            return;
        }
        self.settle_sleeper(now, thread);
        let done = self.touches_done(thread);
        let state = &mut self.threads[thread];
        if let Some(sleeper) = &mut state.sleeper {
            sleeper.set_share(state.share, state.duty, &done);
        }
    }

    /// Others take this share of every CPU, from now until `steal_until`.
    pub(crate) fn steal_from_sleepers(&mut self, now: Nanos, share: u64, effects: &mut Effects) {
        let mut any = false;
        for thread in 0..self.threads.len() {
            if self.threads[thread].sleeper.is_none() {
                continue;
            }
            any = true;
            self.settle_sleeper(now, thread);
            let done = self.touches_done(thread);
            if let Some(sleeper) = &mut self.threads[thread].sleeper {
                sleeper.set_steal(share, &done);
            }
            self.requeue_sleeper(now, thread, effects);
        }
        if any && share > 0 {
            effects.schedule.push((self.steal_until, Event(Wake::StealEnd)));
        }
    }

    /// Nobody steals any more, unless that has begun anew.
    pub(crate) fn end_steal(&mut self, now: Nanos, effects: &mut Effects) {
        if now >= self.steal_until {
            self.steal_from_sleepers(now, 0, effects);
        }
    }

    /// The first tick after `now`, and not before `from`, that looks at the thread's trigger.
    fn tick_from(&self, now: Nanos, from: Nanos, thread: usize) -> Nanos {
        let phase = self.config.tick_phase.0;
        let after = if now.0 < phase { 0 } else { (now.0 - phase) / self.tick + 1 };
        let stride = self.tick_stride(thread);
        let index = after.max(from.0.saturating_sub(phase).div_ceil(self.tick)).div_ceil(stride) * stride;
        Nanos(phase + index * self.tick)
    }

    /// The first tick at which a sleeper's CPU time can exceed the threshold, however long it stays awake.
    pub(crate) fn earliest_tick(&self, now: Nanos, thread: usize, threshold: u64) -> Nanos {
        let missing = (threshold + 1).saturating_sub(self.runtime(thread, now));
        self.tick_from(now, Nanos(now.0.saturating_add(missing)), thread)
    }

    /// The first tick that finds a sleeper awake with its CPU time beyond the threshold, if nothing stalls it before.
    pub(crate) fn next_tick_of_sleeper(&mut self, now: Nanos, thread: usize) -> Option<Nanos> {
        let state = &self.threads[thread];
        let sleeper = state.sleeper.as_ref()?;
        if !self.knobs.balancing || !state.fair {
            return None;
        }
        let threshold = state.node_stamp + u64::from(state.scan_period) * 1_000_000;
        let mut from = sleeper.reaches(threshold + 1)?;
        let mut tick = self.tick_from(now, from, thread);
        for _ in 0..MOST_TICKS {
            from = sleeper.next_awake(tick);
            if from <= tick && sleeper.runtime(tick) > threshold {
                break;
            }
            tick = self.tick_from(tick, from, thread);
        }
        Some(tick)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const HORIZON: u64 = 60_000_000;

    /// The loop and what stalls it.
    #[derive(Clone, Debug)]
    struct Case {
        rest: u64,
        wake: u64,
        clocks: Vec<Clock>,
        /// Touches that take longer: (sequence, number) to how much.
        faults: BTreeMap<(usize, u64), u64>,
        /// Times at which something holds the thread up, and for how long.
        holds: BTreeMap<u64, u64>,
    }

    impl Case {
        fn sleeper(&self) -> Sleeper {
            let mut sleeper = Sleeper::new(Span(self.rest), Span(self.wake), 7);
            self.clocks.iter().for_each(|clock| sleeper.add_clock(*clock));
            sleeper
        }
    }

    /// The loop, step by step.
    struct Naive {
        made: BTreeMap<(usize, u64), u64>,
        /// When it was awake: from, to.
        awake: Vec<(u64, u64)>,
    }

    impl Naive {
        fn run(case: &Case) -> Naive {
            let mut naive = Naive { made: BTreeMap::new(), awake: Vec::new() };
            let mut done = vec![0; case.clocks.len()];
            let mut holds = case.holds.clone();
            let mut now = case.clocks.iter().map(|clock| clock.start.0).min().unwrap_or(0);
            let mut from = now;
            // What holds up who sleeps wakes it at once.
            let wake_early = |holds: &BTreeMap<u64, u64>, from: &mut u64, now: &mut u64| {
                if let Some((at, _)) = holds.first_key_value().filter(|(at, _)| **at < *from) {
                    (*from, *now) = (*at, *at);
                }
            };
            wake_early(&holds, &mut from, &mut now);
            while now <= HORIZON {
                if let Some(first) = holds.first_entry().filter(|first| *first.key() <= now) {
                    now += first.remove();
                    continue;
                }
                let due = |sequence: usize| case.clocks[sequence].due(done[sequence]).0;
                let next = (0..done.len()).min_by_key(|sequence| (due(*sequence), *sequence));
                match next.filter(|sequence| due(*sequence) <= now) {
                    Some(sequence) => {
                        let touch = (sequence, done[sequence]);
                        naive.made.insert(touch, now);
                        done[sequence] += 1;
                        now += case.clocks[sequence].cost.0 + case.faults.get(&touch).unwrap_or(&0);
                    }
                    None => {
                        naive.awake.push((from, now));
                        from = now + case.rest;
                        now = from + case.wake;
                        wake_early(&holds, &mut from, &mut now);
                    }
                }
            }
            naive.awake.push((from, now));
            naive
        }

        fn runtime(&self, time: u64) -> u64 {
            7 + self.awake.iter().map(|(from, to)| (*to).min(time).saturating_sub(*from)).sum::<u64>()
        }

        fn is_awake(&self, time: u64) -> bool {
            self.awake.iter().any(|(from, to)| (*from..=*to).contains(&time))
        }
    }

    fn compare(naive: &Naive, sleeper: &Sleeper, from: u64, to: u64) {
        let step = ((to - from) / 40).max(1);
        for time in (from..to.min(HORIZON)).step_by(step as usize) {
            assert_eq!(sleeper.runtime(Nanos(time)), naive.runtime(time), "CPU time at {time}");
            assert_eq!(!sleeper.doing(Nanos(time)).asleep, naive.is_awake(time), "awake at {time}");
            let runtime = naive.runtime(time);
            // What it had before it was free is not looked for.
            let reached = sleeper.reaches(runtime).expect("it was reached").0;
            let known = reached <= sleeper.free_at;
            assert!(
                known || reached <= time && naive.runtime(reached) == runtime,
                "{runtime} at {reached}, {time}"
            );
        }
    }

    /// Drives a sleeper as the machine does, and compares it with the naive loop all the way.
    fn check(case: &Case) {
        let naive = Naive::run(case);
        let mut sleeper = case.sleeper();
        let mut done = vec![0; case.clocks.len()];
        let (mut faults, mut holds) = (case.faults.clone(), case.holds.clone());
        let mut last = 0;
        loop {
            let order = |touch: &(usize, u64)| {
                (sleeper.made_at(touch.0, touch.1).0, case.clocks[touch.0].due(touch.1))
            };
            let fault = faults.keys().min_by_key(|touch| (order(touch), **touch)).copied();
            let at = fault.map_or(u64::MAX, |touch| order(&touch).0);
            let hold = holds.first_key_value().map_or(u64::MAX, |(at, _)| *at);
            let now = at.min(hold);
            compare(&naive, &sleeper, last, now.min(HORIZON));
            if now >= HORIZON {
                return;
            }
            last = now;
            for (sequence, done) in done.iter_mut().enumerate() {
                let planned = faults.keys().find(|touch| touch.0 == sequence).map(|touch| touch.1);
                *done = sleeper.begun(sequence, *done, planned, Nanos(now));
            }
            sleeper.settle(Nanos(now), &done);
            match fault.filter(|_| at < hold) {
                Some(touch) => {
                    assert_eq!(naive.made.get(&touch), Some(&now), "touch {touch:?}");
                    sleeper.touch(touch.0);
                    done[touch.0] += 1;
                    sleeper.hold(Nanos(now), Span(faults.remove(&touch).expect("it was found")));
                }
                None => sleeper.hold(Nanos(now), Span(holds.remove(&hold).expect("it was found"))),
            }
        }
    }

    fn clocks() -> impl Strategy<Value = Vec<Clock>> {
        let clock = (1_000u64..1_500_000, 0u64..5_000_000, 0u64..500);
        let clock =
            clock.prop_map(|(rate, start, cost)| Clock { rate, start: Nanos(start), cost: Span(cost) });
        let load = |clocks: &Vec<Clock>| clocks.iter().map(|clock| clock.rate * clock.cost.0).sum::<u64>();
        proptest::collection::vec(clock, 1..4)
            .prop_filter("can be caught up with", move |clocks| load(clocks) <= 950_000_000)
    }

    proptest! {
        #[test]
        fn a_sleeper_is_its_loop_step_by_step(
            rest in 1_000u64..6_000_000,
            wake in 0u64..30_000,
            clocks in clocks(),
            faults in proptest::collection::btree_map((0usize..3, 0u64..20_000), 0u64..4_000_000, 0..12),
            holds in proptest::collection::btree_map(0u64..HORIZON, 1u64..4_000_000, 0..6),
        ) {
            let faults = faults.into_iter().filter(|(touch, _)| touch.0 < clocks.len()).collect();
            check(&Case { rest, wake, clocks, faults, holds });
        }
    }

    fn one(rate: u64, cost: u64) -> Sleeper {
        let clock = Clock { rate, start: Nanos::ZERO, cost: Span(cost) };
        let mut sleeper = Sleeper::new(Span(1_050_000), Span(4_000), 0);
        sleeper.add_clock(clock);
        sleeper
    }

    #[test]
    fn it_catches_up_after_a_long_stall_and_sleeps_again() {
        let mut sleeper = one(500_000, 143);
        let quiet = sleeper.runtime(Nanos(1_000_000_000)) / 10;
        // A stall of 300 ms leaves 150,000 touches of 143 ns, and those that fall due meanwhile: 300 × ρ / (1 − ρ) = 23.1 ms.
        let stall = sleeper.next_awake(Nanos(1_000_000_000));
        let done = sleeper.begun(0, 0, None, stall);
        sleeper.settle(stall, &[done]);
        sleeper.hold(stall, Span(300_000_000));
        let batch = sleeper.end(0) - stall.0;
        assert!((323_000_000..323_400_000).contains(&batch), "{batch}");
        let runtime = |after: u64| sleeper.runtime(stall + Span(after));
        assert_eq!(runtime(batch) - runtime(0), batch, "it does not sleep meanwhile");
        let later = runtime(batch + 100_000_000) - runtime(batch);
        assert!(later.abs_diff(quiet) <= 100_000, "{later} ns in 100 ms, before {quiet}");
    }

    #[test]
    fn who_never_catches_up_never_sleeps() {
        let sleeper = one(7_000_000, 143);
        assert_eq!(sleeper.runtime(Nanos(5_000_000_000)), 5_000_000_000);
        assert_eq!(sleeper.reaches(3_000_000), Some(Nanos(3_000_000)));
        // Touches one by one at less than their cost.
        assert!(one(6_900_000, 143).runtime(Nanos(5_000_000_000)) > 4_900_000_000);
    }

    #[test]
    fn work_that_nobody_waits_for_is_limited_by_the_time_slept() {
        let mut sleeper = one(1, 0);
        sleeper.settle(Nanos(10_000_000), &[1]);
        sleeper.work(Span(50_000_000), 0);
        let now = Nanos(sleeper.free_at);
        assert_eq!(sleeper.runtime(now), now.0);
    }

    #[test]
    fn theft_and_sharing_lengthen_the_batches() {
        let mut sleeper = one(100_000, 1_000);
        let duty = |sleeper: &Sleeper, from: u64| {
            sleeper.runtime(Nanos(from + 1_000_000_000)) - sleeper.runtime(Nanos(from))
        };
        let nominal = duty(&sleeper, 0);
        // w + ρ s of w + s: 0.1034 of a second.
        assert!((103_000_000..103_900_000).contains(&nominal), "{nominal}");
        sleeper.set_steal(500_000, &[0]);
        let stolen = duty(&sleeper, 0);
        assert!((205_000_000..207_500_000).contains(&stolen), "{stolen}");
        sleeper.set_steal(0, &[0]);
        sleeper.set_share(50_000, 100_000, &[0]);
        // Twice as long awake, half of it on the CPU.
        let shared = duty(&sleeper, 0);
        assert!((102_500_000..103_800_000).contains(&shared), "{shared}");
    }
}
