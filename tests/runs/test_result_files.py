"""best.json and front.json: what is written is read again; what does not fit is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from evonas.core.settings import ObjectiveSettings
from evonas.errors import InputError
from evonas.estimation.objective import Objective
from evonas.runs import result_files as results
from evonas.runs.finals import rank_finalists, statistically_tied
from evonas.runs.run_store import Trial
from evonas.space import Architecture

OBJECTIVE = Objective("mae", ObjectiveSettings())
COMMON = {"experiment": {"name": "x"}, "space": {}, "data": "d", "seed": 3, "evonas": "0"}
#: error, multiply-adds: the first four are a front with a knee, the others are dominated.
FIGURES = [
    (5.0, 4_000_000),
    (6.0, 1_200_000),
    (7.5, 1_000_000),
    (20.0, 500),
    (21.0, 500),
    (8.0, 9_000_000),
]


def trial(number: int, error: float | None, macs: int, **changes: Any) -> Trial:
    architecture = Architecture("none", {"width": number})
    made = Trial(
        0,
        number,
        (0.25, 1 / 3),
        architecture.digest,
        architecture.to_dict(),
        "failed" if error is None else "ok",
        error,
        macs,
        params=macs // 2,
        seconds=1.5,
        metrics={} if error is None else {"mae": error, "epoch": 1.0},
    )
    return replace(made, **changes)


TRIALS = [trial(i, *figures) for i, figures in enumerate(FIGURES)]


def finals(one: Trial, *errors: float) -> list[Trial]:
    return [
        replace(one, status="final", repeat=i, fitness=e, metrics={"mae": e, "epoch": 2.0})
        for i, e in enumerate(errors, start=1)
    ]


@pytest.fixture
def front_json(tmp_path: Path) -> Path:
    path = tmp_path / "front.json"
    content = results.front_file(results.front(TRIALS, OBJECTIVE), OBJECTIVE, COMMON)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def best_json(tmp_path: Path) -> Path:
    path = tmp_path / "best.json"
    trials = [*TRIALS, *finals(TRIALS[0], 9.0, 11.0), *finals(TRIALS[1], 5.5, 7.5)]
    finalists = rank_finalists(trials)
    content = results.best(finalists, statistically_tied(finalists, trials, "mae"), COMMON)
    path.write_text(json.dumps(content))
    return path


def digest(number: int) -> str:
    return TRIALS[number].digest


def test_best_json_names_the_winner_by_its_further_seeds(best_json: Path) -> None:
    best = results.read(best_json)
    assert best["digest"] == digest(1)
    assert best["architecture"] == TRIALS[1].architecture
    assert (best["fitness"], best["metrics"]) == (6.5, {"mae": 6.5, "epoch": 2.0})
    assert best["spread"] == {"fitness": pytest.approx(2**0.5), "mae": best["spread"]["fitness"],
                              "epoch": 0.0}  # fmt: skip
    assert best["seeds"] == 2
    assert best["searched"] == {"fitness": 6.0, "metrics": {"mae": 6.0, "epoch": 1.0}}
    assert (best["macs"], best["flops"], best["params"]) == (1_200_000, 2_400_000, 600_000)
    assert best["genome"] == [0.25, 1 / 3]
    assert "latency_ms" not in best
    assert {key: best[key] for key in COMMON} == COMMON


def test_best_json_lists_finalists_and_what_is_as_good(best_json: Path) -> None:
    best = results.read(best_json)
    assert [(one["digest"], one["fitness"], one["further_seeds"]) for one in best["finalists"]] == [
        (digest(1), 6.5, 2),
        (digest(0), 10.0, 2),
    ]
    # pooled sd sqrt(2), one training against two: within 2 * sqrt(2) * sqrt(1.5) = 3.46
    cheaper = best["as_good_and_cheaper"]
    assert [(one["digest"], one["further_seeds"]) for one in cheaper] == [(digest(2), 0)]
    assert cheaper[0]["metrics"] == {"mae": 7.5, "epoch": 1.0}
    assert cheaper[0]["architecture"] == TRIALS[2].architecture


def test_best_json_without_finals_holds_the_searchs_own_result(tmp_path: Path) -> None:
    content = results.best(rank_finalists(TRIALS), [], COMMON)
    (tmp_path / "b.json").write_text(json.dumps(content))
    best = results.read(tmp_path / "b.json")
    assert (best["digest"], best["fitness"], best["seeds"]) == (digest(0), 5.0, 1)
    assert (best["spread"], best["as_good_and_cheaper"]) == ({}, [])
    assert best["finalists"][0]["further_seeds"] == 0


def test_the_front_is_sorted_by_cost_and_holds_an_architecture_once() -> None:
    repeat = replace(TRIALS[1], index=9, status="repeat")
    failed = trial(8, None, 1)
    again = finals(TRIALS[3], 0.1)
    found = results.front([*TRIALS, repeat, failed, *again, TRIALS[2]], OBJECTIVE)
    assert [one.digest for one in found] == [digest(i) for i in (3, 2, 1, 0)]
    assert results.front([failed], OBJECTIVE) == []


def test_the_front_is_of_the_axes_that_were_asked_for() -> None:
    slow = replace(TRIALS[1], latency=9.0)
    quick = replace(TRIALS[2], latency=1.0)
    objective = Objective("mae", ObjectiveSettings(axes=("error", "latency")))
    assert results.front([slow, quick], objective) == [quick, slow]
    slow = replace(slow, metrics={"mae": 7.5})
    assert results.front([slow, quick], objective) == [quick]
    content = results.front_file([quick], objective, COMMON)
    assert content["axes"] == ["error", "latency"]
    assert content["front"][0]["axes"] == {"error": 7.5, "latency": 1.0}
    assert content["front"][0]["latency_ms"] == 1.0


@pytest.mark.parametrize(
    ("pick", "chosen"),
    [
        ("knee", 1),
        ("cheapest:7.5", 2),
        ("cheapest:7.49", 1),
        ("cheapest:99", 3),
        ("cheapest:5", 0),
        ("best:1.2M", 1),
        ("best:1.19M", 2),
        ("best:1199999", 2),
        ("best:1000k", 2),
        ("best:1e6", 2),
        ("best:1G", 0),
        ("best:500", 3),
    ],
)
def test_one_network_of_a_front_is_picked(front_json: Path, pick: str, chosen: int) -> None:
    found = results.read(front_json, pick)
    assert found["digest"] == digest(chosen)
    assert found["architecture"] == TRIALS[chosen].architecture
    assert found["metrics"] == TRIALS[chosen].metrics
    assert found["axes"] == {"error": FIGURES[chosen][0], "macs": FIGURES[chosen][1]}
    assert {key: found[key] for key in COMMON} == COMMON


PICKS = "knee, cheapest:ERROR or best:MACS, or the first digits of a digest"


@pytest.mark.parametrize(
    ("pick", "expected"),
    [
        ("", f"{{path}}: a front holds several networks: choose with --pick {PICKS}"),
        ("bestest", f"--pick bestest: expected {PICKS}"),
        ("best", f"--pick best: expected {PICKS}"),
        ("best:", f"--pick best:: expected {PICKS}"),
        ("cheapest", f"--pick cheapest: expected {PICKS}"),
        ("knee:3", f"--pick knee:3: expected {PICKS}"),
        (
            "cheapest:few",
            "--pick cheapest:few: expected a number after the colon, such as 7.5 or 1.2M",
        ),
        ("best:M", "--pick best:M: expected a number after the colon, such as 7.5 or 1.2M"),
        ("cheapest:1", "--pick cheapest:1: no network of {path} has this error: the lowest is 5"),
        (
            "best:499",
            "--pick best:499: no network of {path} has this number of multiply-adds: "
            "the lowest is 500",
        ),
    ],
)
def test_a_pick_that_means_nothing_is_refused(front_json: Path, pick: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        results.read(front_json, pick)
    assert str(caught.value) == expected.format(path=front_json)


@pytest.mark.parametrize("pick", ["cheapest:nan", "best:nan"])
def test_a_limit_that_is_no_number_is_refused(front_json: Path, pick: str) -> None:
    with pytest.raises(InputError, match=f"--pick {pick}: "):
        results.read(front_json, pick)


def test_a_best_json_has_nothing_to_pick(best_json: Path) -> None:
    with pytest.raises(InputError) as caught:
        results.read(best_json, "knee")
    assert str(caught.value) == (
        f"{best_json}: --pick knee chooses from a front.json, and this holds one network"
    )


def first(front: dict[str, Any]) -> dict[str, Any]:
    network: dict[str, Any] = front["front"][0]
    return network


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.update(front=[]), "the front is empty: no network was trained successfully"),
        (lambda f: f.update(front=None), "is no front of evonas"),
        (lambda f: f.update(front={"a": 1}), "is no front of evonas"),
        (lambda f: f.update(front=[3]), "is no front of evonas"),
        (lambda f: f.pop("axes"), "is no front of evonas"),
        (lambda f: f.update(axes=["error", "weight"]), "is no front of evonas"),
        (lambda f: first(f).pop("axes"), "is no front of evonas"),
        (lambda f: first(f).update(axes=[1, 2]), "is no front of evonas"),
        (lambda f: first(f)["axes"].update(error="low"), "is no front of evonas"),
        (lambda f: first(f)["axes"].update(error=None), "is no front of evonas"),
        (lambda f: first(f)["axes"].pop("macs"), "is no front of evonas"),
        (lambda f: first(f).pop("macs"), "is no front of evonas"),
        (lambda f: first(f).update(macs="many"), "is no front of evonas"),
        (lambda f: first(f).update(macs=float("inf")), "is no front of evonas"),
        (lambda f: f.update(format=2), "of format 1, got 2"),
        (lambda f: f.pop("format"), "of format 1, got None"),
        (lambda f: f.pop("experiment"), "the key 'experiment' is missing"),
        (lambda f: f.pop("seed"), "the key 'seed' is missing"),
        (lambda f: first(f).pop("architecture"), "the key 'architecture' is missing"),
        (lambda f: first(f).pop("digest"), "the key 'digest' is missing"),
        (
            lambda f: first(f)["architecture"]["settings"].update(width=4),
            "the digest does not fit the architecture: the file was changed",
        ),
    ],
)
def test_a_changed_front_is_refused_by_name(
    front_json: Path, change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    content = json.loads(front_json.read_text())
    change(content)
    front_json.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        results.read(front_json, "cheapest:99")
    assert str(caught.value).startswith(f"{front_json}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda b: b.update(format=99), "expected a best.json or front.json of format 1, got 99"),
        (lambda b: b.pop("architecture"), "the key 'architecture' is missing: restore the file"),
        (lambda b: b.pop("experiment"), "the key 'experiment' is missing: restore the file"),
        (lambda b: b.update(digest="0" * 16), "the digest does not fit the architecture"),
        (lambda b: b["architecture"].update(network="other"), "the digest does not fit"),
    ],
)
def test_a_changed_best_json_is_refused(
    best_json: Path, change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    content = json.loads(best_json.read_text())
    change(content)
    best_json.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        results.read(best_json)
    assert str(caught.value).startswith(f"{best_json}: {expected}")


@pytest.mark.parametrize("content", [None, "", "{", "[]"])
def test_what_is_no_json_object_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "front.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="JSON") as caught:
        results.read(path, "knee")
    assert str(caught.value).startswith(f"{path}: ")
