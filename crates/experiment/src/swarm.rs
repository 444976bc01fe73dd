//! Small scenarios that a seed chooses, for whoever wants to see what holds in all of them.

use numashock_engine::{Seed, Stream};

/// A random small scenario as a text: some kinds of thing are switched off altogether. The costs are those of a preset file in the
/// folder `presets`.
#[must_use]
pub fn scenario(seed: u64) -> String {
    let mut draw = Draw(Seed(seed).stream("swarm", 0));
    let warmup = draw.between(0, 2);
    let duration = draw.between(3, 6);
    let longest = draw.between(1, duration.min(3));
    let (dispatch, feed) = (draw.below(4), draw.below(4));
    let start = draw.one_of(&["cold", "warm"]);
    let mut text = format!(
        "name = \"swarm\"\ndescription = \"seed {seed}\"\n\n[run]\nseed = {seed}\nseeds = 1\nwarmup = \"{warmup}s\"\n\
         duration = \"{duration}s\"\ntransient = \"1s\"\nstart = \"{start}\"\n"
    );
    text += &machine(&mut draw);
    text += &threads(&mut draw, dispatch, feed);
    text += &market(&mut draw);
    text += &format!(
        "\n[parents]\ncount = {}\nquantity = [1, {}]\nhorizon = [\"{}ms\", \"{longest}s\"]\n",
        draw.between(1, 10),
        draw.one_of(&["5", "100", "3000"]),
        draw.one_of(&["1", "500", "1000"]),
    );
    text += &desk(&mut draw);
    text + &disturbances(&mut draw)
}

fn machine(draw: &mut Draw) -> String {
    let preset = draw.one_of(&["cascade-lake", "skylake-sp", "ice-lake"]);
    let kernel = draw.one_of(&["6.1", "6.4", "6.6", "6.8", "6.12.95", "6.12.117", "6.14", "6.19"]);
    let (enabled, hz) = (draw.below(8) > 0, draw.one_of(&["100", "250", "1000"]));
    let delay = draw.one_of(&["1ms", "100ms", "1s"]);
    let (least, most) = (draw.one_of(&["100ms", "1s"]), draw.one_of(&["1s", "60s"]));
    let scan = draw.one_of(&["4MiB", "16MiB", "256MiB"]);
    // The second node is sometimes too small to take what would move there.
    let memory = draw.one_of(&["24MiB", "1GiB"]);
    let mut text = format!(
        "\n[machine]\npreset = \"../../scenarios/presets/{preset}.toml\"\nkernel = \"{kernel}\"\nhz = {hz}\n\
         \n[machine.balancing]\nenabled = {enabled}\nscan_delay = \"{delay}\"\nscan_period_min = \"{least}\"\n\
         scan_period_max = \"{most}\"\nscan_size = \"{scan}\"\n\
         \n[[machine.node]]\ncpus = [0, 1]\nmemory = \"1GiB\"\ndistance = [10, 21]\n\
         \n[[machine.node]]\ncpus = [2, 3]\nmemory = \"{memory}\"\ndistance = [21, 10]\n"
    );
    for region in ["state", "history"] {
        let size = draw.one_of(&["8KiB", "2MiB", "10MiB", "16MiB"]);
        let policy = draw.one_of(&["default", "default", "default", "bind", "bind-balancing", "preferred"]);
        text += &format!("\n[region.{region}]\nsize = \"{size}\"\nnode = 0\npolicy = \"{policy}\"\n");
        let map = draw.one_of(&["anonymous", "anonymous", "private-file", "shared-file", "tmpfs-private"]);
        text += &format!("map = \"{map}\"\npinned = {}\n", draw.below(8) == 0);
    }
    if draw.below(3) == 0 {
        let rule = draw.one_of(numashock_machine::Rules::NAMES);
        text += &format!("\n[machine.rules]\n{rule} = false\n");
    }
    if draw.below(3) == 0 {
        let (at, cpu) = (draw.between(0, 3_000), draw.below(4));
        text += &format!(
            "\n[disturbance.move]\nat = \"{at}ms\"\nmove_thread = {{ thread = \"dispatch\", cpu = {cpu} }}\n"
        );
    }
    if draw.below(3) == 0 {
        let (at, rate) = (draw.between(0, 3_000), draw.one_of(&["0", "15", "34", "200"]));
        text += &format!(
            "\n[disturbance.batch]\nat = \"{at}ms\"\nbatch_load = {{ cpu_node = 1, memory_node = 0, bandwidth = \"{rate}GB/s\" }}\n"
        );
    }
    text
}

