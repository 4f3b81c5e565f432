"""The throughput benchmark: what it computes from times, and the file it writes; no clock here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import throughput
import throughput_growth
import throughput_overhead
from throughput_durations import predictions, spread_out, without_features
from throughput_overhead import Contender, Run, overhead
from throughput_report import Section, Verdict, in_turns, merged, spread, without_places
from throughput_simulation import Pair, drawn, rank_correlation, simulate, simulate_window
from throughput_utilisation import Done

from evonas.core.experiment import load
from evonas.report.tables import Table
from evonas.runs.run_store import RunStore, Trial
from evonas.space import Architecture, SearchSpace
from evonas.workflows.components import Components


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What main sets for the processes that it starts, other tests must not inherit."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


LONGEST_FIRST = [3.0, 3.0, 2.0, 2.0, 2.0]


def test_simulation_of_windows_that_can_be_done_by_hand() -> None:
    durations = [3.0, 1.0, 1.0, 1.0, 2.0]
    assert simulate_window(durations, workers=1, window=3).wall == 8.0
    assert simulate_window(durations, workers=2, window=1).wall == 8.0  # one after another
    assert simulate_window(durations, workers=2, window=2).wall == 6.0  # 3 1 2 | 1 . . 1
    assert simulate_window(durations, workers=2, window=4).wall == 5.0  # 3 2 | 1 1 1
    assert simulate_window(durations, workers=9, window=9).wall == 3.0
    whole = simulate([durations], workers=3, latency=0.5, driver=0.25)
    assert simulate_window(durations, 3, 5, latency=0.5, driver=0.25) == whole


def test_simulation_of_schedules_that_can_be_done_by_hand() -> None:
    done = simulate([LONGEST_FIRST], workers=2)
    assert (done.wall, done.busy) == (7.0, 12.0)  # 3 2 2 | 3 2
    assert done.utilisation == 12 / 14
    assert simulate([LONGEST_FIRST[::-1]], workers=2).wall == 7.0  # 2 2 3 | 2 3
    assert simulate([[1.0, 1.0, 4.0]], workers=2).wall == 5.0
    assert simulate([[4.0, 1.0, 1.0]], workers=2).wall == 4.0
    assert simulate([LONGEST_FIRST], workers=1).wall == 12.0
    assert simulate([LONGEST_FIRST], workers=100).wall == 3.0


def test_a_generation_waits_for_the_one_before() -> None:
    assert simulate([[1.0, 5.0], [1.0, 5.0]], workers=2).wall == 10.0
    assert simulate([[1.0] * 8] * 3, workers=4).utilisation == 1.0
    assert simulate([], workers=4).utilisation == 1.0


def test_hand_over_takes_its_time() -> None:
    assert simulate([[1.0, 1.0]], 1, latency=0.5).wall == 3.0
    assert simulate([[1.0, 1.0]], 2, latency=0.5).wall == 1.5
    # One process takes the answers: four at the same time wait for one another.
    assert simulate([[1.0] * 4], 4, driver=0.25).wall == 2.0


def test_drawn_generations() -> None:
    pairs = [Pair(float(n), float(-n), float(n % 10)) for n in range(1, 101)]
    asked = drawn(pairs, 50, 20, None, seed=1)
    known = drawn(pairs, 50, 20, "seconds", seed=1)
    assert [len(generation) for generation in asked] == [20, 20, 20], "all are full"
    assert asked == drawn(pairs, 50, 20, None, seed=1)
    assert [sorted(g, reverse=True) for g in asked] == known
    assert asked != known
    assert [sorted(g) for g in asked] == drawn(pairs, 50, 20, "predicted", seed=1)
    for generation in drawn(pairs, 50, 20, "macs", seed=1):
        assert [s % 10 for s in generation] == sorted((s % 10 for s in generation), reverse=True)
    assert pairs[0].times(3.0) == Pair(3.0, -1.0, 1.0)
    assert rank_correlation([p.seconds for p in pairs], [p.predicted for p in pairs]) < -0.999


def test_durations_are_stretched_and_keep_their_order() -> None:
    stretched = spread_out({"a": 1.0, "b": 10.0, "c": 100.0})
    assert stretched == pytest.approx({"a": 0.06, "b": 0.06 * 30**0.5, "c": 1.8})


def test_predictions_are_of_networks_that_were_not_seen() -> None:
    """Durations that are exactly what predictions can express; one half is 100 times as slow."""
    components = Components(load("quickstart", []))
    setting = without_features(components)
    rng = np.random.default_rng(0)
    networks = [components.space.decode(rng.random(components.space.dim)) for _ in range(24)]
    seconds = {
        a.digest: (1 + 99 * (n % 2)) * (1e-6 * components.cost(a) + 0.1)
        for n, a in enumerate(networks)
    }
    found = predictions(setting, networks, seconds)
    for n, (network, guess) in enumerate(zip(networks, found, strict=True)):
        other = 1e3 * seconds[network.digest] * (100 if n % 2 == 0 else 0.01)
        assert guess == pytest.approx(other, rel=1e-3)


def trial(generation: int, index: int, begin: float, seconds: float) -> Trial:
    architecture = Architecture("n", {"index": index})
    return Trial(
        *(generation, index, (0.0,), architecture.digest, architecture.to_dict(), "ok"),
        *(1.0, 1, 1, seconds, {"begin": begin}),
    )


def test_a_real_search_is_simulated_in_the_order_in_which_it_was_handed_out() -> None:
    trials = (trial(0, 0, 5, 1.0), trial(0, 1, 3, 2.0), trial(0, 2, 6, 3.0), trial(1, 0, 9, 4.0))
    done = Done(10.0, 2, trials)
    assert done.generations() == [[2.0, 1.0, 3.0], [4.0]]
    assert done.utilisation == 0.5


def test_overhead_is_what_is_not_training() -> None:
    rows = [(10.0, 11.0, 1.0, 0.5), (11.5, 13.5, 1.0, 0.4)]
    assert overhead(rows, start=10.0, returned=14.0, workers=1) == 0.5  # (4 - 3) / 2
    two = [(10.0, 12.0, 1.0, 0.5), (11.0, 13.0, 2.0, 0.4), (12.0, 14.0, 1.0, 0.3)]
    run = Run(called=4.0, returned=14.5, rows=two, workers=2)
    assert (run.start, run.startup) == (11.0, 7.0)  # when the second worker was there
    assert run.overhead == (3.5 - (1 + 2 + 2) / 2) / 3
    assert run.errors == [0.3, 0.4, 0.5]
    early = [(1.0, 2.0, 1.0, 0.1), *two]  # over before the clock starts: counts nowhere
    assert overhead(early, start=11.0, returned=14.5, workers=2) == run.overhead


def test_a_contender_is_called_with_fsync_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Problem:
        class components:
            class task:
                metric = "error"

    def search(problem: object, jobs: list[int], genomes: object, folder: Path) -> list[object]:
        with RunStore(folder) as store:
            for index in range(3):
                store.append(trial(0, index, 1, 1.0))
        return [(float(job), float(job) + 1, 1.0, 0.5) for job in jobs]

    contender = Contender("some", 1, search, "journal", most=2)
    run = throughput_overhead._run(contender, Problem, [1, 2, 3], [], tmp_path)  # type: ignore
    assert (run.syncs, len(run.rows)) == (3, 2)


def test_a_synthetic_journal_is_a_valid_one(tmp_path: Path) -> None:
    spec = {"name": "a", "kind": "integer", "low": 0, "high": 9}
    space = SearchSpace.from_dict({"name": "s", "network": "n", "genes": [spec]})
    throughput_growth.write_journal(space, tmp_path / "run", 25, seed=0)
    with RunStore(tmp_path / "run", resume=True) as store:
        trials = store.trials()
    assert [(t.generation, t.index) for t in trials] == [(n // 10, n % 10) for n in range(25)]
    assert all(t.digest == space.decode(t.genome).digest for t in trials)
    opened, memory, append, listed = throughput_growth.open_journal(tmp_path / "run")
    assert min(opened, memory, append, listed) >= 0
    with RunStore(tmp_path / "run", resume=True) as store:
        assert len(store.trials()) == 30


def section(title: str, value: str = "1") -> str:
    table = Table("t", ["what", "figure"], [["x", value]])
    return Section(title, ["Text."], [table], [Verdict("<= 2", value, True)]).markdown("c", "stamp")


def test_a_part_alone_keeps_the_sections_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    throughput.write(path, "e", section("Growth").replace("## c.", "## e."))
    throughput.write(path, "c", section("Overhead"))
    before = path.read_text()
    assert before.index("## c. Overhead") < before.index("## e. Growth")
    throughput.write(path, "c", section("Overhead", "7"))
    after = path.read_text()
    assert after == before.replace("| x | 1 |", "| x | 7 |", 1).replace("<= 2: 1", "<= 2: 7", 1)
    assert merged(after, throughput.TITLE, {}) == after


def test_verdicts_and_spreads() -> None:
    assert str(Verdict("<= 5 ms", "7 ms", False)) == "- <= 5 ms: 7 ms (**missed**)"
    assert spread([3.0, 1.0, 2.0]) == "2.0 (1.0..3.0)"
    assert spread([0.0015], 2, 1e3) == "1.50"
    order: list[str] = []
    found = in_turns({n: (lambda n=n: order.append(n) or len(order)) for n in "ab"}, 2)
    assert (order, found) == (["a", "b", "a", "b"], {"a": [1, 3], "b": [2, 4]})


def test_places_of_a_machine_are_not_told() -> None:
    words = ["data.root=/mnt/faces", "--out", "~/x.md", "--journal", "../runs/one", "seed=3"]
    expected = "data.root=PATH --out PATH --journal PATH seed=3"
    assert without_places(words) == expected
    assert without_places(["experiments/own.yaml"]) == "experiments/own.yaml"


def test_a_part_that_cannot_run_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(throughput.PARTS, "a", "throughput_nowhere")
    monkeypatch.setattr(throughput_growth, "NEEDS", ("no_such_library",), raising=False)
    monkeypatch.setattr(sys, "argv", ["t", "--parts", "a", "e", "--out", str(tmp_path / "R.md")])
    throughput.main()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "part a is left out: throughput_nowhere.py is not here"
    assert said[1].startswith("part e is left out: no_such_library not installed")
    assert not (tmp_path / "R.md").exists()


def test_main_writes_what_a_part_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        throughput_growth, "measure", lambda options: seen.append(options) or Section("Growth", [])
    )
    words = ["seed=9", "--parts", "e", "--quick", "--out", str(tmp_path / "R.md")]
    monkeypatch.setattr(sys, "argv", ["t", *words])
    throughput.main()
    (options,) = seen
    assert (options.part, options.quick, options.experiment.seed) == ("e", True, 9)
    text = (tmp_path / "R.md").read_text()
    assert "throughput.py seed=9 --parts e --quick --out PATH`, seed 9. **Quick" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--experiment", "quickstrat"], "did you mean 'quickstart'"),
        (["sed=1"], "unknown key 'sed'"),
        (["--repeats", "0"], "at least 1"),
        (["--parts", "z"], "invalid choice"),
    ],
)
def test_errors_are_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["t", *words, "--out", str(tmp_path / "R.md")])
    with pytest.raises(SystemExit) as stopped:
        throughput.main()
    text = capsys.readouterr().err if stopped.value.code == 2 else str(stopped.value)
    assert said in text.splitlines()[-1]
    assert stopped.value.code == 2 or "\n" not in text


def test_a_file_of_something_else_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "README.md"
    path.write_text("# Mine\n")
    monkeypatch.setattr(throughput_growth, "measure", lambda options: Section("Growth", []))
    monkeypatch.setattr(sys, "argv", ["t", "--parts", "e", "--out", str(path)])
    with pytest.raises(SystemExit, match="is no file of this benchmark"):
        throughput.main()
    assert path.read_text() == "# Mine\n"
