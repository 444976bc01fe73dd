//! The dispatch server against the theory of queues (market: 5): one server, Poisson messages, any service, and stalls
//! under each of the three semantics. The server is the product's [`Dispatcher`], driven by the engine's queue.

use numashock_engine::{EventQueue, Nanos, Seed, Span, Stream, sample};
use numashock_execution::{Dispatcher, Message, ParentId, StallSemantics};
use numashock_sim::scenario::units::{Rate, Time};
use rayon::prelude::*;
use serde::Deserialize;

use super::limits::{self, Demand};
use super::replications::Replications;
use super::transform::{self, Complex};
use super::{Case, Effort, Quantity, Wrong};

pub(super) const ABOUT: &str = "the dispatch server as an M/G/1 queue: waits W until service and times T in the system, with stalls at \
    dispatch (a part of service) or from a Poisson process under each stall semantics";
pub(super) const KEYS: &[(&str, &str)] = &[
    ("samples", "messages, over 100 replications"),
    ("arrival", "rate of messages"),
    (
        "service",
        "law of the base service, such as { law = \"erlang\", stages = 4, mean = \"2us\" }; see below",
    ),
    ("hit", "optional stall at dispatch: { chance = 0.001, law = \"deterministic\", mean = \"500us\" }"),
    ("stall", "optional Poisson stalls: { rate = \"1000/s\", law = \"exponential\", mean = \"50us\" }"),
    (
        "semantics",
        "list of \"service-only\", \"alternating\" (the product's), \"priority\": what a stall does that comes while the thread \
        polls or is away; [] without stalls",
    ),
    ("control", "true: means are regressed on the drawn gaps, services and stalls, whose moments are known"),
    ("unit", "the time in which figures are printed, such as \"1us\""),
    (
        "quantiles",
        "list of chances such as 0.95: P(W > t) is compared at the t where the formula has it; may be empty",
    ),
    ("times", "list of times at which P(W > t) is compared; may be empty"),
    ("", "laws: deterministic (mean), exponential (mean), erlang (mean, stages)"),
];

const REPLICATIONS: u64 = 100;
/// Of a law, in ns: a thousand hours.
const MEAN_MAX: f64 = 3.6e15;
const QUANTILE_MAX: f64 = 0.999_999;
/// Events that a sample meets of each kind.
const SEEN_LEAST: f64 = 100.0;
/// Every sample has this many messages a replication.
const LEAST: u64 = 1_000;
/// What of a tail the numerical inversion cannot tell from none.
const TAIL_LEAST: f64 = 1e-8;

/// A law of a time.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "law", rename_all = "kebab-case", deny_unknown_fields)]
enum Law {
    Deterministic { mean: Time },
    Exponential { mean: Time },
    Erlang { mean: Time, stages: u32 },
}

impl Law {
    fn draw(self, stream: &mut Stream) -> Span {
        match self {
            Law::Deterministic { mean } => Span(mean.0),
            Law::Exponential { mean } => sample::exponential(stream, mean.0 as f64),
            Law::Erlang { mean, stages } => {
                let stage = mean.0 as f64 / f64::from(stages);
                (0..stages).map(|_| sample::exponential(stream, stage)).sum()
            }
        }
    }

    fn mean(self) -> f64 {
        let (Law::Deterministic { mean } | Law::Exponential { mean } | Law::Erlang { mean, .. }) = self;
        mean.0 as f64
    }

    /// The first three moments, in ns.
    fn moments(self) -> [f64; 3] {
        let mean = self.mean();
        let (second, third) = match self {
            Law::Deterministic { .. } => (1.0, 1.0),
            Law::Exponential { .. } => (2.0, 6.0),
            Law::Erlang { stages, .. } => {
                let part = 1.0 / f64::from(stages);
                (1.0 + part, (1.0 + part) * (1.0 + 2.0 * part))
            }
        };
        [mean, mean * mean * second, mean * mean * mean * third]
    }

