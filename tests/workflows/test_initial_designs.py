"""Hand-made networks of the space that a search trains first."""

from __future__ import annotations

from pathlib import Path

import evonas
from evonas.core import experiment as config
from evonas.runs.run_store import read_journal
from evonas.space import Architecture, SearchSpace
from evonas.workflows.components import Components
from evonas.workflows.initial_designs import initial_designs

SPACE = SearchSpace.from_file("search_spaces/master_module.yaml")


def width_cost(architecture: Architecture) -> int:
    """Return a cost that the width and the tap decide."""
    settings = architecture.settings
    return int(settings["stem"]) * (2 if settings["tap"] == "block2" else 1)


def test_each_design_stands_on_each_tap_as_wide_as_the_limit_admits() -> None:
    trials = initial_designs(SPACE, width_cost, lambda a: width_cost(a) <= 33)
    found = [trial.architecture["settings"] for trial in trials]
    assert [(s["tap"], s["stem"], s["end"]) for s in found] == [
        ("block2", 16, "flatten"),
        ("block3", 32, "flatten"),
        ("block2", 16, "depthwise"),
        ("block3", 32, "depthwise"),
    ]
    assert [trial.macs for trial in trials] == [32, 32, 32, 32]
    for trial in trials:
        assert (trial.generation, trial.status, trial.fitness) == (-1, "design", None)
        assert SPACE.decode(trial.genome).to_dict() == trial.architecture
        assert trial.architecture["settings"]["hidden"] == 0  # first value of a gene


def test_there_are_eight_designs_at_most_each_tap_before_the_next_design() -> None:
    many = SPACE.narrowed({"tap": [f"block{number}" for number in range(1, 7)]})
    found = [t.architecture["settings"] for t in initial_designs(many, width_cost, lambda a: True)]
    assert [(s["tap"][-1], s["end"]) for s in found] == [
        *((str(number), "flatten") for number in range(1, 7)),
        *(("1", "depthwise"), ("2", "depthwise")),
    ]


def test_designs_outside_the_space_or_the_limit_are_left_out() -> None:
    assert initial_designs(SPACE, width_cost, lambda a: False) == ()
    narrow = SPACE.narrowed({"block1": ["ghost"]})
    assert initial_designs(narrow, width_cost, lambda a: True) == ()
    one_tap = SPACE.narrowed({"tap": "block3", "stem": 8})
    found = initial_designs(one_tap, width_cost, lambda a: True)
    assert [trial.architecture["settings"]["stem"] for trial in found] == [8, 8]


def test_a_family_without_designs_and_a_space_without_a_network_have_none() -> None:
    for name in ("evopose2d", "shufflenet_v2"):
        space = SearchSpace.from_file(f"search_spaces/{name}.yaml")
        assert initial_designs(space, lambda a: 1, lambda a: True) == ()
    table = SearchSpace(SPACE.genes, "table")
    assert initial_designs(table, lambda a: 1, lambda a: True) == ()


def test_the_shipped_experiment_begins_with_designs_on_every_tap() -> None:
    components = Components(config.load("quickstart"))
    trials = components.initial_designs()
    assert {t.architecture["settings"]["tap"] for t in trials} == {"block2", "block3", "block4"}
    assert Components(config.load("quickstart", ["initial_designs=false"])).initial_designs() == ()
    limit = components.experiment.objective.max_macs
    assert limit is not None
    # The widest stem has 29 % of the limit on the 4 x 4 map of block4, with stride 2.
    assert all(0.25 * limit < trial.macs <= limit for trial in trials)


def test_a_search_trains_the_designs_first_and_resumes_after_them(tmp_path: Path) -> None:
    small = config.load(
        "quickstart",
        [
            *("budget=8", "data.identities=12", "data.images_per_identity=4", "features.jitters=0"),
            *("training.epochs=1", "finals.networks=0", "baselines=[]", "optimizer=random"),
            *("execution.executor=local", "report=false", f"features.cache={tmp_path}/cache"),
        ],
    )
    evonas.search(small, run_dir=tmp_path / "run")
    whole = (tmp_path / "run" / "journal.jsonl").read_text().splitlines()
    trials = list(read_journal(tmp_path / "run"))
    designs = [trial for trial in trials if trial.status == "design"]
    trained = [trial for trial in trials if trial.trained]
    assert len(designs) == 6
    assert [t.digest for t in trained[:6]] == [t.digest for t in designs]
    assert len(trained) == 8
    for kept in (0, 1, 6, 8):  # broken off within the designs, and after them
        journal = tmp_path / "run" / "journal.jsonl"
        journal.write_text("".join(f"{line}\n" for line in whole[:kept]))
        evonas.search(None, run_dir=tmp_path / "run", resume=True)
        again = list(read_journal(tmp_path / "run"))
        assert [(t.status, t.digest, t.fitness) for t in again] == [
            (t.status, t.digest, t.fitness) for t in trials
        ]
