//! The recorded process's mappings as regions, and which thread touches what of them.
//!
//! ```text
//!   its other mappings, lower │ part │ part │ its other mappings, higher      address ──►
//!                             └─ the region ─┘   one mapping where the parts have one policy
//! ```

use numashock_engine::Nanos;
use numashock_machine::{
    BackgroundConfig, CpuId, MapKind, NodeId, NodeMask, Part, Pattern, Placement, Policy, ProcessId,
    RegionConfig, RegionId, TouchConfig,
};

use super::arguments::Args;
use super::trace::Run;
use super::workload::{
    BATCH_TOUCH, GENERATOR, MOST_MB, MOST_RATE, Result, TOUCH_COST, all_nodes, bad, not_modelled, setup_cpu,
};

/// 2 MiB in pages.
const HUGE: u64 = 512;

/// Regions in the order of their addresses, and who touches them.
pub(super) struct Layout {
    pub(super) regions: Vec<RegionConfig>,
    /// Pages of the region.
    pages: u64,
    /// Its parts: which region, and the pages of the whole that it holds.
    parts: Vec<(RegionId, u64, u64)>,
    /// Mappings of which the first thread touches a page all the time.
    busy: Vec<RegionId>,
    /// Whether mappings that no pass looks at lie behind all regions.
    pub(super) mappings_after: bool,
}

impl Layout {
    pub(super) fn of(args: &Args<'_>, run: &Run, pages: u64) -> Result<Layout> {
        let parts = parts(args, run, pages)?;
        let mut others = Others::default();
        if !args.on("aux_bind", 1)? {
            others = Others::of(args, run, pages)?;
        }
        let first = others.lower.len();
        let numbered = (first..).zip(&parts);
        let mut layout = Layout {
            pages,
            parts: numbered.map(|(at, part)| (RegionId(at as u16), part.from, part.to)).collect(),
            busy: Vec::new(),
            mappings_after: others.after,
            regions: Vec::new(),
        };
        let region = parts.into_iter().map(|part| (part.config, false));
        for (config, busy) in others.lower.into_iter().chain(region).chain(others.higher) {
            if busy {
                layout.busy.push(RegionId(layout.regions.len() as u16));
            }
            layout.regions.push(config);
        }
        Ok(layout)
    }

    /// Pages of the process on a node at the start.
    pub(super) fn pages_on(&self, node: NodeId) -> u64 {
        let here = |region: &&RegionConfig| region.placement == Placement::Node(node);
        self.regions.iter().filter(here).map(|region| region.pages).sum()
    }

    /// What a thread touches.
    pub(super) fn background(
        &self,
        args: &Args<'_>,
        index: u64,
        threads: u64,
        start: Nanos,
    ) -> Result<Vec<BackgroundConfig>> {
        let rate_per_s = args.within("rate", 10_000, 1..=MOST_RATE)?;
        let sleeps = args.text("mode", "spin") == "sleep";
        let write_ppm = if args.on("write", 1)? { 1_000_000 } else { 0 };
        let by_clock = |region: RegionId, pattern: Pattern, write_ppm: u32, part: Option<Part>| {
            let touch = TouchConfig { region, count: 0, pattern, write_ppm, miss_ppm: 0 };
            let touch_cost = match pattern {
                _ if !sleeps => TOUCH_COST,
                Pattern::Sequential { .. } => BATCH_TOUCH,
                _ => BATCH_TOUCH + GENERATOR,
            };
            BackgroundConfig { rate_per_s, start, touch_cost, touch, part }
        };
        let mut all = Vec::new();
        let slices = args.on("slice", 0)?;
        let (first, span) =
            if slices { (self.pages / threads * index, self.pages / threads) } else { (0, self.pages) };
        if let Some(pattern) = pattern(args, index, span)? {
            for (region, from, to) in &self.parts {
                if *from < first + span && first < *to {
                    let whole = span == to - from && first == *from;
                    let part = Part { pages: span, offset: first as i64 - *from as i64 };
                    all.push(by_clock(*region, pattern, write_ppm, (!whole).then_some(part)));
                }
            }
        }
        if index == 0 {
            // What a poll touches, it touches far more often than it is marked.
            let one = Some(Part { pages: 1, offset: 0 });
            let again =
                |region: &RegionId| by_clock(*region, Pattern::Sequential { start: 0 }, 1_000_000, one);
            all.extend(self.busy.iter().map(again));
        }
        Ok(all)
    }
}