    /// E e^{−sX}, s in 1/ns.
    fn transform(self, s: Complex) -> Complex {
        match self {
            Law::Deterministic { mean } => (-s * (mean.0 as f64)).exp(),
            Law::Exponential { mean } => Complex::ONE / (Complex::ONE + s * (mean.0 as f64)),
            Law::Erlang { mean, stages } => {
                (Complex::ONE / (Complex::ONE + s * (mean.0 as f64 / f64::from(stages)))).power(stages)
            }
        }
    }

    fn check(self, key: &str) -> Result<(), Wrong> {
        if self.mean() == 0.0 {
            return Err(Wrong::new(key, "expected a mean above zero"));
        }
        if self.mean() > MEAN_MAX {
            return Err(Wrong::new(key, "expected a mean of at most 1000h"));
        }
        match self {
            Law::Erlang { stages, .. } if !(1..=1_000).contains(&stages) => {
                Err(Wrong::new(key, "expected 1 to 1000 stages"))
            }
            _ => Ok(()),
        }
    }
}

/// A stall that a unit of work meets with some chance.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Hit {
    chance: f64,
    #[serde(flatten)]
    law: Law,
}

/// Stalls at Poisson times.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Stalls {
    rate: Rate,
    #[serde(flatten)]
    law: Law,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Semantics {
    ServiceOnly,
    Alternating,
    Priority,
}

impl Semantics {
    fn of_server(self) -> StallSemantics {
        match self {
            Semantics::ServiceOnly => StallSemantics::ServiceOnly,
            Semantics::Alternating => StallSemantics::Alternating,
            Semantics::Priority => StallSemantics::Priority,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Semantics::ServiceOnly => "service-only",
            Semantics::Alternating => "alternating",
            Semantics::Priority => "priority",
        }
    }
}

/// The server under load.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dispatch {
    samples: u64,
    arrival: Rate,
    service: Law,
    hit: Option<Hit>,
    stall: Option<Stalls>,
    semantics: Vec<Semantics>,
    control: bool,
    unit: Time,
    quantiles: Vec<f64>,
    times: Vec<Time>,
}

impl Case for Dispatch {
    fn check(&self) -> Result<(), Wrong> {
        self.service.check("service")?;
        self.hit.map_or(Ok(()), |hit| hit.law.check("hit"))?;
        self.stall.map_or(Ok(()), |stall| stall.law.check("stall"))?;
        if self.hit.is_some_and(|hit| !(0.0..=1.0).contains(&hit.chance)) {
            return Err(Wrong::new("hit.chance", "expected a number from 0 to 1"));
        }
        if self.arrival.0 == 0 {
            return Err(Wrong::new("arrival", "expected a rate above zero"));
        }
        if self.unit.0 == 0 {
            return Err(Wrong::new("unit", "expected a time above zero"));
        }
        let good = |chance: &f64| *chance > 0.0 && *chance <= QUANTILE_MAX;
        let wanted = format!("chances above 0, at most {QUANTILE_MAX}: the law is known to 1e-8");
        limits::entries("quantiles", &self.quantiles, wanted, good)?;
        limits::entries("times", &self.times, "times", |_| true)?;
        limits::entries("semantics", &self.semantics, "semantics", |_| true)?;
        if self.stall.is_some() == self.semantics.is_empty() {
            return Err(Wrong::new("semantics", "expected at least one with stalls, and [] without"));
        }
        let load = Theory::new(self, self.variants()[0]).load();
        if self.variants().iter().any(|variant| Theory::new(self, *variant).load() >= 0.999) {
            return Err(Wrong::new(
                "arrival",
                format!("the server is busy {load:.3} of its time: expected less than 0.999"),
            ));
        }
        self.check_seen()
    }

