"""Draw the README's pictures again, from the embedded default alone: no photo of a person.

python experiments/figures.py docs
python experiments/figures.py docs budget=20 --only live_view.svg

One search and one retraining of `quickstart` feed all of them; they stay in ``--run``, so that
drawing again takes seconds. A new picture is a function and a row of ``FIGURES``.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console

import evonas
from evonas.core import experiment as config
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.report import image_drawing as drawing
from evonas.report.dashboard.server import DashboardServer
from evonas.report.live_view import SearchView, Work
from evonas.workflows.evaluation import Retrained

_SHOWN = 0.6  # share of the search that the live view shows
_LIVE = 12  # networks that the running search of the dashboard has trained
_FACES, _COLUMNS, _SIDE = 16, 8, 144
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class LeftOut(Exception):
    """A picture that cannot be drawn here; its message says what is missing."""


def live_view(run: Path, path: Path) -> None:
    """What a search shows in a terminal while it runs."""
    result = evonas.load_run(run)
    budget = result.experiment.budget
    console = Console(
        record=True, width=84, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    spent = [0.0]  # as if they were trained just now
    view = SearchView(console, Work(budget), (result.metric, result.unit), clock=lambda: spent[0])
    for trial in result.trials:
        if view.trained < _SHOWN * budget:
            view.show(trial)
            spent[0] += trial.seconds
    console.print(view.panel())
    text = console.export_svg(title=f"evonas search {result.experiment.name}")
    # Rich names a font on the web; any monospaced one of the reader's will do.
    path.write_text(re.sub(r"@font-face\s*{.*?}\s*", "", text, flags=re.S), encoding="utf-8")


def head_axes(run: Path, path: Path) -> None:
    """What the retrained winner says of faces of people that it has never seen."""
    deployed = RetrainedNetwork(Retrained(run / "retrained"))
    indices = deployed.judges[:: max(1, len(deployed.judges) // _FACES)][:_FACES]
    images = deployed.images(indices)
    with torch.inference_mode():
        outputs = deployed.full_network(images).numpy()
    pictures = []
    for pixels, angles in zip(images, deployed.retrained.task.predictions(outputs), strict=True):
        array = pixels.permute(1, 2, 0).numpy().round().astype(np.uint8)
        picture = Image.fromarray(array).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        drawing.axes(picture, angles.tolist())
        pictures.append(picture)
    drawing.grid(pictures, _COLUMNS).save(path, quality=90)


def report_page(run: Path, path: Path) -> None:
    """The page of a finished search, as a browser shows it."""
    page = run / "report.html"
    if not page.is_file():
        raise LeftOut(f"{page} is not there: evonas report {run}")
    _photograph(page.resolve().as_uri(), path, "1200,1950")


def run_dashboard(run: Path, path: Path) -> None:
    """The dashboard of that search and of one that is running."""
    folder = run.parent / "dashboard"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder / "quickstart-surrogate-s0")
    live = folder / "quickstart-cma-s0"
    words = ["search", "quickstart", "--optimizer", "cma", "--run-dir", str(live)]
    search = subprocess.Popen([sys.executable, "-m", "evonas", *words], stdout=subprocess.DEVNULL)
    try:
        with DashboardServer(folder, 0) as server:
            while search.poll() is None and server.runs.trained(live.name) < _LIVE:
                time.sleep(0.5)
            chosen = f"#{live.name},quickstart-surrogate-s0"
            _photograph(server.url + chosen, path, "1300,1330")
            server.runs.stop(live.name)
    finally:
        search.wait()


def _photograph(address: str, path: Path, size: str) -> None:
    """Save what a browser shows.

    Raises:
        LeftOut: there is no browser.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise LeftOut(f"none of {', '.join(_BROWSERS)} is installed")
    flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}"]
    flags += ["--virtual-time-budget=5000", f"--screenshot={path.resolve()}", address]
    subprocess.run([browser, *flags], check=True, capture_output=True, timeout=120)


def ray_dashboard(run: Path, path: Path) -> None:
    """The actors of another search in Ray's dashboard, while it runs."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        raise LeftOut("chromium or its chromedriver is not installed")
    sys.path.insert(0, str(Path(__file__).parent))
    import dashboard

    dashboard.picture(path)


#: file -> who draws it, from the folder of a run that was retrained
FIGURES: dict[str, Callable[[Path, Path], None]] = {
    "live_view.svg": live_view,
    "head_axes.jpg": head_axes,
    "report.png": report_page,
    "dashboard.png": run_dashboard,
    "ray_dashboard.png": ray_dashboard,
}


def prepared(run: Path, changes: Sequence[str]) -> Path:
    """Search and retrain, unless both were done before; return the folder of the run."""
    if not (run / "retrained" / "comparison.json").is_file():
        shutil.rmtree(run, ignore_errors=True)  # of a search that was stopped
        view = evonas.LiveView()
        experiment = config.load("quickstart", changes)
        result = evonas.search(experiment, run_dir=run, callbacks=[view])
        evonas.retrain(result, callbacks=[view])
    return run


def main() -> None:
    """Draw all pictures, or those that are named, and say which were left out and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("changes", nargs="*", help="key=value, to the experiment")
    parser.add_argument("--only", nargs="+", choices=sorted(FIGURES), default=list(FIGURES))
    parser.add_argument("--run", type=Path, default=Path("runs/figures/quickstart"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    run = prepared(args.run, args.changes)
    for name in args.only:
        start = time.monotonic()
        try:
            FIGURES[name](run, args.folder / name)
        except LeftOut as reason:
            print(f"left out: {name}: {reason}")
        else:
            print(f"written: {args.folder / name} ({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    main()