/// In what order a thread touches `span` pages; `None`: it touches nothing.
fn pattern(args: &Args<'_>, index: u64, span: u64) -> Result<Option<Pattern>> {
    let seed = args.number("seed", 1)? as u64;
    let state = 88_172_645_463_325_252 ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (index << 32);
    let percent = args.within("hot_pages_pct", 10, 0..=99)?;
    Ok(match args.one_of("pattern", "seq", &["seq", "rand", "hotcold", "none"])?.as_str() {
        "seq" => Some(Pattern::Sequential {
            start: args.within("phase_pages", 0, 0..=MOST_MB << 8)? * index % span,
        }),
        "rand" => Some(Pattern::Xorshift { state }),
        "hotcold" => Some(Pattern::XorshiftHotCold {
            state,
            hot_pages: (span * percent / 100).max(1),
            hot_percent: args.number("hot_touch_pct", 90)?.clamp(0, 100) as u32,
        }),
        _ => None,
    })
}

/// Pages `from..to` of the region.
struct RegionPart {
    from: u64,
    to: u64,
    config: RegionConfig,
}

/// The region in parts: where its halves were first touched on two nodes, and where huge pages end in base pages.
fn parts(args: &Args<'_>, run: &Run, pages: u64) -> Result<Vec<RegionPart>> {
    let nodes = run.nodes.len();
    let home = NodeId(args.within("alloc_node", 0, 0..=nodes as u64 - 1)? as u8);
    let second = match args.number("alloc_half", -1)? {
        -1 => None,
        half if half >= 0 && (half as usize) < nodes => Some(NodeId(half as u8)),
        half => {
            let expected = format!("from 0 to {}, or -1 for none", nodes - 1);
            return Err(bad("spec.args.alloc_half", &half.to_string(), &expected));
        }
    };
    let (cut, rest) = second.map_or((pages, home), |node| (pages / 2 / HUGE * HUGE, node));
    let anonymous = args.one_of("map", "anon", MAPS)? == "anon";
    // With huge pages switched off for the whole system, asking for them has no effect.
    let allowed = run.sysctls.get("thp").is_none_or(|choice| !choice.contains("[never]"));
    let huge = anonymous && args.on("thp", 0)? && allowed;
    let whole_blocks = if huge { pages / HUGE * HUGE } else { 0 };
    let mut ends = vec![cut, whole_blocks, pages];
    ends.sort_unstable();
    ends.dedup();
    let mut parts: Vec<RegionPart> = Vec::new();
    let mut from = 0;
    for to in ends.into_iter().filter(|end| *end > 0) {
        let half = if to <= cut { home } else { rest };
        let kind = if to <= whole_blocks { MapKind::AnonymousHuge } else { kind(args)? };
        let policy = policy(args, home, half, nodes)?;
        let config = RegionConfig {
            name: format!("region, pages {from} to {to}"),
            process: ProcessId(0),
            pages: to - from,
            // A file's pages are made when it is written, before the halves are told apart.
            placement: Placement::Node(if anonymous { half } else { home }),
            policy,
            kind,
            continues: parts.last().is_some_and(|before| before.config.policy == policy),
            dma_pinned: false,
            locked: false,
            mapped_elsewhere: false,
            first_touch: anonymous.then_some(CpuId(setup_cpu(args)? as u16)),
        };
        parts.push(RegionPart { from, to, config });
        from = to;
    }
    Ok(parts)
}

const MAPS: &[&str] = &["anon", "file_ro", "file_rw_private", "file_rw_shared"];

/// What base pages of the region are.
fn kind(args: &Args<'_>) -> Result<MapKind> {
    let on_ramfs = args.text("file", "/tmp/region.bin").starts_with("/ram/");
    Ok(match (args.one_of("map", "anon", MAPS)?.as_str(), on_ramfs) {
        ("anon", _) => MapKind::Anonymous,
        ("file_ro", _) => MapKind::FileReadOnly,
        ("file_rw_private", true) => MapKind::FileCopyOnWrite,
        ("file_rw_private", false) => MapKind::TmpfsPrivate,
        // The file was just written, and nothing writes it back: no pass marks its pages.
        (_, true) => MapKind::FileShared { dirty: true },
        (_, false) => MapKind::TmpfsShared,
    })
}

