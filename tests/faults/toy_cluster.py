"""The real ``evonas search`` with real Ray workers, of networks that are arithmetic.

Does one order, which stands on the command line (JSON), in this process. As in ``toy_search.py``
only the plan of the search is a toy; here what trains is a worker of Ray, with a fate.
"""

from __future__ import annotations

import atexit
import json
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from faults.candidate import ELSEWHERE, Candidate, Fate
from faults.toy_search import SPACE, Arithmetic, Toy, child

from evonas.estimation.estimator import TrainingContext
from evonas.estimation.execution.ray import RayExecutor
from evonas.estimation.features.feature_cache import Progress
from evonas.space import SearchSpace
from evonas.workflows.base_components import Ready

SETTING = TrainingContext({}, {}, "", np.empty((0, 0, 0), np.float32), {}, ("none", {}, {}))
#: Genes that make as many networks as a long search asks for.
ROOM = {"name": "number", "kind": "integer", "low": 0, "high": 10**5 - 1}


@dataclass(frozen=True)
class ToyCluster(Toy):
    """A plan of a search whose trainings are over in a moment, in workers of Ray.

    Args:
        order: may have ``workers`` (0: arithmetic in this process), ``nodes`` (whether to
            join a cluster of two), ``fate`` and ``roomy`` (thousands of networks).
    """

    order: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def space(self) -> SearchSpace:  # type: ignore[override]
        told = SPACE.to_dict()
        return SearchSpace.from_dict(
            {**told, "genes": [*told["genes"], ROOM]} if self.order.get("roomy") else told
        )

    def ready(self, progress: Progress) -> Ready:
        known, workers = super().ready(progress).environment, self.order.get("workers", 2)
        faults = self.faults
        assert faults is not None
        if not workers:
            return Ready(lambda: Arithmetic(self.folder, faults), known)
        fate = Fate(self.folder.parent, **self.order.get("fate", {}))
        make, address = partial(Candidate, fate), two_nodes() if self.order.get("nodes") else ""
        setting = replace(SETTING, time_limit=self.experiment.execution.time_limit)
        start = partial(RayExecutor, setting, workers, "toy", make, address)
        return Ready(start, known)


def two_nodes() -> str:
    """Start a Ray cluster of two nodes on this machine; return its address."""
    from ray.cluster_utils import Cluster

    quiet = {"num_cpus": 1, "include_dashboard": False}
    # A node that is killed is given up after seconds, not after Ray's minute.
    soon = {"health_check_period_ms": 500, "health_check_timeout_ms": 2000}
    soon |= {"health_check_failure_threshold": 3}
    cluster = Cluster(initialize_head=True, head_node_args={**quiet, "_system_config": soon})
    cluster.add_node(num_cpus=1, env_vars={ELSEWHERE: "1"})
    atexit.register(cluster.shutdown)
    return str(cluster.address)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.exit(child(given, partial(ToyCluster, order=given)))
