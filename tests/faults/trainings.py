"""The real commands that train for minutes, on small networks, in processes that may die.

Orders are those of ``toy_search.py``. Checkpoints are written after every epoch, since these
trainings are over in less than the seconds that real ones may lose.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faults.injection import Faults
from faults.toy_search import command, serve

from evonas.api import (  # noqa: F401  all imports come before forks
    finetuning,
    pruning,
    quantization,
    retraining,
)
from evonas.estimation.cost import latency
from evonas.estimation.training import checkpoint, training

#: In it each child writes a line whenever an epoch is trained.
EPOCHS = "epochs.txt"


def child(order: Mapping[str, Any]) -> int:
    """Give one command, whose results go to ``folder``; return the exit status."""
    folder = Path(order["folder"])
    faults, validate = Faults(folder, **order.get("fault", {})), training.validate
    begun: list[bool] = []

    def validated(*arguments: Any, **options: Any) -> Any:
        with (folder.parent / EPOCHS).open("a") as file:
            file.write("trained\n")
        if not begun:  # features may be cached by now, and take moments of the first run alone
            faults.moments.clear()
            begun.append(True)
        faults.passing("epoch")
        return validate(*arguments, **options)

    training.validate, checkpoint.SECONDS_AT_RISK, latency.ROUNDS = validated, 0.0, 1
    os.chdir(folder.parent)  # results that name their folder are then alike
    return command([*order["words"], "--out", folder.name], faults)


if __name__ == "__main__":
    serve(child)
