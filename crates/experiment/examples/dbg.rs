#![allow(missing_docs, clippy::all)]
use numashock_accounting::Mechanisms;
use numashock_experiment::sweep::run_once;
use numashock_sim::scenario::Scenario;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let s = Scenario::read(std::path::Path::new(&args[0]), &args[1..]).unwrap();
    let c = &s.choices(1_000_000).unwrap()[0].config;
    let t=std::time::Instant::now();
    let a = run_once(c, 0, Mechanisms::REAL, true, 0); println!("real {:?}", t.elapsed()); let t=std::time::Instant::now();
    let b = run_once(c, 0, Mechanisms::FREE, true, 0); println!("free {:?}", t.elapsed()); let t=std::time::Instant::now();
    let o = run_once(c, 0, Mechanisms::FREE, false, 0); println!("off {:?}", t.elapsed());
    println!("{:?}\n{:?}\n{:?}", a.hash, b.hash, o.hash);
    println!("{:?}\n{:?}", a.counters, b.counters);
    println!("flow {:?}\n{:?}", a.flow, b.flow);
    println!("lat {:?} {:?}", a.latencies_ns.len(), b.latencies_ns.len());
    for ((x, y), z) in a.parents.iter().zip(&b.parents).zip(&o.parents) {
        println!("{:?} q{} h{} f{} is {} {} {} rel {} {} {} stalls {:?}", x.order.side, x.order.quantity.0, x.order.horizon.0/1000000, x.filled.0, x.shortfalls.swept.is, y.shortfalls.swept.is, z.shortfalls.swept.is, x.releases, y.releases, z.releases, x.stalls);
    }
    let mut shift: Vec<i64> = a.gaps.iter().zip(&o.gaps).map(|(x, y)| x.0.0 as i64 - y.0.0 as i64).collect();
    shift.sort(); println!("release shifts us: min {} q50 {} q90 {} q99 {} max {}", shift[0]/1000, shift[shift.len()/2]/1000, shift[shift.len()*9/10]/1000, shift[shift.len()*99/100]/1000, shift[shift.len()-1]/1000);
    let mut l = a.latencies_ns.clone(); l.sort(); println!("latency us q50 {} q90 {} q99 {} max {}", l[l.len()/2]/1000, l[l.len()*9/10]/1000, l[l.len()*99/100]/1000, l[l.len()-1]/1000);
    println!("mids {:?}", a.seconds.iter().map(|b| b.mid_half_ticks).collect::<Vec<_>>());
    let d = a.seconds.iter().zip(&b.seconds).filter(|(p, q)| p.mid_half_ticks != q.mid_half_ticks).count();
    println!("diverged {} of {}", d, a.seconds.len());
}
