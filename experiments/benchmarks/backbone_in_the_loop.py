"""What a finished search saved by computing features once.

python experiments/benchmarks/backbone_in_the_loop.py runs/pointing04-surrogate-s0

Measures the backbone's time an image here (all taps of the experiment, one thread,
batches of 32, median of 7), and multiplies it by the images that went through the
backbone and those that would have, with the backbone in the loop of every training.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from evonas.core import experiment as config
from evonas.runs.run_store import RunStore
from evonas.workflows.components import Components


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    experiment = config.load(args.run / "experiment.yaml")
    components = Components(experiment)
    with RunStore(args.run, resume=True) as store:
        trials, environment = store.trials(), store.read("environment.json")
    trained = [trial for trial in trials if trial.trained]
    splits = components.dataset.splits
    epoch = len(splits["train"]) + len(splits["validation"])
    looped = len(trained) * experiment.training.epochs * epoch
    cached = len(environment["views"]) * environment["images"]
    torch.set_num_threads(1)
    size = components.backbone.input_size
    batch = torch.rand(32, 3, size, size) * 255
    times = []
    with torch.inference_mode():
        for _ in range(7):
            start = time.perf_counter()
            components.backbone(batch, components.taps())
            times.append((time.perf_counter() - start) / len(batch))
    each = statistics.median(times)
    spent = sum(trial.seconds for trial in trained)
    print(
        f"views x images                      {len(environment['views'])} x {environment['images']}"
    )
    print(f"backbone passes, cached             {cached:,}")
    print(f"backbone passes, in the loop        {looped:,}  ({looped / cached:.0f} times as many)")
    print(f"backbone, ms an image on one thread {1e3 * each:.2f}  ({1e3 * min(times):.2f} at best)")
    print(f"backbone time, cached               {cached * each / 60:.1f} min of one core")
    print(f"backbone time, in the loop          {looped * each / 60:.1f} min of one core")
    print(f"head training, {len(trained)} networks            {spent / 60:.1f} min of one core")


if __name__ == "__main__":
    main()
