//! One process of the host: which of its threads are recorded, and what they say.

use std::collections::BTreeMap;

use super::host::Host;
use super::text::{self, Sched};

/// A process that is recorded.
pub(super) struct Process {
    pub(super) pid: u32,
    /// Its start in ticks since boot: a later process with the same number has another.
    start: u64,
    /// In order of their number; the columns `t0_*`, `t1_*`... are theirs.
    pub(super) threads: Vec<Thread>,
    /// How many threads it had when the recording began.
    pub(super) thread_count: usize,
}

/// A thread that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    pub(super) tid: u32,
    pub(super) name: String,
}

impl Process {
    /// Finds a process and chooses the `limit` threads that have used the most CPU time so far.
    ///
    /// # Errors
    /// If there is no such process, or its files cannot be read; the text says what to do.
    pub(super) fn find(host: &Host, pid: u32, limit: usize) -> Result<Process, String> {
        let path = format!("/proc/{pid}/stat");
        let unknown =
            || format!("--pid {pid}: no such process runs; `ps -e` lists those that do, with their numbers");
        let stat = host.read(&path).map_err(|why| {
            if why.is_gone() { unknown() } else { format!("{why}; run as root, or as the process's user") }
        })?;
        let stat = text::stat(&stat)
            .ok_or_else(|| format!("{path}: expected the fields of a process; is this a Linux /proc?"))?;
        if matches!(stat.state, 'Z' | 'X') {
            return Err(format!(
                "--pid {pid}: the process has ended; start it again and give its new number"
            ));
        }
        let names = host.names(&format!("/proc/{pid}/task")).map_err(|why| {
            if why.is_gone() { unknown() } else { format!("{why}; run as root, or as the process's user") }
        })?;
        let tids: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let busiest = busiest(&tids, limit, |tid| runtime(host, pid, tid));
        let thread = |tid| {
            let name = host.read(&format!("/proc/{pid}/task/{tid}/comm")).unwrap_or_default();
            Thread { tid, name: name.trim().to_owned() }
        };
        let threads = busiest.into_iter().map(thread).collect();
        Ok(Process { pid, start: stat.start, threads, thread_count: tids.len() })
    }

    /// Whether it still runs. A file that cannot be understood is no sign of an end.
    pub(super) fn runs(&self, host: &Host) -> bool {
        match host.read(&format!("/proc/{}/stat", self.pid)) {
            Err(why) => !why.is_gone(),
            Ok(stat) => text::stat(&stat).is_none_or(|stat| {
                // A leader that has exited is a zombie as long as other threads run.
                let over = matches!(stat.state, 'Z' | 'X') && self.thread_folders(host) <= 1;
                stat.start == self.start && !over
            }),
        }
    }

    /// What each thread says now; `None` for one that has ended or says nothing.
    pub(super) fn sample(&self, host: &Host) -> Vec<Option<Sched>> {
        self.threads.iter().map(|thread| read_thread(host, self.pid, thread.tid)).collect()
    }

    /// Pages by node, over all mappings.
    pub(super) fn placement(&self, host: &Host) -> Result<BTreeMap<u32, u64>, String> {
        let path = format!("/proc/{}/numa_maps", self.pid);
        host.read(&path).map(|maps| text::numa_maps(&maps)).map_err(|why| {
            let remedy = if why.is_denied() {
                "run as root or as the process's user, or leave --placement out"
            } else {
                "the process has ended or the kernel is built without NUMA; leave --placement out"
            };
            format!("{why}; {remedy}")
        })
    }

    /// Why the first thread's `sched` gives nothing about balancing, if so.
    pub(super) fn missing_statistics(&self, host: &Host) -> Option<String> {
        let thread = self.threads.first()?;
        let path = format!("/proc/{}/task/{}/sched", self.pid, thread.tid);
        match host.read(&path) {
            Err(why) if why.is_denied() => Some(format!(
                "{why}; its threads' fault statistics stay empty; run as root or as the process's user"
            )),
            Err(why) => Some(format!(
                "{why}; the threads' fault statistics stay empty; they need a kernel with SCHED_DEBUG"
            )),
            Ok(sched) => {
                let sched = text::sched(&sched);
                (sched.scan_seq.is_none() && sched.total_faults.is_none()).then(|| {
                    format!(
                        "{path}: nothing about balancing in it; the threads' fault statistics stay empty; the kernel \
                         is built without NUMA_BALANCING"
                    )
                })
            }
        }
    }

    fn thread_folders(&self, host: &Host) -> usize {
        host.names(&format!("/proc/{}/task", self.pid)).map_or(0, |names| names.len())
    }
}

/// The `limit` threads with the most CPU time, in order of their number; of equals those with the lower number.
fn busiest(tids: &[u32], limit: usize, mut runtime: impl FnMut(u32) -> u64) -> Vec<u32> {
    let mut by_time: Vec<(u64, u32)> = tids.iter().map(|&tid| (runtime(tid), tid)).collect();
    by_time.sort_unstable_by_key(|&(time, tid)| (std::cmp::Reverse(time), tid));
    let mut chosen: Vec<u32> = by_time.into_iter().take(limit).map(|(_, tid)| tid).collect();
    chosen.sort_unstable();
    chosen
}

fn runtime(host: &Host, pid: u32, tid: u32) -> u64 {
    read_thread(host, pid, tid).and_then(|sched| sched.runtime).unwrap_or(0)
}

/// The thread's `sched`; where the kernel has none, its CPU time from `schedstat`.
fn read_thread(host: &Host, pid: u32, tid: u32) -> Option<Sched> {
    let folder = format!("/proc/{pid}/task/{tid}");
    let mut sched = host.read(&format!("{folder}/sched")).map(|text| text::sched(&text)).unwrap_or_default();
    if sched.runtime.is_none() {
        let schedstat = host.read(&format!("{folder}/schedstat")).ok();
        sched.runtime = schedstat.and_then(|text| text::schedstat_runtime(&text));
    }
    (sched != Sched::default()).then_some(sched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_threads_are_taken_and_stand_in_order_of_their_number() {
        let times = |tid: u32| [5, 90, 5, 70, 0][tid as usize];
        assert_eq!(busiest(&[0, 1, 2, 3, 4], 3, times), [0, 1, 3]);
        assert_eq!(busiest(&[4, 2, 0], 9, times), [0, 2, 4]);
        assert_eq!(busiest(&[4, 2, 0], 0, times), [0u32; 0]);
    }
}