    fn demand(&self) -> Demand {
        let stalls = self.stall.map_or(0.0, |stall| stall.rate.0 as f64 / self.arrival.0 as f64);
        let stages = |law: Law| if let Law::Erlang { stages, .. } = law { f64::from(stages) } else { 1.0 };
        let stall_stages = self.stall.map_or(0.0, |stall| stages(stall.law));
        let message = 3.0 + stages(self.service) / 10.0 + stalls * (1.0 + stall_stages / 10.0);
        let each = self.samples as f64 / REPLICATIONS as f64;
        Demand {
            samples: Some(self.samples),
            least: LEAST * REPLICATIONS,
            events: 1.1 * self.samples as f64 * message * self.variants().len() as f64,
            each: 0.0,
            seconds: 1.1 * each / (self.arrival() * 1e9),
            key: "arrival",
        }
    }

    fn run(&self, effort: Effort, seed: Seed) -> Result<Vec<Quantity>, Wrong> {
        let each = effort.samples(self.samples, LEAST * REPLICATIONS) / REPLICATIONS;
        Ok(self.variants().into_iter().flat_map(|variant| self.figures(variant, each, seed)).collect())
    }
}

impl Dispatch {
    /// Refuses what a sample would hardly ever meet: its figures would stand on nothing.
    fn check_seen(&self) -> Result<(), Wrong> {
        let samples = self.samples.max(LEAST * REPLICATIONS) as f64;
        let waits = |variant: &Semantics| 1.0 - Theory::new(self, *variant).at_once();
        let rarest = self.variants().iter().map(waits).fold(1.0, f64::min);
        let stalls = self.stall.map_or(f64::INFINITY, |stall| stall.rate.0 as f64 / self.arrival.0 as f64);
        let hits = self.hit.filter(|hit| hit.chance > 0.0).map_or(f64::INFINITY, |hit| hit.chance);
        for (key, chance, what) in [
            ("arrival", rarest, "messages that wait"),
            ("stall.rate", stalls, "stalls"),
            ("hit.chance", hits, "stalls at dispatch"),
        ] {
            if samples * chance < SEEN_LEAST {
                let problem = format!(
                    "the sample has about {:.1e} {what}, expected at least {SEEN_LEAST}: raise it, or samples",
                    samples * chance
                );
                return Err(Wrong::new(key, problem));
            }
        }
        Ok(())
    }

    /// Without stalls every semantics is the same.
    fn variants(&self) -> Vec<Semantics> {
        if self.semantics.is_empty() { vec![Semantics::Alternating] } else { self.semantics.clone() }
    }

    fn hit(&self) -> (f64, [f64; 3]) {
        self.hit.map_or((0.0, [0.0; 3]), |hit| (hit.chance, hit.law.moments()))
    }

    /// The moments of the service, stalls at dispatch included.
    fn service(&self) -> [f64; 3] {
        self.with_hit(self.service.moments())
    }

    /// The moments of a time with these, and the stall at dispatch after it.
    fn with_hit(&self, [b1, b2, b3]: [f64; 3]) -> [f64; 3] {
        let (chance, [d1, d2, d3]) = self.hit();
        [
            b1 + chance * d1,
            b2 + chance * (2.0 * b1 * d1 + d2),
            b3 + chance * (3.0 * b2 * d1 + 3.0 * b1 * d2 + d3),
        ]
    }

    fn service_transform(&self, s: Complex) -> Complex {
        self.transform_with_hit(self.service.transform(s), s)
    }

    fn transform_with_hit(&self, base: Complex, s: Complex) -> Complex {
        match self.hit {
            Some(hit) => base * (Complex::real(1.0 - hit.chance) + hit.law.transform(s) * hit.chance),
            None => base,
        }
    }

    /// Stalls per ns and the moments of their length.
    fn stalls(&self) -> (f64, [f64; 3]) {
        self.stall.map_or((0.0, [0.0; 3]), |stall| (stall.rate.0 as f64 / 1e18, stall.law.moments()))
    }

    fn arrival(&self) -> f64 {
        self.arrival.0 as f64 / 1e18
    }

