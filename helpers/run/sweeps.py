"""One notebook with every combination of some parameters: executed notebooks, one table, one plot; nothing is lost.

Each combination is a job (`helpers.run.jobs`). What is in place and was made by this code with these parameters is
never made again: a sweep that was killed, or in which something failed, is taken up by the same call.
"""

import csv
import hashlib
import io
import itertools
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from helpers.files import write_whole
from helpers.run.execute import record_file, shown
from helpers.run.jobs import Failure, Job, alone_in, cores, run_jobs
from helpers.run.notebook_files import Notebook
from helpers.show.style import STYLE, line_style, png

PANELS = 24


@dataclass(frozen=True)
class Combination:
    """Values of the swept parameters, by name, and the job that runs the notebook with them."""

    swept: dict
    job: Job


@dataclass(frozen=True)
class SweepReport:
    """What a sweep did.

    Attributes:
        table: CSV, one row a combination that is whole: the swept parameters, then the numbers on record.
        plot: PNG, each number over the first swept parameter.
        ran, kept: how many combinations were run now, and how many were there already.
        failures: those that did not run.
        changed: how many of those kept were made by other code.

    Example:
        >>> failures = (Failure("steps=0", "ValueError: steps: expected an integer of at least 1"),)
        >>> report = SweepReport(Path("table.csv"), None, ran=2, kept=1, failures=failures)
        >>> str(report).splitlines()[-2]
        '4 combinations: 2 run, 1 kept, 1 failed'
    """

    table: Path
    plot: Path | None
    ran: int
    kept: int
    failures: tuple[Failure, ...]
    changed: int = 0

    def __str__(self) -> str:
        lines = [str(failure) for failure in self.failures]
        if self.changed:
            lines.append(
                f"{self.changed} results were made by other code (the notebook or helpers changed): run again"
            )
        total = self.ran + self.kept + len(self.failures)
        lines.append(f"{total} combinations: {self.ran} run, {self.kept} kept, {len(self.failures)} failed")
        lines.append(f"table  {shown(self.table)}")
        if self.plot:
            lines.append(f"plot   {shown(self.plot)}")
        return "\n".join(lines)


def sweep(
    source: str | Path | Notebook,
    output: str | Path,
    grid: Mapping[str, Sequence],
    parameters: Mapping | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    show_progress: bool = True,
) -> SweepReport:
    """Run a notebook once for every combination of the grid; what is there already is kept.

    In ``output``: for each combination what `helpers.run.execute.run_notebook` writes; ``table.csv``, ``plot.png``;
    ``failures/`` with a text for each combination that failed.

    On the command line: ``nonlinear-saliency sweep 00 --grid steps=8,16``.

    Args:
        source: the notebook: its file, or what was read from it.
        output: a folder; one sweep at a time writes to it.
        grid: parameter -> values, at least one each.
        parameters: others, the same in all combinations.
        workers: processes at a time, on this machine; None: as many as cores. The cores' threads are shared out.
        scheduler: address of a Dask scheduler, whose workers run the combinations instead.
        show_progress: a bar over the combinations.

    Raises:
        FileNotFoundError: there is no such notebook.
        ParameterError: a parameter or value that the notebook does not take; nothing was run.
        ValueError: a parameter without values, the same value twice, or one both in the grid and fixed.
        RuntimeError: another command is writing to the folder, or a scheduler is given and the package
            distributed is not installed.
        FileExistsError: a table, a plot or failures are there that no sweep has made.
        OSError: the table or the plot cannot be written, or the scheduler does not answer.

    Example:
        >>> import tempfile
        >>> from helpers.run.notebook_files import find
        >>> with tempfile.TemporaryDirectory() as folder:  # refused before anything runs
        ...     sweep(find("00"), folder, grid={"step": [8, 16]})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        helpers.run.parameters.ParameterError: 00_index.ipynb has no parameter 'step'; did you mean 'steps'? ...
    """
    notebook, output = Notebook.of(source), Path(output).resolve()
    threads = max(1, cores() // (workers or cores()))
    wanted = combinations(notebook, output, grid, parameters or {}, threads)
    with alone_in(output, "table.csv", "plot.png", "failures"):
        shutil.rmtree(output / "failures", ignore_errors=True)
        kept = [one for one in wanted if _numbers(one.job, notebook.fingerprint) is not None]
        missing = [one.job for one in wanted if one not in kept]
        changed = sum(_record(job) is not None for job in missing)
        failed = {}
        ended = run_jobs(missing, workers, scheduler)
        for job, reason in tqdm(
            ended, total=len(missing), desc=notebook.path.stem, disable=not show_progress
        ):
            if reason is not None:
                failed[job.name] = reason
                write_whole(output / "failures" / f"{Path(job.destination).stem}.txt", reason.encode())
        table, plot = _write_results(notebook, output, wanted)
    failures = tuple(Failure(job.name, failed[job.name]) for job in missing if job.name in failed)
    return SweepReport(table, plot, len(missing) - len(failures), len(kept), failures, changed)


def combinations(
    notebook: Notebook, output: Path, grid: Mapping[str, Sequence], parameters: Mapping, threads: int = 1
) -> list[Combination]:
    """The combinations of a grid, the last parameter changing first; everything is checked.

    Raises:
        ParameterError, ValueError: as in `sweep`.

    Example:
        >>> from helpers.run.notebook_files import find
        >>> grid = {"flow_steps": [4, 8], "drop": [1.0, 2.0]}
        >>> [one.job.name for one in combinations(Notebook.read(find("04")), Path("out"), grid, {})][:2]
        ['flow_steps=4, drop=1.0', 'flow_steps=4, drop=2.0']
    """
    if not grid:
        raise ValueError("grid: expected at least one parameter with its values, got none")
    for name, values in grid.items():
        if not len(values):
            raise ValueError(f"grid: {name}: expected at least one value, got none")
        if name in parameters:
            raise ValueError(f"grid: {name} is also fixed to {parameters[name]!r}; give it once")
        texts = [json.dumps(notebook.values({name: value})[name]) for value in values]
        if len(set(texts)) < len(texts):
            raise ValueError(f"grid: {name}: expected different values, got {list(values)!r}")
    found = []
    for values in itertools.product(*grid.values()):
        given = {**parameters, **dict(zip(grid, values, strict=True))}
        known = notebook.values(given)
        swept = {name: known[name] for name in grid}
        destination = output / f"{_file_name(notebook.path.stem, swept, known)}.ipynb"
        own = {name: known[name] for name in given}
        job = Job(_listed(swept, "=", ", "), str(notebook.path.resolve()), str(destination), own, threads)
        found.append(Combination(swept, job))
    return found


def _file_name(stem: str, swept: dict, known: dict) -> str:
    """Readable, and different for different parameters."""
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:8]
    return f"{stem}-{re.sub(r'[^A-Za-z0-9_=,.+-]', '_', _listed(swept, '=', ','))[:80]}-{digest}"


