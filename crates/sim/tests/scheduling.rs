//! Threads that are not pinned, from the scenario's keys to the run.

use std::path::PathBuf;

use numashock_accounting::Mechanisms;
use numashock_machine::{CpuId, NodeMask, Policy, SchedulerConfig, ThreadId};
use numashock_sim::Simulation;
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::{Host, HostId, ModelHost, RunConfig};

fn scenario(settings: &[&str]) -> Scenario {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/thread-move.toml");
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Scenario::read(&file, &settings).expect("the scenario is sound")
}

fn lowered(settings: &[&str]) -> Result<RunConfig, String> {
    let choices = scenario(settings).choices(1_000_000).map_err(|error| error.to_string())?;
    Ok(choices.into_iter().next().expect("a scenario has a choice").config)
}

fn model(config: &RunConfig) -> &ModelHost {
    match &config.hosts[0].host {
        Host::Model(model) => model,
        Host::Recorded(_) => panic!("this scenario has a machine"),
    }
}

#[test]
fn without_the_keys_threads_are_pinned_and_the_kernel_moves_what_it_may() {
    let config = lowered(&[]).unwrap();
    let machine = &model(&config).machine;
    assert!(machine.threads.iter().all(|thread| thread.affinity == [thread.cpu]));
    assert_eq!(machine.scheduler, SchedulerConfig::KERNEL_DEFAULTS);
    assert_eq!((machine.topology.isolated.len(), machine.topology.nohz_full.len()), (0, 0));
    assert_eq!(machine.topology.caches_per_node, 1);
}

#[test]
fn the_keys_reach_the_machine_and_survive_writing() {
    let settings = [
        "thread.dispatch.affinity=[3, 0]",
        "machine.isolated=[3]",
        "machine.nohz_full=[2, 3]",
        "machine.caches_per_node=2",
        "machine.scheduler={ load_balancing = false, numa_task_migration = true, numa_task_swap = false }",
    ];
    let config = lowered(&settings).unwrap();
    let machine = &model(&config).machine;
    assert_eq!(machine.threads[0].affinity, [CpuId(3), CpuId(0)]);
    assert_eq!(machine.topology.isolated, [CpuId(3)]);
    assert_eq!(machine.topology.nohz_full, [CpuId(2), CpuId(3)]);
    assert_eq!(machine.topology.caches_per_node, 2);
    let SchedulerConfig { load_balancing, numa_task_migration, numa_task_swap } = machine.scheduler;
    assert_eq!((load_balancing, numa_task_migration, numa_task_swap), (false, true, false));
    let (text, inputs) = scenario(&settings).resolved().unwrap();
    let text =
        inputs.iter().fold(text, |text, input| text.replace(&input.name, &input.path.display().to_string()));
    let resolved = Scenario::parse(&PathBuf::from("resolved.toml"), &text, &[]).unwrap();
    assert_eq!(model(&resolved.choices(1_000_000).unwrap()[0].config).machine, *machine);
}

#[test]
fn what_cannot_be_is_refused_by_its_key() {
    for (setting, parts) in [
        ("thread.dispatch.affinity=[1, 2]", ["thread.dispatch.affinity", "CPU 0"]),
        ("thread.dispatch.affinity=[0, 64]", ["thread.dispatch.affinity", "CPU 64 does not exist"]),
        ("machine.isolated=[9]", ["machine.isolated", "CPU 9 does not exist"]),
        ("machine.nohz_full=[9]", ["machine.nohz_full", "CPU 9 does not exist"]),
        ("machine.caches_per_node=0", ["machine.caches_per_node", "1 to 1024"]),
    ] {
        let error = lowered(&[setting]).err().unwrap_or_default();
        assert!(parts.iter().all(|part| error.contains(part)), "{setting}: {error}");
    }
}

/// Where the dispatch thread ends that starts on node 1 while all memory is bound to node 0, and how often it moved.
fn place_at_end(settings: &[&str]) -> (CpuId, u64) {
    let at_the_end = ["disturbance.moved.at=\"1h\"", "disturbance.batch.at=\"1h\""];
    let mut config = lowered(&[settings, &at_the_end].concat()).expect("the scenario is sound");
    let mut host = model(&config).clone();
    for region in &mut host.machine.regions {
        region.policy = Policy::BindBalancing(NodeMask(1));
    }
    config.hosts[0].host = Host::Model(Box::new(host));
    let input = config.replication(0).input(Mechanisms::REAL, true, None, u64::MAX);
    let mut simulation = Simulation::new(&config, input);
    while simulation.step().is_some() {}
    let machine = simulation.machine(HostId(0)).expect("this scenario has a machine");
    (machine.thread(ThreadId(0)).cpu, machine.task_moves().numa_task_migrated)
}

#[test]
fn the_dispatch_thread_follows_memory_that_stays() {
    let free = ["thread.dispatch.cpu=2", "thread.dispatch.affinity=[0, 2, 3]", "machine.caches_per_node=2"];
    assert_eq!(place_at_end(&free), (CpuId(0), 1));
    assert_eq!(place_at_end(&free[..1]), (CpuId(2), 0));
    // The feed thread runs there already: with one cache a node a second one is too many (spec: 3.8 step 4).
    assert_eq!(place_at_end(&free[..2]), (CpuId(2), 0));
}