fn threads(draw: &mut Draw, dispatch: u64, feed: u64) -> String {
    let mut text = String::new();
    let main = draw.one_of(&["dispatch", "feed"]);
    for (name, cpu) in [("dispatch", dispatch), ("feed", feed)] {
        let main = name == main;
        let (spins, duty) = (draw.below(2) == 0, draw.one_of(&["5%", "50%", "100%"]));
        text += &format!(
            "\n[thread.{name}]\nmain = {main}\ncpu = {cpu}\nbusy_poll = {spins}\nduty = \"{duty}\"\n"
        );
        text += &format!("\n[thread.{name}.touches]\n");
        for region in ["state", "history"] {
            let rate = draw.one_of(&["0", "1", "300", "3000"]);
            if rate != "0" {
                let (pattern, write) = (draw.pattern(), draw.one_of(&["0%", "50%", "100%"]));
                text += &format!(
                    "\n[thread.{name}.touches.{region}]\nrate = \"{rate}/s\"\npattern = {pattern}\nwrite = \"{write}\"\n"
                );
            }
        }
    }
    for kind in ["quote", "report", "timer"] {
        let touches: Vec<String> = (0..draw.below(3))
            .map(|_| {
                let (region, count) = (draw.one_of(&["state", "history"]), draw.one_of(&["0", "1", "30", "300"]));
                let (pattern, write) = (draw.pattern(), draw.one_of(&["0%", "20%", "100%"]));
                format!(
                    "{{ region = \"{region}\", count = {count}, pattern = {pattern}, write = \"{write}\", miss = \"30%\" }}"
                )
            })
            .collect();
        let compute = draw.one_of(&["0ns", "1us", "200us"]);
        text += &format!("\n[work.{kind}]\ncompute = \"{compute}\"\ntouches = [{}]\n", touches.join(", "));
    }
    text
}

fn market(draw: &mut Draw) -> String {
    let (feed_latency, feed) =
        (draw.one_of(&["0ns", "5us", "1ms"]), draw.one_of(&["best-price", "best-quote"]));
    let market = draw.one_of(&["0", "5", "80"]);
    let cancel = draw.one_of(&["0.2", "1", "5"]);
    let lots = draw.one_of(&["1", "10"]);
    let (latency, sigma) = (draw.one_of(&["0ns", "20us", "3ms"]), draw.one_of(&["0%", "20%", "100%"]));
    format!(
        "\n[market]\nfeed_latency = \"{feed_latency}\"\nfeed = \"{feed}\"\n\n[market.poisson]\n\
         limit = [\"60/s\", \"40/s\", \"30/s\"]\ncancel = [\"{cancel}/s\"]\nmarket = \"{market}/s\"\nlots = {lots}\n\
         bid_ticks = 10000\nbook = [{}, 5, 9]\n\n[gateway]\nlatency = \"{latency}\"\nsigma = \"{sigma}\"\n\
         report_latency = \"{latency}\"\n",
        draw.between(1, 20)
    )
}

/// A schedule with what it needs, and any rules of the tactic beside the mandatory ones.
fn tactic(draw: &mut Draw) -> String {
    let schedule = draw.one_of(&[
        "\"twap\"",
        "\"vwap\"\nvolume_profile = [3, 0, 1]",
        "\"pov\"\nparticipation_rate = \"25%\"",
        "\"implementation-shortfall\"\nhalf_life = \"700ms\"",
        "\"almgren-chriss\"\nimpact = { volatility = 3.0, temporary = 0.05, permanent = 0.0, fixed = 0.5, \
         risk_aversion = 0.01 }",
    ]);
    let mut text = format!("\n[tactic]\nschedule = {schedule}\n");
    for rules in [
        ["placement = \"join\"", "placement = \"improve\"", "placement = \"cross\""],
        ["on_left_behind = \"follow\"", "on_left_behind = \"cross\"", "on_left_behind = \"stay\""],
        ["on_expiry = \"cross\"", "on_expiry = \"return\"", ""],
        ["post_only = true", "post_only = false", ""],
        ["immediate_or_cancel = true", "immediate_or_cancel = false", ""],
        ["participation_cap = \"30%\"", "", ""],
    ] {
        text += &format!("{}\n", draw.one_of(&rules));
    }
    text
}

