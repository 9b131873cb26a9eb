"""64 variants of one shape together, one after the other in a warm process, and each in a process of its own.

4 learning rates x 4 omegas x 4 seeds of a small training on phantom eyes, of at least 5 s each once compiled.
`together` is what `inr-jax ablate` does: its choice of vmap or map, timed on the device at hand. Half of `one by one`
runs before it and half after. `processes` follow one another, each with its start, its scans and its compilation;
--processes=N runs N of them, evenly spread, and scales their mean. Where there is a GPU, 256 variants (16 seeds) are
timed as well, 8 of them one by one and scaled. Losses must agree to 1e-3 (relative, median of all variants) after 20
steps: rounding grows with the training, most where its rates are high. What it has grown to at the end is told.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from inr_jax import batched, chunks, data, doctor, sweeps, workdir
from inr_jax.batched import Group
from inr_jax.config_script import load_config

RATES, OMEGAS = (1e-4, 3e-4, 1e-3, 3e-3), (10.0, 20.0, 30.0, 40.0)
GPU_SEEDS, GPU_ALONE = 16, 8
EARLY = 20  # steps after which the same variant must have the same loss
TOLERANCE = 1e-3


def base(steps: int) -> ConfigDict:
    """The demo's network on a few eyes, the auto-decoder and a short joint stage."""
    config = load_config("configs/demo.py")
    config.data.phantom_oct.people = (4, 1, 1)
    config.data.phantom_oct.shape = (9, 64, 48)
    config.train.update(start_from="", stages=("autodecoder", "joint"))
    config.train.autodecoder.update(steps=steps, subjects=4)
    config.train.joint.update(steps=max(steps // 20, 1), context=1024, points=512)
    config.train.update(whiten=0.0, calibrate=False, save_every=10**6, log_every=EARLY, steps_per_dispatch=10**6)
    return config


def variants(config: ConfigDict, seeds: int) -> list[ConfigDict]:
    return [
        sweeps.configured(config, {"train.autodecoder.rates.field": r, "hyper.omega_first": o, "train.seed": s})
        for r in RATES
        for o in OMEGAS
        for s in range(seeds)
    ]


def group_of(config: ConfigDict) -> Group:
    return Group(config, data.load(config.data, "train"), data.load(config.data, "validation"))


def losses(course: batched.Course) -> np.ndarray:
    return np.stack([entry["loss"] for entry in course.curve], -1)


def trained(group: Group, configs: list[ConfigDict], over: str) -> tuple[float, np.ndarray]:
    """Seconds, those of compiling apart, and losses [V, checks]."""
    began, compiling = time.perf_counter(), group.compile_seconds
    course = jax.block_until_ready(batched.train(group, configs, over, lambda *_: None))
    return time.perf_counter() - began - (group.compile_seconds - compiling), losses(course)


def together(group: Group, configs: list[ConfigDict]) -> tuple[float, np.ndarray, str, int]:
    """Seconds, losses, and how and how many at once, chosen before."""
    limit = chunks.limit(None)
    size, over = chunks.choose(chunks.measure(group, configs, limit), len(configs), limit)
    parts = [configs[i : i + size] for i in range(0, len(configs), size)]
    found = [trained(group, part, over) for part in parts]
    return sum(seconds for seconds, _ in found), np.concatenate([each for _, each in found]), over, size


def one_by_one(group: Group, configs: list[ConfigDict]) -> tuple[float, np.ndarray]:
    found = [trained(group, [config], "map") for config in configs]
    return sum(seconds for seconds, _ in found), np.concatenate([each for _, each in found])


def processes(steps: int, chosen: list[int]) -> float:
    """Mean seconds of a process that trains one variant, from its start to its end."""
    began = time.perf_counter()
    for i in chosen:
        subprocess.run([sys.executable, __file__, f"--steps={steps}", f"--one={i}"], check=True)
    return (time.perf_counter() - began) / len(chosen)


def differences(found: np.ndarray, alone: np.ndarray) -> dict[str, float]:
    """Of losses [V, checks], relative, after EARLY steps and at the end. Raises where the same variant is another."""
    apart = np.abs(found / alone - 1)
    at = {"early": apart[:, 0], "end": apart[:, -1]}
    assert np.median(at["early"]) < TOLERANCE, "the same variant has other numbers"
    return {f"{when}_{how.__name__}": float(how(e)) for when, e in at.items() for how in (np.median, np.max)}


def on_this_device(configs: list[ConfigDict]) -> dict[str, Any]:
    """All of them together, and one by one: half before, half after."""
    group = group_of(configs[0])
    trained(group, configs[:1], "map")  # the data, and whatever else a first run has to fetch
    compiling, half = group.compile_seconds, len(configs) // 2
    first, first_losses = one_by_one(group, configs[:half])
    all_at_once, batch_losses, over, size = together(group, configs)
    second, second_losses = one_by_one(group, configs[half:])
    alone, n = first + second, len(configs)
    print(f"{n} variants, {alone / n:.1f} s each once compiled (which takes {compiling:.1f} s)")
    print(f"one by one, warm      {alone:8.1f} s")
    print(f"together              {all_at_once:8.1f} s   {all_at_once / alone:.2f} of it; {over}, {size} at once")
    found = differences(batch_losses, np.concatenate([first_losses, second_losses]))
    told = "; ".join("{} {:.1e}".format(name.replace("_", ", "), value) for name, value in found.items())
    print(f"relative differences of losses: {told}", flush=True)
    row = {"variants": n, "one_by_one_s": alone, "together_s": all_at_once, "over": over, "at_once": size}
    return row | {f"difference_{name}": value for name, value in found.items()}


def on_a_gpu(configs: list[ConfigDict]) -> dict[str, Any]:
    """As many more variants together; some of them one by one, scaled."""
    group = group_of(configs[0])
    at_once, batch_losses, over, size = together(group, configs)
    seconds, losses_alone = one_by_one(group, configs[:GPU_ALONE])
    factor = seconds / GPU_ALONE * len(configs) / at_once
    differences(batch_losses[:GPU_ALONE], losses_alone)
    print(f"{len(configs)} on this GPU: {factor:.1f} times faster together ({over}, {size} at once)")
    return {"gpu_variants": len(configs), "gpu_factor": factor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of the auto-decoder; a 20th of them joint")
    parser.add_argument("--processes", type=int, default=64, help="how many of the 64 processes are run")
    parser.add_argument("--seeds", type=int, default=4, help="fewer for a try")
    parser.add_argument("--output", type=Path, default=Path("ablate.jsonl"), help="JSON lines are added to it")
    parser.add_argument("--one", type=int, help="train this one alone and end")
    options = parser.parse_args()
    configs = variants(base(options.steps), options.seeds)
    if options.one is not None:
        batched.train(group_of(configs[0]), [configs[options.one]], "map", lambda *_: None)
        return
    row = on_this_device(configs)
    if options.processes:
        each = processes(options.steps, np.linspace(0, len(configs) - 1, options.processes).astype(int).tolist())
        whole = each * len(configs)
        print(f"processes             {whole:8.1f} s   from {options.processes} of them, {each:.1f} s each")
        row |= {"processes_s": whole, "processes_run": options.processes}
    if jax.default_backend() == "gpu":
        row |= on_a_gpu(variants(base(options.steps), GPU_SEEDS))
    row |= {"steps": options.steps, "device": jax.devices()[0].device_kind, "cores": doctor.cores()}
    row |= {"machine": platform.platform(), "git": workdir.git_state(), "time": time.strftime("%Y-%m-%dT%H:%M:%S")}
    with options.output.open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