    fn figures(&self, variant: Semantics, each: u64, seed: Seed) -> Vec<Quantity> {
        let theory = Theory::new(self, variant);
        let unit = self.unit.0 as f64;
        let mut limits: Vec<u64> = self.times.iter().map(|time| time.0).collect();
        let [wait, wait_square] = theory.wait();
        for chance in self.quantiles.iter().filter(|chance| **chance > theory.at_once()) {
            let time = transform::quantile(|s| theory.transform(s), 1.0 - chance, wait);
            limits.push(libm::round(time) as u64);
        }
        let plan = Plan { case: self, variant, first: each / 10, last: each + each / 10, limits: &limits };
        let (mut figures, mut controls) = (Vec::new(), Vec::new());
        let runs: Vec<Sums> =
            (0..REPLICATIONS).into_par_iter().map(|index| plan.run(seed.replication(index))).collect();
        for run in runs {
            figures.push(run.figures(unit));
            controls.push(run.controls());
        }
        let mut replications = Replications::new(figures, controls);
        if self.control {
            replications.control(&theory.controls());
        }
        let samples = each * REPLICATIONS;
        let name = |what: &str| match self.stall {
            Some(_) => format!("{what}, {}", variant.name()),
            None => what.to_owned(),
        };
        let service = theory.completion();
        let mean = |what: &str, figure: usize, reference: f64| {
            replications.quantity(name(what), |means| means[figure], Some(reference), samples)
        };
        let mut quantities = vec![
            mean("mean W", 0, wait / unit),
            replications.quantity(
                name("sd W"),
                |means| (means[1] - means[0] * means[0]).sqrt(),
                Some((wait_square - wait * wait).sqrt() / unit),
                samples,
            ),
            mean("P(W = 0)", 2, theory.at_once()),
            mean("mean T", 3, (wait + service) / unit),
            mean("mean DCJ", 4, (wait + service - self.service.mean()) / unit),
        ];
        for (index, time) in limits.iter().enumerate() {
            let (reference, error) = theory.tail(*time as f64);
            let text = name(&format!("P(W > {})", *time as f64 / unit));
            let figure = replications.quantity(text, |means| means[5 + index], Some(reference), samples);
            let figure = Quantity { reference_error: error, ..figure };
            // Waits beyond a time come in runs, as long as the server takes to become idle.
            let idle = 1.0 - theory.load();
            let runs = samples as f64 * idle * idle / (1.0 + theory.load());
            let rarer = reference.min(1.0 - reference).max(0.0);
            quantities.push(figure.rarely(runs * rarer, rarer / runs, 1.0 / runs));
        }
        quantities
    }
}

/// What one replication does.
struct Plan<'a> {
    case: &'a Dispatch,
    variant: Semantics,
    /// The first message that counts.
    first: u64,
    /// The first one after those that count.
    last: u64,
    limits: &'a [u64],
}

/// What one replication saw, in ns.
#[derive(Default)]
struct Sums {
    count: f64,
    wait: f64,
    wait_square: f64,
    at_once: f64,
    time: f64,
    base: f64,
    beyond: Vec<f64>,
    gap: f64,
    service: [f64; 3],
    stall: [f64; 2],
}

impl Sums {
    fn figures(&self, unit: f64) -> Vec<f64> {
        let mean = |sum: f64| sum / self.count;
        let mut row = vec![
            mean(self.wait) / unit,
            mean(self.wait_square) / (unit * unit),
            mean(self.at_once),
            mean(self.time) / unit,
            mean(self.time - self.base) / unit,
        ];
        row.extend(self.beyond.iter().map(|count| mean(*count)));
        row
    }

    fn controls(&self) -> Vec<f64> {
        let sums = [self.gap].into_iter().chain(self.service).chain(self.stall);
        sums.map(|sum| sum / self.count).collect()
    }
}

enum Event {
    Arrive,
    Stall,
    Wake,
}

