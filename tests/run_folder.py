"""A run's folder as a search leaves it, made up: quick, and known in every figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from msgspec.structs import replace

from evonas.runs.run_store import RunStore, Trial
from evonas.space import SearchSpace

SPACE = SearchSpace.from_dict(
    {
        "name": "toy",
        "network": "master_module",
        "genes": [
            {"name": "width", "kind": "ordinal", "choices": [8, 16, 32, 64]},
            {"name": "depth", "kind": "integer", "low": 1, "high": 3},
            {"name": "<b>act</b>", "kind": "choice", "choices": ["relu", "prelu"]},
            {"name": "rate", "kind": "log_float", "low": 1e-4, "high": 1e-1},
        ],
    }
)
BLOCKS = [
    {"name": "stem", "layers": "1×1 64→32", "shape": [32, 8, 8], "macs": 131072, "params": 2048},
    {"name": "end", "layers": "linear 32→3", "shape": [3], "macs": 96, "params": 99},
]
SECRET = "/secret/of/this/machine"


def trial(number: int, rng: np.random.Generator, **more: Any) -> Trial:
    """A trained network; width decides nearly all of its error."""
    genome = rng.random(SPACE.dim)
    made = SPACE.decode(genome)
    width = int(made.settings["width"])
    error = 40.0 / width**0.5 + 0.2 * float(rng.random())
    found = Trial(
        generation=number // 10,
        index=number % 10,
        genome=tuple(genome.tolist()),
        digest=made.digest,
        architecture=made.to_dict(),
        status="ok",
        fitness=error,
        macs=1000 * width * int(made.settings["depth"]),
        params=100 * width,
        seconds=2.0,
        metrics={"mae": error, "epoch": 3.0},
        epochs=3,
        curve=(error + 4, error + 1, error),
        losses=(0.5, 0.2, 0.1),
        at=3.0 * (number + 1),
    )
    return replace(found, **more)


def trials(count: int = 30, seed: int = 0) -> list[Trial]:
    """So many networks, two failures, a repeat, one over the limit, and the finals of the best."""
    rng = np.random.default_rng(seed)
    found = [trial(number, rng) for number in range(count)]
    unique = list({one.digest: one for one in found}.values())
    last = unique[-1]
    gone = {"fitness": None, "metrics": {}, "curve": (), "losses": ()}
    unique += [
        trial(count, rng, status="failed", error=f"diverged: at {SECRET}/x.py <script>", **gone),
        trial(count + 1, rng, status="failed", error="oom-gpu: too large", **gone),
        replace(last, generation=90, index=1, status="repeat", seconds=0.0, curve=(), losses=()),
        trial(count + 2, rng, status="infeasible", macs=10**7, **gone),
    ]
    best = min((one for one in unique if one.status == "ok"), key=lambda one: one.value)
    for repeat, error in ((1, best.value + 0.3), (2, best.value + 0.5)):
        metrics = {"mae": error, "epoch": 3.0}
        again = replace(best, status="final", repeat=repeat, fitness=error, metrics=metrics)
        curve, losses = (error + 3, error + 1, error), (0.6, 0.3, 0.1 + repeat)
        unique.append(replace(again, curve=curve, losses=losses, at=200.0 + repeat))
    return unique


def run_folder(folder: Path, rows: list[Trial] | None = None, **experiment: Any) -> Path:
    """Write the files of a finished search, and return its folder."""
    rows = trials() if rows is None else rows
    with RunStore(folder) as store:
        store.append(*rows)
        told = {
            "name": "toy",
            "seed": 3,
            "budget": 32,
            "optimizer": {"name": "cma"},
            "data": {"name": "image_table", "root": f"{SECRET}/faces"},
            "tap": "block3",
            "objective": {
                "cost": "macs",
                "target_macs": 100_000,
                "weight": 0.06,
                "max_macs": 180000,
            },
            "finals": {"networks": 3, "seeds": 2},
            **experiment,
        }
        store.write("experiment.yaml", yaml.safe_dump(told))
        store.write(
            "environment.json",
            {
                "evonas": "0.1.0",
                "data": "d" * 32,
                "backbone": "b" * 32,
                "packages": {"torch": "2.13.0"},
                "space": SPACE.to_dict(),
                "error": {"metric": "mae", "unit": "degrees"},
                "warnings": [],
            },
        )
        known = [one for one in rows if one.succeeded]
        if known:
            best = min(known, key=lambda one: one.value)
            store.write("best.json", _best(best))
        usage = {"workers": 2, "wall": 100.0, "busy": 150.0, "tail": 30.0, "few": 10.0}
        store.write("utilisation.json", {**usage, "between": 5.0, "utilisation": 0.75})
    return folder


def _best(best: Trial) -> dict[str, Any]:
    rival = {"name": "hand-made on block3", "digest": "r", "metrics": {"mae": 9.0}}
    return {
        "digest": best.digest,
        "architecture": json.loads(json.dumps(best.architecture)),
        "blocks": BLOCKS,
        "baselines": [{**rival, "macs": 150000, "params": 5000, "failed": ""}],
    }