fn desk(draw: &mut Draw) -> String {
    let tactic = tactic(draw);
    let (slices, reprice) = (draw.one_of(&["2", "7", "40"]), draw.between(1, 3));
    let (patience, catch_up) = (draw.one_of(&["1ms", "200ms", "10s"]), draw.one_of(&["0ns", "100ms", "10s"]));
    let (through, spacing) = (draw.between(0, 3), draw.one_of(&["0s", "5ms"]));
    let kind = draw.one_of(&[
        "do-nothing",
        "four-state",
        "four-state",
        "threshold-without-hysteresis",
        "static-pinning",
    ]);
    let off = draw.below(2) == 0;
    let delay = draw.one_of(&["", "\n[controller.delay]\nexecution = \"3ms\"\nhost = \"1300ms\"\n"]);
    format!(
        "{tactic}slices = {slices}\nreprice_ticks = {reprice}\npatience = \"{patience}\"\n\
         catch_up = \"{catch_up}\"\ncross_through = {through}\nchild_spacing = \"{spacing}\"\ntake_fee = 1\nmake_fee = -1\n\
         \n[controller]\nkind = \"{kind}\"\n\n[controller.limits]\nrhf = [\"20%\", \"10%\", \"60%\", \"40%\"]\n\
         mcr_kib_per_s = [64, 32, 1024, 512]\ndcj = [\"200%\", \"150%\", \"600%\", \"400%\"]\nqdl = [\"20%\", \"10%\"]\n\
         deadline_miss = [\"50%\", \"25%\"]\ndwell = 1\nshock_limit = 2\nrelease = 1\nstale_limit = 3\n\
         child_spacing = \"200%\"\nmin_reprice_interval = \"50ms\"\nparticipation_cap = \"20%\"\nscan_delay = \"5s\"\n\
         scan_size = \"4MiB\"\nbalancing_off_permitted = {off}\n{delay}"
    )
}

/// Each kind is there now and then, once, again and again or at random.
fn disturbances(draw: &mut Draw) -> String {
    let kinds = [
        "move_thread = { thread = \"feed\", cpu = 2 }",
        "set_knobs = { enabled = true, scan_period_min = \"50ms\", scan_size = \"64MiB\" }",
        "batch_load = { cpu_node = 0, memory_node = 1, bandwidth = \"40GB/s\" }",
        "batch_job = { cpu_node = 1, memory_node = 1, size = \"20MiB\", bandwidth = \"90GB/s\" }",
        "memory_pressure = { node = 1, size = \"24MiB\" }",
        "steal = { share = \"70%\" }",
        "irq_storm = { cpu = 0, rate = \"3000/s\", busy = \"200us\" }",
        "clock_step = { forward = \"700ms\" }",
        "clock_step = { backward = \"1300ms\" }",
        "telemetry_gap = {}",
        "gateway_disconnect = {}",
        "gateway_throttle = { rate = \"15/s\" }",
        "market_data_burst = { messages = 300 }",
    ];
    let mut text = String::new();
    for (number, kind) in kinds.iter().enumerate() {
        if draw.below(5) == 0 {
            let when = draw.one_of(&["at = \"900ms\"", "every = \"1s\"", "rate = \"2/s\"\nfrom = \"500ms\""]);
            let length = draw.one_of(&["1ms", "400ms", "3s"]);
            text += &format!("\n[disturbance.swarm{number}]\n{when}\nlength = \"{length}\"\n{kind}\n");
        }
    }
    text
}

struct Draw(Stream);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.below(most - least + 1)
    }

    fn one_of<'s>(&mut self, values: &[&'s str]) -> &'s str {
        values[usize::try_from(self.0.below(values.len() as u64))
            .expect("the index is below the number of values")]
    }

    fn pattern(&mut self) -> &'static str {
        self.one_of(&[
            "\"sequential\"",
            "\"uniform\"",
            "{ hot-cold = { pages = \"10%\", touches = \"90%\" } }",
        ])
    }
}