impl Plan<'_> {
    fn run(&self, seed: Seed) -> Sums {
        let mut world = World {
            plan: self,
            streams: ["gaps", "services", "stalls"].map(|name| seed.stream(name, 0)),
            queue: EventQueue::default(),
            server: Dispatcher::with_semantics(self.variant.of_server()),
            wake_at: Nanos::NEVER,
            base: 0.0,
            arrived: 0,
            served: 0,
            left: 0,
            sums: Sums { beyond: vec![0.0; self.limits.len()], ..Sums::default() },
        };
        world.next_arrival(Nanos::ZERO);
        world.next_stall(Nanos::ZERO);
        while world.left < self.last {
            let (now, event) = world.queue.pop().expect("messages never end");
            world.handle(now, &event);
        }
        world.sums.count = (self.last - self.first) as f64;
        world.sums
    }
}

/// One server and what comes to it.
struct World<'a> {
    plan: &'a Plan<'a>,
    streams: [Stream; 3],
    queue: EventQueue<Event>,
    server: Dispatcher,
    wake_at: Nanos,
    /// Base service of the unit in service.
    base: f64,
    arrived: u64,
    served: u64,
    left: u64,
    sums: Sums,
}

impl World<'_> {
    fn next_arrival(&mut self, now: Nanos) {
        let gap = sample::exponential(&mut self.streams[0], 1.0 / self.plan.case.arrival());
        if (self.plan.first..self.plan.last).contains(&self.arrived) {
            self.sums.gap += gap.0 as f64;
        }
        self.queue.push(now + gap, Event::Arrive);
    }

    fn next_stall(&mut self, now: Nanos) {
        if let Some(stall) = self.plan.case.stall {
            let gap = sample::exponential(&mut self.streams[2], 1e18 / stall.rate.0 as f64);
            self.queue.push(now + gap, Event::Stall);
        }
    }

    fn handle(&mut self, now: Nanos, event: &Event) {
        match event {
            Event::Arrive => {
                self.server.enqueue(now, Message::CatchUp { parent: ParentId(0) });
                self.arrived += 1;
                self.next_arrival(now);
            }
            Event::Stall => {
                let stall = self.plan.case.stall.expect("stalls come from their process");
                let length = stall.law.draw(&mut self.streams[2]);
                // While the gaps of the messages that count pass by.
                if (self.plan.first + 1..=self.plan.last).contains(&(self.arrived + 1)) {
                    let length = length.0 as f64;
                    self.sums.stall[0] += length * length;
                    self.sums.stall[1] += length * length * length;
                }
                self.server.offer_stall(now, length);
                self.next_stall(now);
            }
            Event::Wake if now != self.wake_at => return,
            Event::Wake => {}
        }
        self.work(now);
        let wake_at = self.server.wake_at();
        if wake_at != self.wake_at {
            self.wake_at = wake_at;
            if wake_at != Nanos::NEVER {
                self.queue.push(wake_at, Event::Wake);
            }
        }
    }

    fn work(&mut self, now: Nanos) {
        loop {
            if let Some(unit) = self.server.finish(now) {
                if self.left >= self.plan.first {
                    self.sums.time += (unit.at - unit.ready).0 as f64;
                    self.sums.base += self.base;
                }
                self.left += 1;
            } else if let Some((ready, _)) = self.server.begin(now) {
                self.serve(now, ready);
            } else {
                return;
            }
        }
    }

    fn serve(&mut self, now: Nanos, ready: Nanos) {
        let case = self.plan.case;
        let base = case.service.draw(&mut self.streams[1]);
        let own = match case.hit {
            Some(hit) if below(&mut self.streams[1], hit.chance) => hit.law.draw(&mut self.streams[1]),
            _ => Span::ZERO,
        };
        self.server.serve(now, ready, base, own);
        self.base = base.0 as f64;
        if (self.plan.first..self.plan.last).contains(&self.served) {
            let (wait, service) = ((now - ready).0, (base + own).0 as f64);
            self.sums.wait += wait as f64;
            self.sums.wait_square += wait as f64 * wait as f64;
            self.sums.at_once += f64::from(u8::from(wait == 0));
            for (count, limit) in self.sums.beyond.iter_mut().zip(self.plan.limits) {
                *count += f64::from(u8::from(wait > *limit));
            }
            let [first, second, third] = &mut self.sums.service;
            *first += service;
            *second += service * service;
            *third += service * service * service;
        }
        self.served += 1;
    }
}

