"""Kinds of failed trainings: meaning, advice for the user, and number of tries.

A failed training counts towards the budget and never ends the search. Causes outside the
network, such as a full disk or missing features, are no failures of it: they end the search with
one line, and ``--resume`` continues it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Failure:
    """A kind of failed training.

    Attributes:
        meaning: what happened.
        advice: what a user can do about frequent failures of this kind.
        tries: attempts before a training counts as failed.
        alone: the last attempt runs without other trainings on its GPU or machine.
    """

    meaning: str
    advice: str
    tries: int = 1
    alone: bool = False


#: Kinds by name, the part before the colon of a trial's ``error``.
KINDS: Mapping[str, Failure] = MappingProxyType(
    {
        "nan": Failure(
            "the first loss, or a metric of the task, is no finite number",
            "look at the labels, and at the task's loss and metrics",
        ),
        "diverged": Failure(
            "the loss or an output became nan or infinite while it learned, or the loss rose "
            "and the error is more than twice that of a constant prediction",
            "lower training.learning_rate, or set training.warmup",
        ),
        "oom-gpu": Failure(
            "the GPU had no memory left",
            "lower training.batch_size, or limit the cost with objective.max_macs",
            tries=2,
            alone=True,
        ),
        "oom-host": Failure(
            "the machine had no memory left",
            "use fewer execution.workers, or lower training.batch_size",
            tries=2,
            alone=True,
        ),
        "timeout": Failure(
            "it took many times as long as the others",
            "raise execution.time_limit.times or .least if it was only slow",
        ),
        "invalid-shape": Failure(
            "it cannot be built, or its layers do not fit each other or the tap",
            "narrow the genes of the space that its settings name",
        ),
        "worker-death": Failure(
            "the process that trained it died, or could not go on",
            "look at Ray's logs of the worker; ask the network's authors if it crashes torch",
            tries=2,
        ),
        "infeasible": Failure(
            "it is over a hard limit, or not in the table; it was not trained",
            "raise the limit (objective.max_macs, max_params, max_mb, max_ms), or narrow the space",
        ),
        "exception": Failure(
            "its own code raised an error",
            "mend what the message names",
        ),
    }
)
#: Attempts of a training whose nodes leave the cluster, which is no failure of the network.
LOSSES = 5
