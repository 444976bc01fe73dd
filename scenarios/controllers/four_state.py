#!/usr/bin/env python3
"""The four-state regime controller as a process of its own, to start from.

    numashock run scenarios/ladder.toml --controller-command "python3 scenarios/controllers/four_state.py"

It reads one JSON object a line from standard input and answers each with one line on standard output, until "bye". Each
host is decided as the scenario's own controller would, which may also be one of the three baselines; an argument, such as
four-state, takes that kind for every host instead. Only the standard library is needed.
"""

import json
import sys

PROTOCOL = 1
LEVELS = ["NUMA_STABLE", "NUMA_WATCH", "NUMA_SHOCK", "SAFE_NUMA_CONSERVATIVE"]
STABLE, WATCH, SHOCK, SAFE = range(4)
PRESSURES = ["rhf_ppm", "mcr_kib_per_s", "dcj_ppm"]


def is_blind(seen):
    """The host cannot be seen: its counters are late, or those that always exist are missing."""
    return seen["telemetry"] == "stale" or seen["rhf_ppm"] is None or seen["mcr_kib_per_s"] is None


def is_over(band, value):
    """A missing value is never over; one that equals the threshold is not over either."""
    return value is not None and value > band["enter"]


def is_under(band, value):
    """A missing value does not speak against calm; whether the host was seen at all is asked first."""
    return value is None or value < band["exit"]


def count_over(bands, seen):
    return sum(is_over(bands[metric], seen[metric]) for metric in PRESSURES)


def is_calm(limits, level, seen):
    """Whether a bucket speaks for leaving a level downwards. SHOCK ends under its own exits, all else under WATCH's."""
    bands = limits["shock"] if level == SHOCK else limits["watch"]
    return (
        not is_blind(seen)
        and all(is_under(bands[metric], seen[metric]) for metric in PRESSURES)
        and is_under(limits["qdl_ppm"], seen["qdl_ppm"])
        and is_under(limits["deadline_miss_ppm"], seen["deadline_miss_ppm"])
    )


def pressed_to(limits, level, held, blind, seen):
    """The highest level that the counters and the metrics of this bucket call for."""
    if blind >= limits["stale_limit"]:
        return SAFE
    if level == SHOCK and held > limits["shock_limit"]:
        return SAFE
    return pressed_by_metrics(limits, seen)


def pressed_by_metrics(limits, seen):
    """The highest level that the metrics of this bucket alone call for."""
    if is_over(limits["deadline_miss_ppm"], seen["deadline_miss_ppm"]):
        return SAFE
    if is_over(limits["qdl_ppm"], seen["qdl_ppm"]) or count_over(limits["shock"], seen) >= 2:
        return SHOCK
    return WATCH if count_over(limits["watch"], seen) >= 1 else STABLE


def decide(limits, regime, seen):
    """The regime that follows: upwards at once and over any number of levels, downwards one level after the dwell."""
    level = LEVELS.index(regime["level"])
    held = regime["held"] + 1
    calm = regime["calm"] + 1 if is_calm(limits, level, seen) else 0
    blind = regime["blind"] + 1 if is_blind(seen) else 0
    pressed = pressed_to(limits, level, held, blind, seen)
    needed = limits["release"] if level == SAFE else limits["dwell"]
    if pressed > level:
        level, held, calm = pressed, 0, 0
    elif level > STABLE and calm >= needed:
        level, held, calm = level - 1, 0, 0
    return {"level": LEVELS[level], "held": held, "calm": calm, "blind": blind}


def actions_of(limits, regime):
    """Each level keeps what the level below asks for. Leaving "actions" out of an answer means just these."""
    level, asked = LEVELS.index(regime["level"]), limits["actions"]
    watch, shock, safe = level >= WATCH, level >= SHOCK, level >= SAFE
    return {
        "participation_cap_ppm": asked["participation_cap_ppm"] if shock else None,
        "child_spacing_ppm": asked["child_spacing_ppm"] if watch else 1_000_000,
        "min_reprice_interval_ns": asked["min_reprice_interval_ns"] if watch else None,
        "cancel_replace": "suppressed" if safe else "only-if-price-moved" if shock else "normal",
        "catch_up": "paced" if shock else "burst",
        "cross_only_at_deadline": safe,
        "simplest_schedule": safe,
        "scanner": asked["scanner"] if shock else None,
        "balancing_off": safe and asked["balancing_off_permitted"],
        "pin_dispatch": False,
        "finer_telemetry": watch,
    }


def four_state(limits, regime, seen):
    regime = decide(limits, regime, seen)
    return regime, actions_of(limits, regime)


def do_nothing(limits, _regime, _seen):
    return at(STABLE), actions_of(limits, at(STABLE))


def static_pinning(limits, _regime, _seen):
    permitted = limits["actions"]["balancing_off_permitted"]
    return at(STABLE), {**actions_of(limits, at(STABLE)), "pin_dispatch": True, "balancing_off": permitted}


def threshold_without_hysteresis(limits, _regime, seen):
    regime = at(SAFE if is_blind(seen) else pressed_by_metrics(limits, seen))
    return regime, actions_of(limits, regime)


KINDS = {
    "four-state": four_state,
    "do-nothing": do_nothing,
    "static-pinning": static_pinning,
    "threshold-without-hysteresis": threshold_without_hysteresis,
}


def at(level):
    """A level just entered."""
    return {"level": LEVELS[level], "held": 0, "calm": 0, "blind": 0}


def say(answer):
    print(json.dumps(answer), flush=True)


def main():
    kind = sys.argv[1] if len(sys.argv) > 1 else None
    hosts = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["type"] == "hello":
            if asked["protocol"] != PROTOCOL:
                sys.exit(f"numashock speaks protocol {asked['protocol']}, this controller {PROTOCOL}")
            hosts = {host["host"]: (KINDS[kind or host["controller"]], host["limits"]) for host in asked["hosts"]}
            say({"type": "hello", "protocol": PROTOCOL, "name": "the example in Python"})
        elif asked["type"] == "bucket":
            host = asked["host"]
            controller, limits = hosts[host]
            regime, actions = controller(limits, asked["regime"], asked["seen"])
            say({"type": "decision", "host": host, "bucket": asked["bucket"], "regime": regime, "actions": actions})
        elif asked["type"] == "bye":
            return
    sys.exit("the run ended without a bye")


if __name__ == "__main__":
    main()