/// Whether an event of this chance happens.
fn below(stream: &mut Stream, chance: f64) -> bool {
    ((stream.next_u64() >> 11) as f64) < chance * (1u64 << 53) as f64
}

/// The formulas, in ns and 1/ns.
struct Theory<'a> {
    case: &'a Dispatch,
    variant: Semantics,
    arrival: f64,
    service: [f64; 3],
    stall: f64,
    length: [f64; 3],
}

impl Theory<'_> {
    fn new(case: &Dispatch, variant: Semantics) -> Theory<'_> {
        let (stall, length) = case.stalls();
        Theory { case, variant, arrival: case.arrival(), service: case.service(), stall, length }
    }

    /// r E D.
    fn away(&self) -> f64 {
        self.stall * self.length[0]
    }

    /// The share of time that units take, their stalls included; of the priority class, also other stalls.
    fn load(&self) -> f64 {
        match self.variant {
            Semantics::Priority => self.arrival * self.service[0] + self.away(),
            _ => self.arrival * self.completion(),
        }
    }

    /// E C, a unit's time from its begin.
    fn completion(&self) -> f64 {
        match self.variant {
            Semantics::Priority => self.service[0] / (1.0 - self.away()),
            _ => self.completions()[0],
        }
    }

    /// The moments of C where no stall begins during another: the base service is prolonged by those that begin in it, the
    /// stall at dispatch is not.
    fn completions(&self) -> [f64; 3] {
        let ([s1, s2, s3], [_, d2, d3]) = (self.case.service.moments(), self.length);
        let (rate, stretch) = (self.stall, 1.0 + self.away());
        let c2 = s2 * stretch * stretch + s1 * rate * d2;
        let c3 = s3 * stretch * stretch * stretch + 3.0 * s2 * stretch * rate * d2 + s1 * rate * d3;
        self.case.with_hit([s1 * stretch, c2, c3])
    }

    /// P(W > t) and its error.
    fn tail(&self, t: f64) -> (f64, f64) {
        let waits = 1.0 - self.at_once();
        if t == 0.0 {
            return (waits, 0.0);
        }
        // By Markov's inequality for W²; there the inversion has no digits left.
        let most = self.wait()[1] / (t * t);
        if most < TAIL_LEAST {
            return (0.0, most);
        }
        let (found, error) = transform::tail(|s| self.transform(s), t);
        let chance = found.clamp(0.0, waits);
        (chance, error.max((found - chance).abs()))
    }

    fn at_once(&self) -> f64 {
        match self.variant {
            Semantics::Alternating => (1.0 - self.load()) / (1.0 + self.away()),
            _ => 1.0 - self.load(),
        }
    }

    /// E W and E W².
    ///
    /// Alternating: W is the wait of the queue with service C plus an independent residual stall, met with chance
    /// r E D / (1 + r E D). Priority: the work that a message finds, stalls included, stretched by the stalls that come while it
    /// is done.
    fn wait(&self) -> [f64; 2] {
        let ([s1, s2, s3], [d1, d2, d3]) = (self.service, self.length);
        let (rate, stretch) = (self.stall, 1.0 + self.stall * d1);
        if self.variant == Semantics::Priority {
            let free = 1.0 - rate * d1;
            let left = free - self.arrival * s1;
            let work = (self.arrival * s2 + rate * d2) / (2.0 * left);
            let square = 2.0 * work * work + (self.arrival * s3 + rate * d3) / (3.0 * left);
            return [work / free, square / (free * free) + work * rate * d2 / (free * free * free)];
        }
        let [_, c2, c3] = self.completions();
        let idle = 1.0 - self.load();
        let queue = self.arrival * c2 / (2.0 * idle);
        let square = 2.0 * queue * queue + self.arrival * c3 / (3.0 * idle);
        if self.variant == Semantics::ServiceOnly {
            return [queue, square];
        }
        let residual = [rate * d2 / (2.0 * stretch), rate * d3 / (3.0 * stretch)];
        [queue + residual[0], square + 2.0 * queue * residual[0] + residual[1]]
    }

    /// E e^{−sW}.
    fn transform(&self, s: Complex) -> Complex {
        let stalls = |s: Complex| {
            let length = self.case.stall.map_or(Complex::ONE, |stall| stall.law.transform(s));
            (Complex::ONE - length) * self.stall
        };
        let idle = Complex::real(1.0 - self.load());
        if self.variant == Semantics::Priority {
            // φ = s + r (1 − D*(φ)): the exponent of a nanosecond of work with the stalls that come in it.
            let mut stretched = s;
            for _ in 0..10_000 {
                let next = s + stalls(stretched);
                let moved = (next - stretched).norm();
                stretched = next;
                if moved <= 1e-32 * stretched.norm() {
                    break;
                }
            }
            let served = Complex::ONE - self.case.service_transform(stretched);
            return idle * stretched / (stretched - served * self.arrival - stalls(stretched));
        }
        let completion = self.case.transform_with_hit(self.case.service.transform(s + stalls(s)), s);
        let queue = idle * s / (s - (Complex::ONE - completion) * self.arrival);
        if self.variant == Semantics::ServiceOnly {
            return queue;
        }
        queue * (Complex::ONE + stalls(s) / s) * (1.0 / (1.0 + self.away()))
    }

    /// The expectations of the controls, per message.
    fn controls(&self) -> Vec<f64> {
        let gap = 1.0 / self.arrival;
        let stalls = [1, 2].map(|power| self.stall * self.length[power] * gap);
        [gap].into_iter().chain(self.service).chain(stalls).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(text: &str) -> Dispatch {
        let rest = "samples = 1000\ncontrol = false\nunit = \"1us\"\nquantiles = []\ntimes = []\n";
        toml::from_str(&format!("{rest}{text}")).unwrap()
    }

    const SETS: [&str; 8] = [
        "arrival = \"250000/s\"\nservice = { law = \"exponential\", mean = \"2us\" }\nsemantics = []",
        "arrival = \"250000/s\"\nservice = { law = \"deterministic\", mean = \"2us\" }\nsemantics = []",
        "arrival = \"400000/s\"\nservice = { law = \"erlang\", stages = 4, mean = \"2us\" }\nsemantics = []",
        "arrival = \"100000/s\"\nservice = { law = \"deterministic\", mean = \"2us\" }\nhit = { chance = 0.001, law = \"deterministic\", mean = \"500us\" }\nsemantics = []",
        "arrival = \"100000/s\"\nservice = { law = \"exponential\", mean = \"2us\" }\nhit = { chance = 0.01, law = \"exponential\", mean = \"50us\" }\nsemantics = []",
        "arrival = \"20000/s\"\nservice = { law = \"deterministic\", mean = \"5us\" }\nhit = { chance = 0.0001, law = \"exponential\", mean = \"5000us\" }\nsemantics = []",
        "arrival = \"250000/s\"\nservice = { law = \"exponential\", mean = \"2us\" }\nstall = { rate = \"1000/s\", law = \"exponential\", mean = \"50us\" }\nsemantics = [\"service-only\", \"alternating\", \"priority\"]",
        "arrival = \"250000/s\"\nservice = { law = \"deterministic\", mean = \"2us\" }\nstall = { rate = \"100/s\", law = \"deterministic\", mean = \"500us\" }\nsemantics = [\"service-only\", \"alternating\", \"priority\"]",
    ];

    /// market: 5, both tables.
    #[test]
    fn the_formulas_give_the_tables() {
        let waits = [
            (2.0, 3.4641, 0.5),
            (1.0, 1.5275, 0.5),
            (5.0, 5.9161, 0.2),
            (17.0667, 76.9033, 0.75),
            (4.0, 19.1137, 0.75),
            (56.5169, 752.0339, 0.89),
        ];
        for (set, (mean, deviation, at_once)) in SETS.into_iter().zip(waits) {
            let case = case(set);
            let theory = Theory::new(&case, Semantics::Alternating);
            let [first, second] = theory.wait().map(|moment| moment / 1e3);
            let found = [first, (second / 1e3 - first * first).sqrt(), theory.at_once()];
            for (found, expected) in found.into_iter().zip([mean, deviation, at_once]) {
                assert!((found - expected).abs() < 6e-5 * expected.max(1.0), "{set}: {found} {expected}");
            }
        }
        for (set, times) in SETS[6..].iter().zip([[7.0526, 9.4336, 10.2924], [16.4184, 28.3232, 32.5146]]) {
            let case = case(set);
            for (variant, time) in case.variants().into_iter().zip(times) {
                let theory = Theory::new(&case, variant);
                let found = (theory.wait()[0] + theory.completion()) / 1e3;
                assert!((found - time).abs() < 6e-5, "{set} {variant:?}: {found} {time}");
            }
        }
    }

    /// The transforms know the same first two moments, and the quantiles of the table.
    #[test]
    fn the_transforms_give_the_moments_and_the_quantiles() {
        for set in SETS {
            let case = case(set);
            for variant in case.variants() {
                let theory = Theory::new(&case, variant);
                let [mean, square] = theory.wait();
                // E e^{−sW} = 1 − s E W + s² E W² / 2 − …, at ±s so that the odd and the even part come apart.
                let s = 1e-3 * mean / square;
                let [up, down] = [s, -s].map(|s| theory.transform(Complex::real(s)).re);
                assert!(((down - up) / (2.0 * s) / mean - 1.0).abs() < 1e-3, "{set} {variant:?}");
                assert!(((up + down - 2.0) / (s * s) / square - 1.0).abs() < 1e-2, "{set} {variant:?}");
            }
        }
        let quantiles =
            [(0, 9.2103, 15.6481), (2, 16.8638, 26.4844), (3, 108.4911, 438.5276), (4, 15.4192, 101.1317)];
        for (set, q95, q99) in quantiles {
            let case = case(SETS[set]);
            let theory = Theory::new(&case, Semantics::Alternating);
            for (chance, expected) in [(0.05, q95), (0.01, q99)] {
                let found = transform::quantile(|s| theory.transform(s), chance, 1e3) / 1e3;
                assert!((found / expected - 1.0).abs() < 1e-4, "{set}: {found} {expected}");
            }
        }
    }

    /// M/D/1 in closed form, where its alternating sum is short.
    #[test]
    fn the_tail_of_deterministic_service_is_erlangs() {
        let case = case(SETS[1]);
        let theory = Theory::new(&case, Semantics::Alternating);
        for t in [0.7, 2.9, 5.0, 9.1] {
            let terms = (0..=(t / 2.0) as u32).map(|k| {
                let x = 0.25 * (t - 2.0 * f64::from(k));
                let power = (1..=k).fold(1.0, |product, index| product * -x / f64::from(index));
                power * libm::exp(x)
            });
            let exact = 1.0 - 0.5 * terms.sum::<f64>();
            let (found, error) = transform::tail(|s| theory.transform(s), t * 1e3);
            assert!(
                (found - exact).abs() < 1e-6 + 3.0 * error && error < 1e-4,
                "{t}: {found} {exact} {error}"
            );
        }
    }

    #[test]
    fn a_server_under_load_agrees_and_a_wrong_semantics_does_not() {
        let mut case = case(SETS[6]);
        case.control = true;
        let each = 3_000;
        let right = case.figures(Semantics::Alternating, each, Seed(1));
        assert!(right.iter().all(|figure| figure.z().unwrap().abs() < 4.0), "{right:?}");
        let wrong = case.figures(Semantics::ServiceOnly, each, Seed(1));
        let distance = (wrong[0].simulated - right[0].reference.unwrap()) / wrong[0].standard_error;
        assert!(distance < -6.0, "{distance}");
    }
}