/// The policy of the part that was first touched on `half`, of a region that begins on `home`.
fn policy(args: &Args<'_>, home: NodeId, half: NodeId, nodes: usize) -> Result<Policy> {
    let known = ["default", "bind", "bind_all", "bind_nb", "bind_nb_home", "preferred", "task_bind_nb"];
    Ok(match args.one_of("policy", "default", &known)?.as_str() {
        "bind" => Policy::Bind(NodeMask::only(home)),
        "bind_all" => Policy::Bind(all_nodes(nodes)),
        "bind_nb" => Policy::BindBalancing(all_nodes(nodes)),
        "bind_nb_home" => Policy::BindBalancing(NodeMask::only(half)),
        "preferred" => Policy::Preferred(home),
        _ => Policy::Default,
    })
}

/// The process's other mappings that a pass looks at, each with whether the first thread touches it all the time.
struct Others {
    lower: Vec<(RegionConfig, bool)>,
    higher: Vec<(RegionConfig, bool)>,
    after: bool,
}

impl Default for Others {
    /// All of them bound, so that no pass looks at any.
    fn default() -> Others {
        Others { lower: Vec::new(), higher: Vec::new(), after: true }
    }
}

/// A line of `/proc/PID/maps`.
struct Line<'a> {
    from: u64,
    to: u64,
    access: &'a str,
    name: &'a str,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Option<Line<'a>> {
        let mut words = text.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let address = |digits| u64::from_str_radix(digits, 16).ok();
        let line = Line { from: address(from)?, to: address(to)?, access: words.next()?, name: "" };
        Some(Line { name: words.nth(3).unwrap_or(""), ..line })
    }

    fn pages(&self) -> u64 {
        (self.to - self.from) >> 12
    }

    /// Whether no pass looks at it: a file's that is not written or lies on tmpfs, as the whole root does, what is not
    /// accessible, and the kernel's own data page (spec: 1.5 tests 1 to 3, 8 F4).
    fn is_never_scanned(&self) -> bool {
        self.name.starts_with('/') || self.name.starts_with("[vvar") || self.access.starts_with("---")
    }
}

impl Others {
    fn of(args: &Args<'_>, run: &Run, pages: u64) -> Result<Others> {
        const WITHOUT: &str =
            "mappings of the process other than the region that can be scanned (aux_bind=0)";
        if args.cpus()?.len() > 1 {
            return not_modelled(format!("{WITHOUT} with several busy threads, whose stacks look alike"));
        }
        let lines: Vec<Line<'_>> =
            run.mappings.iter().filter_map(|line| Line::parse(line.strip_prefix("maps ")?)).collect();
        let Some(region) = lines.iter().position(|line| line.pages() == pages) else {
            return not_modelled(format!(
                "{WITHOUT} without `mappings` that show them and the region (maps=1)"
            ));
        };
        let mut others = Others { lower: Vec::new(), higher: Vec::new(), after: false };
        for (index, line) in lines.iter().enumerate() {
            others.after = line.is_never_scanned();
            if index == region || line.is_never_scanned() {
                continue;
            }
            // What follows the program's file is its zeroed data, with what the poll reads.
            let program =
                index > 0 && lines[index - 1].name.starts_with('/') && lines[index - 1].to == line.from;
            // The heap holds the first thread's own variables, the program being static.
            let busy = program || line.name == "[heap]" || line.name == "[stack]";
            let side = if index < region { &mut others.lower } else { &mut others.higher };
            side.push((other(run, line), busy));
        }
        Ok(others)
    }
}

/// A mapping beside the region: resident pages only, on the node that has most of them. The vdso's belong to every process.
fn other(run: &Run, line: &Line<'_>) -> RegionConfig {
    let prefix = format!("numa_maps {:08x} ", line.from);
    let placed = run.mappings.iter().find_map(|text| text.strip_prefix(&prefix)).unwrap_or("");
    let mut on: Vec<(u64, u8)> = Vec::new();
    for (node, pages) in placed.split_whitespace().filter_map(|word| word.strip_prefix('N')?.split_once('='))
    {
        if let (Ok(node), Ok(pages)) = (node.parse(), pages.parse()) {
            on.push((pages, node));
        }
    }
    let resident: u64 = on.iter().map(|(pages, _)| pages).sum();
    let known = on.iter().filter(|(_, node)| usize::from(*node) < run.nodes.len());
    RegionConfig {
        name: format!("mapping at {:x}", line.from),
        process: ProcessId(0),
        pages: if resident == 0 { line.pages().max(1) } else { resident },
        placement: Placement::Node(NodeId(known.max().map_or(0, |(_, node)| *node))),
        policy: Policy::Default,
        kind: MapKind::Anonymous,
        continues: false,
        dma_pinned: false,
        locked: false,
        mapped_elsewhere: resident == 0,
        first_touch: None,
    }
}
