"""Verbs that train and judge networks: search, retrain, finetune, evaluate, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from evonas.cli.options import (
    Address,
    AsJson,
    ExperimentName,
    Overrides,
    RetrainedFolder,
    RunDir,
    SearchOptions,
    changes,
    grouped,
    print_json,
)
from evonas.errors import InputError

if TYPE_CHECKING:
    from evonas.workflows.judging import Include

verbs = typer.Typer()


@verbs.command(
    epilog="Example: evonas search experiments/quickstart.yaml --optimizer ga --budget 40 seed=1"
)
@grouped
def search(
    experiment: Annotated[
        str, typer.Argument(help="Experiment: a YAML file or the name of a shipped one.")
    ] = "quickstart",
    *,
    options: SearchOptions,
    begin_with: Annotated[
        Path | None,
        typer.Option("--from", help="Run whose results this one begins with, whatever searched."),
    ] = None,
    run_dir: RunDir = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run-dir.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the path of best.json alone, as JSON.")
    ] = False,
) -> None:
    """Search the head network with the lowest error at the smallest cost."""
    from evonas.api import search as api
    from evonas.api.resuming import check_start, stored
    from evonas.cli.printing import SearchPrinter
    from evonas.core import experiment as config

    words = options.changes()
    given = experiment != "quickstart"
    if "=" in experiment:  # no experiment was named: the first word is an override already
        words, experiment, given = [experiment, *words], "quickstart", False
    check_start(run_dir, resume, begin_with)
    if resume and run_dir is not None and not given:
        chosen = stored(run_dir, words)
    else:
        chosen = config.load(experiment, words)
    with SearchPrinter(Console(stderr=as_json)) as view:
        result = api.search(
            chosen, run_dir=run_dir, callbacks=[view], resume=resume, warm_start=begin_with
        )
    if as_json:
        print_json({"best": str(result.best_file)})


@verbs.command(epilog="Example: evonas retrain runs/quickstart-surrogate-s0/best.json --repeats 3")
def retrain(
    best: Annotated[
        Path,
        typer.Argument(
            help="Folder, best.json or front.json of a search; or an experiment: its baselines "
            "alone."
        ),
    ],
    overrides: Overrides = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="Learning rate: cosine, exponential (x 0.8 an epoch), step, constant."),
    ] = None,
    folds: Annotated[int, typer.Option(help="Cross-validate instead; number of folds.")] = 0,
    fold_by: Annotated[
        str,
        typer.Option(
            help="Folds of a cross-validation: group (default; whole persons), image (at random, "
            "persons are shared) or each-group (leave one out)."
        ),
    ] = "",
    repeats: Annotated[int, typer.Option(help="Seeds of each network.", min=1)] = 1,
    pick: Annotated[
        str,
        typer.Option(
            help="Which network of the front: knee, cheapest:ERROR or best:MACS; or any that was "
            "trained: the first digits of its digest."
        ),
    ] = "",
    ranking: Annotated[
        int,
        typer.Option(
            help="Retrain so many networks, spread over the search's ranking: do short "
            "trainings rank as long ones?",
            min=0,
        ),
    ] = 0,
    refit: Annotated[
        bool,
        typer.Option(
            help="Train the winner also on training and validation images together, where a test "
            "split judges: that network is exported."
        ),
    ] = True,
    address: Address = None,
    out: Annotated[Path | None, typer.Option(help="Folder for weights and tables.")] = None,
) -> None:
    """Train the winner longer, beside hand-made baselines; keep its weights."""
    from evonas.api import retraining as api
    from evonas.api.live_view import LiveView
    from evonas.cli.printing import show_all

    words = changes(
        overrides,
        ("--epochs", "retraining.epochs", epochs),
        ("--schedule", "retraining.schedule", schedule),
        address=address,
    )
    console = Console()
    with LiveView(console) as view:
        model = api.retrain(
            best,
            repeats=repeats,
            folds=folds,
            fold_by=fold_by,
            pick=pick,
            ranking=ranking,
            refit=refit,
            out=out,
            callbacks=[view],
            overrides=words,
        )
    lines = [*model.notes, f"written: {model.folder}", *filter(None, [model.verdict])]
    show_all(console, model.tables, lines)


@verbs.command(
    epilog="Example: evonas finetune runs/quickstart/retrained --from block2 --epochs 10"
)
def finetune(
    folder: RetrainedFolder,
    overrides: Overrides = None,
    frozen_up_to: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Tap up to which the backbone stays frozen; image: all layers are trained. By "
            "default the tap right below that of the head.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    rate: Annotated[float | None, typer.Option("--lr", help="Learning rate of the head.")] = None,
    rate_decay: Annotated[
        float | None,
        typer.Option(help="Factor of the rate for each interval between taps, downwards."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Trainings; by default as many as the head had.", min=1)
    ] = None,
    network: Annotated[
        str, typer.Option(help="Which of its networks; the winner if left out.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the result; FOLDER/finetuned-TAP.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print finetune.json.")] = False,
) -> None:
    """Train a retrained head further, with the backbone's layers below it, and say their price."""
    from evonas.api import finetuning as api
    from evonas.api.live_view import LiveView
    from evonas.cli.printing import show_all, show_file

    words = changes(
        overrides,
        ("--from", "finetune.frozen_up_to", frozen_up_to),
        ("--epochs", "finetune.training.epochs", epochs),
        ("--lr", "finetune.training.learning_rate", rate),
        ("--rate-decay", "finetune.rate_decay", rate_decay),
    )
    console = Console(stderr=as_json)
    with LiveView(console) as view:
        tuned = api.finetune(
            folder, network=network, seeds=seeds, out=out, callbacks=[view], overrides=words
        )
    if as_json:
        show_file(tuned.folder / "finetune.json")
        return
    lines = [*tuned.notes, f"written: {tuned.folder}", tuned.verdict]
    show_all(console, tuned.tables, lines)


