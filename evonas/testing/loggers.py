"""What every logger must do: write down, go on where it ended, and never end a search."""

from __future__ import annotations

import json
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from evonas.core import registry
from evonas.errors import InputError
from evonas.runs.logger_group import Loggers
from evonas.runs.run_store import Trial
from evonas.testing.conformance import Conformance

#: Of a metric: (step, value) in the order of the steps.
Curves = dict[str, list[tuple[int, float]]]
EXPERIMENT: dict[str, Any] = {
    "name": "toy",
    "seed": 3,
    "objective": {"cost": "macs"},
    "logger": [],
    "table": None,
}


def trial(generation: int, index: int, fitness: float | None = None, **changes: Any) -> Trial:
    """Return a trial of a search; without fitness a failed one."""
    made = Trial(
        generation,
        index,
        (0.5,),
        f"{generation}{index}",
        {"network": "toy", "settings": {"width": 8, "block": "a|b"}},
        "failed" if fitness is None else "ok",
        fitness,
        macs=100 * generation + index,
        params=7,
        seconds=1.5,
        metrics={} if fitness is None else {"mae": fitness / 2},
        error="diverged: nan" if fitness is None else "",
    )
    return replace(made, **changes)


#: In the order of the journal; the steps of the trained ones are 1 to 5.
TRIALS = (
    trial(-1, 0, 0.5, status="earlier"),
    trial(0, 0, 8.0, latency=0.25),
    trial(0, 1),
    trial(0, 2, status="infeasible", error=""),
    trial(0, 3, 6.0),
    trial(1, 0, 8.0, status="repeat"),
    trial(1, 1, 7.0, status="stopped"),
    trial(1, 2, 4.0),
    trial(0, 3, 5.0, status="final", repeat=1),
)
EXPECTED: Curves = {
    "fitness": [(1, 8.0), (3, 6.0), (5, 4.0)],
    "best_fitness": [(1, 8.0), (2, 8.0), (3, 6.0), (4, 6.0), (5, 4.0)],
    "error": [(1, 4.0), (3, 3.0), (5, 2.0)],
    "macs": [(1, 0.0), (2, 1.0), (3, 3.0), (4, 101.0), (5, 102.0)],
    "params": [(1, 7.0), (3, 7.0), (5, 7.0)],
    "seconds": [(n, 1.5) for n in range(1, 6)],
    "latency_ms": [(1, 0.25)],
}


def write(
    name: str,
    folder: Path,
    trials: Iterable[Trial] = TRIALS,
    finish: bool = True,
    said: list[str] | None = None,
) -> None:
    """Write a search down as a search does; warnings go to ``said``, or fail the test."""
    warn = said.append if said is not None else pytest.fail
    folder.mkdir(exist_ok=True)
    logs = Loggers([(name, {})], EXPERIMENT, folder, "mae", warn)
    for one in trials:
        logs.on_trial(one)
    if finish:
        best = {"digest": "12", "fitness": 4.0, "macs": 102, "params": 7, "seeds": 1}
        best |= {"metrics": {"mae": 2.0}, "architecture": TRIALS[0].architecture}
        (folder / "best.json").write_text(json.dumps(best))
        logs.on_end(None)
    else:
        logs.on_stop(KeyboardInterrupt(), "")


class LoggerConformance(Conformance, ABC):
    """What every logger must do: write down, go on where it ended, and never end a search.

    Attributes:
        blockers: name -> path below the run directory; a file there keeps the log from being
            opened. The path is the logger's name if left out.
    """

    blockers: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def read(self, name: str, run: Path) -> Curves:
        """Read a log back.

        Args:
            name: of the logger.
            run: the run directory.

        Returns:
            Name of a metric -> (step, value), in the order of the steps.
        """

    @pytest.fixture(autouse=True)
    def no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refuse every connection."""
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

        def refused(*given: object) -> None:
            raise AssertionError("a logger reached for the network")

        monkeypatch.setattr(socket.socket, "connect", refused)
        monkeypatch.setattr(socket, "getaddrinfo", refused)

    def test_each_training_is_a_step(self, name: str, tmp_path: Path) -> None:
        """Steps count distinct trainings in the order of the journal."""
        write(name, tmp_path / "run")
        assert self.read(name, tmp_path / "run") == EXPECTED

    def test_the_order_in_which_trainings_end_does_not_matter(
        self, name: str, tmp_path: Path
    ) -> None:
        """Several workers give the log of one."""
        write(name, tmp_path / "run", [TRIALS[n] for n in (0, 4, 3, 2, 1, 7, 6, 5)])
        assert self.read(name, tmp_path / "run") == EXPECTED

    @pytest.mark.parametrize("done", range(1, 9))
    def test_a_resumed_search_goes_on_in_its_log(
        self, name: str, done: int, tmp_path: Path
    ) -> None:
        """Whatever was known when it was stopped, also in the middle of a generation."""
        known = sorted(TRIALS[:done], key=lambda one: (one.generation, -one.index))
        write(name, tmp_path / "run", known, finish=False)
        write(name, tmp_path / "run")
        assert self.read(name, tmp_path / "run") == EXPECTED
        write(name, tmp_path / "run")
        assert self.read(name, tmp_path / "run") == EXPECTED

    def test_what_fails_on_the_way_is_off_after_one_line_and_catches_up_later(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk ends no search."""
        said: list[str] = []
        kind = registry.load("logger", name)
        with monkeypatch.context() as patch:
            whole = kind.trial

            def full(self: Any, step: int, *given: Any) -> None:
                if step == 3:
                    raise OSError(28, "No space left\non device")
                assert step < 3, "it was off"
                whole(self, step, *given)

            patch.setattr(kind, "trial", full)
            write(name, tmp_path / "run", said=said)
        (line,) = said
        assert line.startswith(f"logger {name} is off from here on (OSError: [Errno 28] No space")
        assert "\n" not in line
        assert self.read(name, tmp_path / "run")["seconds"] == EXPECTED["seconds"][:2]
        write(name, tmp_path / "run")
        assert self.read(name, tmp_path / "run") == EXPECTED

    def test_a_log_that_cannot_be_opened_is_said_before_the_search(
        self, name: str, tmp_path: Path
    ) -> None:
        """One line that names the logger."""
        blocker = tmp_path / "run" / self.blockers.get(name, name)
        blocker.parent.mkdir(parents=True)
        blocker.write_text("in the way")
        with pytest.raises(
            InputError, match=rf"^logger={name}: its log cannot be opened \("
        ) as caught:
            write(name, tmp_path / "run")
        assert "\n" not in str(caught.value)

    def test_a_package_that_is_missing_is_named_with_what_to_install(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``needs`` says what to install."""
        package, extra = registry.load("logger", name).needs
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            InputError, match=rf"^logger={name}: .* pip install '{extra[:6]}"
        ) as caught:
            registry.create("logger", name, {}, tmp_path)
        assert f"'{extra}'" in str(caught.value)
        assert "\n" not in str(caught.value)