def _listed(values: dict, sign: str, comma: str) -> str:
    return comma.join(f"{name}{sign}{_plain(value)}" for name, value in values.items())


def _plain(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _record(job: Job) -> dict | None:
    """What is on record of a job, None if there is nothing whole."""
    try:
        return json.loads(record_file(job.destination).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _numbers(job: Job, code: str) -> dict | None:
    """A job's numbers, if it was run by this code with these parameters and its notebook is there."""
    record = _record(job)
    if record is None or record.get("code") != code or not Path(job.destination).is_file():
        return None
    same = all(record["parameters"].get(name) == value for name, value in job.parameters.items())
    return record["numbers"] if same else None


def _write_results(
    notebook: Notebook, output: Path, wanted: Sequence[Combination]
) -> tuple[Path, Path | None]:
    """Write the table, and the plot if there is something to show."""
    found = [(one.swept, _numbers(one.job, notebook.fingerprint)) for one in wanted]
    rows = [(swept, numbers) for swept, numbers in found if numbers is not None]
    names = list(wanted[0].swept)
    table, plot = output / "table.csv", None
    write_whole(table, _csv(names, rows).encode())
    figure = comparison(notebook.path.stem, *zip(*rows, strict=True)) if rows else None
    if figure is not None:
        plot = output / "plot.png"
        write_whole(plot, png(figure, f"Numbers of {notebook.path.stem} over {names[0]}."))
    return table, plot


def _csv(swept: list[str], rows: Sequence[tuple[dict, dict]]) -> str:
    """The table: swept parameters, then every number that one of the notebooks has on record."""
    names = list(dict.fromkeys(name for _, numbers in rows for name in numbers))
    # A number may have the name of a parameter: both are kept, and told apart.
    heads = [f"{name} (number)" if name in swept else name for name in names]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*swept, *heads])
    for values, numbers in rows:
        own = [_plain(values[name]) for name in swept]
        writer.writerow([*own, *(numbers.get(name, "") for name in names)])
    return text.getvalue()


def comparison(title: str, swept: Sequence[dict], numbers: Sequence[dict]) -> Figure | None:
    """Every measured number over the first swept parameter, a line for each combination of the others.

    Args:
        swept: for each run, parameter -> value; the same parameters in the same order.
        numbers: for each run, what is on record; numbers that do not change, texts and truth values are left out,
            and of the others no more than the first `PANELS` are shown.

    Returns:
        The figure, or None if there is no number to show.

    Example:
        >>> swept, numbers = [{"steps": 4}, {"steps": 8}], [{"auc": 0.5}, {"auc": 0.6}]
        >>> len(comparison("04", swept, numbers).axes), comparison("04", swept, [{"auc": 0.5}] * 2)
        (1, None)
    """
    names = [
        name
        for name in dict.fromkeys(name for own in numbers for name in own)
        if all(type(own.get(name)) in (int, float) for own in numbers)
        and len({own[name] for own in numbers}) > 1
    ][:PANELS]
    if not names:
        return None
    first, *others = swept[0]
    lines: dict[str, list[int]] = {}
    for place, own in enumerate(swept):
        lines.setdefault(_listed({name: own[name] for name in others}, " = ", ", "), []).append(place)
    columns = min(3, len(names))
    height = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * columns + 0.4, 2.6 * height + 0.4 + 0.25 * -(-len(lines) // 3)))
        panels = figure.subplots(height, columns, squeeze=False, sharex=True).ravel()
        for axes, name in zip(panels, names, strict=False):
            _panel(axes, [own[first] for own in swept], [own[name] for own in numbers], lines)
            axes.set_title(name)
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        figure.supxlabel(first)
        figure.suptitle(title)
        if others:
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _panel(axes: Axes, across: list, up: list[float], lines: dict[str, list[int]]) -> None:
    """One number over a parameter, a line for each label with its places in the lists."""
    ticks = list(dict.fromkeys(map(_plain, across)))
    numeric = all(type(value) in (int, float) for value in across)
    if not numeric:
        across = [ticks.index(_plain(value)) for value in across]
        axes.set_xticks(range(len(ticks)), ticks, rotation=30 if max(map(len, ticks)) > 8 else 0)
    across, up = np.array(across), np.array(up)
    for k, (label, places) in enumerate(lines.items()):
        order = np.array(places)[np.argsort(across[places])]
        axes.plot(across[order], up[order], **line_style(k), label=label or None)
    axes.grid(True)
