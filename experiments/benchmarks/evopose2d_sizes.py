"""The published EvoPose2D networks, counted: python experiments/benchmarks/evopose2d_sizes.py

The table that they are held against is that of McNally et al. (2021, arXiv 2011.08446), for 17 key
points. It counts the running statistics of norms among the parameters, and multiply-adds where
it says operations; no other unit comes near.
"""

from __future__ import annotations

import torch

from evonas.core import experiment as config
from evonas.models.networks.evopose2d import EvoPose2D
from evonas.space import Architecture

#: name -> changes of the genotype, (height, width), millions and billions as published.
PUBLISHED = {
    "XS": ({"stride6": 2}, (256, 192), 2.53, 0.47),
    "S": ({}, (256, 192), 2.53, 1.07),
    "M": ({}, (384, 288), 7.34, 5.59),
    "L": ({}, (512, 384), 14.7, 17.7),
}


def main() -> None:
    """Print a Markdown table."""
    (small,) = config.load("evopose2d_coco", ["data.root=."]).baselines
    print("| network | input | parameters, M: published, here, trained alone | off | ", end="")
    print("multiply-adds, G: published, here | off |\n|---|---|---|---|---|---|")
    for name, (changes, size, millions, billions) in PUBLISHED.items():
        network = Architecture(small.network, {**small.settings, **changes})
        with torch.device("meta"):
            module = EvoPose2D().build(network, (3, *size), 17)
        state = [v for v in module.state_dict().values() if v.is_floating_point()]
        own = sum(v.numel() for v in state) / 1e6
        trained = sum(p.numel() for p in module.parameters()) / 1e6
        macs = EvoPose2D().macs(network, (3, *size), 17) / 1e9
        print(
            f"| {name} | {size[0]} x {size[1]} | {millions}, {own:.3f}, {trained:.3f} "
            f"| {100 * (own / millions - 1):+.1f} % | {billions}, {macs:.3f} "
            f"| {100 * (macs / billions - 1):+.1f} % |"
        )


if __name__ == "__main__":
    main()
