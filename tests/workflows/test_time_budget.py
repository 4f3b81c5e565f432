"""A budget in minutes, on a clock that only moves when a training ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from untrained_search import OPTIMIZERS, SPACE
from virtual_time import Clock, VirtualWorkers, eightfold, timed

from evonas.core.settings import FinalsSettings
from evonas.errors import InputError
from evonas.estimation.features.feature_cache import IN_FLIGHT
from evonas.runs.run_store import RunStore
from evonas.workflows.time_budget import FeatureTime, TimeBudget, check_time

RACE = FinalsSettings(networks=3, seeds=2)  # 5 trainings at most
#: Strategies whose asks are cheap, one with repeats among its genomes.
QUICK = ["random", "local"]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def decisions(folder: Path) -> list[dict[str, Any]]:
    return [line for line in lines(folder) if "clock" in line]


def trials(folder: Path) -> list[dict[str, Any]]:
    """The trials of the journal, in order and without times."""
    found = [
        {key: value for key, value in line.items() if key not in ("seconds", "at")}
        for line in lines(folder)
        if "clock" not in line
    ]
    return sorted(found, key=lambda row: (row["generation"], row["index"], row["repeat"]))


def cut(source: Path, target: Path, count: int) -> Path:
    """Return a run directory with the first lines of a journal."""
    target.mkdir()
    text = (source / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (target / "journal.jsonl").write_bytes(b"".join(text[:count]))
    return target


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("workers", [1, 3])
def test_all_stages_fit_the_minutes(tmp_path: Path, name: str, workers: int) -> None:
    clock = Clock()
    executor = VirtualWorkers(clock, workers)
    found, time = timed(tmp_path, 1.5, name, executor=executor, finals=RACE, baselines=2)
    assert time is not None
    last, baselines = 9.0, 2 * 8.0 / workers
    assert clock.now <= 90.0 - last
    trained = sum(trial.trained for trial in found)
    if time.limited:
        # less is left than what was kept and two trainings of the longest
        assert clock.now >= 90.0 - last - baselines - 2 * 8.0
    else:
        assert trained == SPACE.size
    assert sum(trial.status == "final" for trial in found) >= 3
    stages = [line["clock"] for line in decisions(tmp_path)]
    assert stages == [*(["search"] if time.limited else []), "finals", "baselines"]


def test_a_longer_time_trains_more_and_begins_the_same(tmp_path: Path) -> None:
    journals = []
    for minutes in (0.6, 1.0, 1.4):
        folder = tmp_path / str(minutes)
        timed(folder, minutes, executor=VirtualWorkers(Clock()))
        journals.append(trials(folder))
    assert len(journals[0]) < len(journals[1]) < len(journals[2])
    assert journals[2][: len(journals[1])] == journals[1]
    assert journals[1][: len(journals[0])] == journals[0]


@pytest.mark.parametrize("name", QUICK)
def test_killed_at_any_training_it_ends_as_if_nothing_had_been(tmp_path: Path, name: str) -> None:
    whole = VirtualWorkers(Clock(), 1)
    timed(tmp_path / "whole", 1.2, name, executor=whole, finals=RACE, baselines=2)
    for dies in range(1, len(whole.jobs)):
        folder, dying = tmp_path / str(dies), VirtualWorkers(Clock(), 1, dies=dies)
        with pytest.raises(KeyboardInterrupt):
            timed(folder, 1.2, name, executor=dying, finals=RACE, baselines=2)
        # the machine's clock stands elsewhere at each start
        resumed = VirtualWorkers(Clock(1e6 * dies), 1)
        timed(folder, 1.2, name, executor=resumed, finals=RACE, baselines=2, resume=True)
        assert lines(folder) == lines(tmp_path / "whole"), f"killed after {dies}"
        assert len(resumed.jobs) == len(whole.jobs) - dies


def sluggish(digest: str) -> float:
    return 5.0 * eightfold(digest)


def swift(digest: str) -> float:
    return eightfold(digest) / 50.0


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("seconds", [sluggish, swift])
def test_cut_after_any_line_what_the_clock_decided_is_replayed(
    tmp_path: Path, name: str, seconds: Callable[[str], float]
) -> None:
    """Also on a machine that would decide otherwise."""
    whole = tmp_path / "whole"
    timed(whole, 1.2, name, executor=VirtualWorkers(Clock(), 2), finals=RACE, baselines=2)
    expected, decided = trials(whole), decisions(whole)
    assert [one["clock"] for one in decided] == ["search", "finals", "baselines"]
    searched = [row for row in expected if row["status"] != "final"]
    places = [n for n, line in enumerate(lines(whole)) if "clock" in line]
    near = {place + step for place in places for step in (0, 1, 2)}
    for count in sorted({*range(0, places[0], 4), *near} & {*range(len(lines(whole)) + 1)}):
        folder = cut(whole, tmp_path / f"cut{count}", count)
        known = decisions(folder)
        timed(
            *(folder, 1.2, name),
            executor=VirtualWorkers(Clock(), 2, seconds),
            finals=RACE,
            baselines=2,
            resume=True,
        )
        assert decisions(folder)[: len(known)] == known
        found = [row for row in trials(folder) if row["status"] != "final"]
        if known:
            assert found == searched
        else:  # up to what the clock decides now, the search is the same
            shorter, longer = sorted([found, searched], key=len)
            assert all(row in longer for row in shorter)
        if len(known) > 1:
            assert trials(folder) == expected


def test_more_minutes_void_what_fewer_decided(tmp_path: Path) -> None:
    """And fewer minutes than those of the last decision change nothing any more."""
    whole, split = tmp_path / "whole", tmp_path / "split"
    timed(split, 0.6, executor=VirtualWorkers(Clock()), finals=RACE)
    few = sum(row["status"] != "final" for row in trials(split))
    timed(split, 1.4, executor=VirtualWorkers(Clock()), finals=RACE, resume=True)
    more = [row for row in trials(split) if row["status"] != "final"]
    assert len(more) > few
    timed(whole, 1.4, executor=VirtualWorkers(Clock()))
    assert more == trials(whole)[: len(more)]
    assert [one["minutes"] for one in decisions(split) if one["clock"] == "search"] == [0.6, 1.4]
    before = (split / "journal.jsonl").read_bytes()
    for minutes in (1.4, 0.8, 0.6, 0.2):
        executor = VirtualWorkers(Clock())
        timed(split, minutes, executor=executor, finals=RACE, resume=True)
        assert not executor.jobs
        assert (split / "journal.jsonl").read_bytes() == before


def test_a_run_without_minutes_any_more_is_limited_by_its_budget_alone(tmp_path: Path) -> None:
    timed(tmp_path / "split", 0.6, executor=VirtualWorkers(Clock()))
    timed(tmp_path / "split", None, executor=VirtualWorkers(Clock()), budget=20, resume=True)
    timed(tmp_path / "whole", None, executor=VirtualWorkers(Clock()), budget=20)
    assert trials(tmp_path / "split") == trials(tmp_path / "whole")


@pytest.mark.parametrize(("budget", "limited"), [(5, False), (40, True)])
def test_whichever_is_spent_first_ends_the_search(
    tmp_path: Path, budget: int, limited: bool
) -> None:
    executor = VirtualWorkers(Clock())
    found, time = timed(tmp_path, 1.0, executor=executor, budget=budget)
    assert time is not None
    assert time.limited == limited
    assert (len(found) == budget) is not limited
    assert bool(decisions(tmp_path)[:1] and decisions(tmp_path)[0]["clock"] == "search") == limited


def test_trainings_too_long_for_the_first_ask_end_it_after_one_a_worker(tmp_path: Path) -> None:
    """An ask of ten networks would take five times the minutes."""
    executor = VirtualWorkers(Clock(), 2, lambda digest: 60.0)
    found, _ = timed(tmp_path, 2.0, executor=executor, finals=RACE)
    assert len(found) == 2
    assert executor.clock.now == 60.0
    search, finals = decisions(tmp_path)[:2]
    assert (search["ask"], search["fits"], finals["fits"]) == (0, 2, 0)


def test_what_fits_is_said(tmp_path: Path) -> None:
    clock = Clock(52.0)  # the features took so long
    with RunStore(tmp_path / "run", clock=clock, begun=0.0) as store:
        time = TimeBudget(4.0, store, 1, FinalsSettings(), 5)
        assert time.statement() == ""
        assert time.left == 188.0
    timed(tmp_path / "other", 3.0, executor=VirtualWorkers(Clock(), 1, lambda digest: 4.0))
    with RunStore(tmp_path / "other", True, Clock()) as store:
        time = TimeBudget(5.0, store, 1, FinalsSettings(), 5)
        left = 300.0 - 20.0 - store.elapsed  # without what comes last
        more = int((left - 13 * 4.0 - 5 * 4.0) / 4.0)
        assert time.statement() == (
            f"A training takes about 4 s: about {store.trained + more} networks fit 5 min, then 13 "
            "of at most 13 trainings of the finals, then 5 of 5 baselines."
        )
        short = TimeBudget(store.elapsed / 60 + 0.6, store, 1, FinalsSettings(), 5)
        (line,) = short.plan_finals(FinalsSettings())
        assert line.startswith("Finals: ")
        assert " of at most 13 further trainings fit " in line


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with RunStore(tmp_path / "features", clock=Clock()) as opened:
        yield opened


def watched(store: RunStore, minutes: float, views: int, seconds: list[float]) -> None:
    """Report the progress of views of so many seconds each: of images that begin."""
    total, step = 20_000, 1000
    clock: Any = store._clock
    seen: list[tuple[str, int, int]] = []
    watch = FeatureTime(lambda *step: seen.append(step), minutes, store, views * total)
    for number, took in enumerate(seconds):
        for done in range(0, total, step):
            watch(f"view {number}", min(done + IN_FLIGHT, total), total)
            clock.now += took * step / total
        watch(f"view {number}", total, total)
    assert seen[-1] == (f"view {len(seconds) - 1}", total, total)


def test_features_that_fit_are_computed(store: RunStore) -> None:
    watched(store, 4.0, 4, [60.0, 55.0, 55.0, 55.0])


def test_a_first_view_that_decodes_the_images_says_little_of_the_others(store: RunStore) -> None:
    watched(store, 2.0, 4, [80.0, 10.0, 10.0, 10.0])


def test_minutes_too_short_for_the_features_are_refused_early(store: RunStore) -> None:
    with pytest.raises(InputError, match=r"minutes=2: .* about 4 minutes \(.* give at least 8;"):
        watched(store, 2.0, 4, [60.0, 60.0, 60.0, 60.0])
    assert store.elapsed < 90.0


def test_a_first_view_that_takes_longer_than_all_is_refused_at_once(store: RunStore) -> None:
    with pytest.raises(InputError, match=r"minutes=1: expected more than the features take"):
        watched(store, 1.0, 2, [600.0])
    assert store.elapsed < 600.0


def test_nothing_left_for_a_training_is_refused() -> None:
    check_time(2.0, 119.0)
    with pytest.raises(InputError, match=r"minutes=2: .* 2.5 minutes: give at least 5"):
        check_time(2.0, 150.0)


def test_a_search_with_minutes(evonas: Cli, tiny_file: Path) -> None:
    """The real command: minutes that suffice for its few networks."""
    words = ("--run-dir", "run", "--budget", 5, "--minutes", 60)
    code, out, err = evonas("search", tiny_file, *words)
    assert (code, err) == (0, "")
    assert "5 networks or as many as fit 60 min of space" in out
    assert "A training takes about" in out
    assert "of 60 min are spent, over all starts of this run." in out
    folder = tiny_file.parent / "run"
    assert [one["clock"] for one in decisions(folder)] == ["finals", "baselines"]
    before = {name: (folder / name).read_bytes() for name in ("journal.jsonl", "best.json")}
    code, out, err = evonas("search", "--resume", "--run-dir", "run")
    assert (code, err) == (0, "")
    assert {name: (folder / name).read_bytes() for name in before} == before
    report = evonas("report", folder)
    assert report[0] == 0


def test_minutes_that_are_over_at_once_leave_nothing(evonas: Cli, tiny_file: Path) -> None:
    code, _, err = evonas("search", tiny_file, "--run-dir", "run", "--minutes", 0.0001)
    assert code == 2
    assert "minutes=0.0001: expected more than" in err
    assert "give at least 1" in err
    assert not (tiny_file.parent / "run").exists()


def test_strategies_are_not_compared_by_minutes(evonas: Cli, tiny_file: Path) -> None:
    code, _, err = evonas("compare", tiny_file, "minutes=3")
    assert code == 2
    assert "compare: expected a budget of trainings" in err