@verbs.command("test", hidden=True)
@verbs.command(
    epilog="Example: evonas evaluate runs/quickstart/retrained aflw2000 root=DIR biwi root=DIR2"
)
def evaluate(
    folder: RetrainedFolder,
    sets: Annotated[
        list[str] | None,
        typer.Argument(help="Test sets, each with its options: NAME root=DIR NAME2 root=DIR2."),
    ] = None,
    beside: Annotated[
        bool, typer.Option("--published", help="Print published results, with their protocols.")
    ] = False,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average with the mirrored images: twice the work.")
    ] = False,
    validation: Annotated[
        bool,
        typer.Option("--include-validation", help="Also judge images that validated: it flatters."),
    ] = False,
    trained: Annotated[
        bool,
        typer.Option("--include-trained", help="Also judge images that were trained on."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Test retrained networks on images that neither training nor validation used."""
    from evonas.api import evaluation as api
    from evonas.api.live_view import LiveView
    from evonas.cli.printing import show_all, show_file

    include: Include = "trained" if trained else "validation" if validation else "unused"
    data, words = _test_sets(sets or [])
    console = Console(stderr=as_json)
    with LiveView(console) as view:
        found = api.evaluate(
            folder,
            data,
            flip=flip,
            include=include,
            published=beside,
            callbacks=[view],
            overrides=words,
        )
    if as_json:
        show_file(found.folder / "test.json")
        return
    files = f"{found.folder / 'test.md'}, {found.folder / 'test.json'}"
    show_all(console, found.tables, [f"written: {files}"])


def _test_sets(words: list[str]) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Return names of data sets with their options, and changes to the experiment.

    Raises:
        InputError: an option comes before the first name, or is no ``key=value``.
    """
    from evonas.core import experiment as config

    sets: list[tuple[str, list[str]]] = []
    overrides = []
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals:
            sets.append((word, []))
        elif key.split(".")[0] in config.Experiment.model_fields and "." in key:
            overrides.append(word)
        elif sets:
            sets[-1][1].append(word)
        else:
            raise InputError(f"{word!r}: expected the name of a test set first, such as aflw2000")
    return [(name, config.options(options)) for name, options in sets], overrides


@verbs.command(
    epilog="Example: evonas compare quickstart --optimizers cma,ga,random --seeds 3 budget=40"
)
def compare(
    experiment: ExperimentName,
    overrides: Overrides = None,
    optimizers: Annotated[
        str, typer.Option(help="Strategies, separated by commas; all of them if left out.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Searches of each strategy.", min=1)] = 3,
    budget: Annotated[int | None, typer.Option(help="Distinct networks a search trains.")] = None,
    address: Address = None,
    out: Annotated[Path | None, typer.Option(help="Folder of runs, table and picture.")] = None,
) -> None:
    """Compare search strategies on an experiment, or on a table, at an equal budget."""
    from evonas.api import comparison as api
    from evonas.cli.printing import SearchPrinter, show_all

    names = [name.strip() for name in optimizers.split(",") if name.strip()]
    words = changes(overrides, ("--budget", "budget", budget), address=address)
    console = Console()
    with SearchPrinter(console) as view:
        found = api.compare(
            experiment,
            optimizers=names,
            seeds=seeds,
            out=out,
            callbacks=[view],
            overrides=words,
        )
    files = f"{found.folder}/comparison.md, comparison.png, report.html"
    show_all(console, found.tables, [f"written: {files}"])
