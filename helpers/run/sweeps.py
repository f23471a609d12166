"""One notebook with every combination of some parameters: executed notebooks, one table, one plot; nothing is lost.

Each combination is run by a process of its own, started here or by the workers of a Dask cluster, which writes its
results under a temporary name and moves them into place when whole (`execute.run_notebook`). What is in place
and was made by this code with these parameters is never made again: a sweep that was killed, or in which something
failed, is taken up by the same call.
"""

import concurrent.futures
import csv
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from filelock import FileLock, Timeout
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from helpers.files import write_whole
from helpers.run.execute import fingerprint, run_notebook, shown
from helpers.run.parameters import check_parameters
from helpers.show.style import STYLE, line_style, png

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# A combination whose process was killed (no memory, say) gets so many attempts.
ATTEMPTS = 2
PANELS = 24


@dataclass(frozen=True)
class Job:
    """One combination: what is to be run, and where its executed notebook belongs.

    source, destination: absolute paths, as texts (a worker elsewhere must see the same ones). parameters: those
    that are given. swept: those of the grid. threads: of the process.

    Example:
        >>> swept = {"steps": 8, "score": "logit"}
        >>> Job("/walk/04.ipynb", "/out/04.ipynb", {"seed": 0} | swept, swept, threads=1).name
        'steps=8, score=logit'
    """

    source: str
    destination: str
    parameters: dict
    swept: dict
    threads: int

    @property
    def name(self) -> str:
        return ", ".join(f"{name}={_plain(value)}" for name, value in self.swept.items())


@dataclass(frozen=True)
class Failure:
    """A combination that did not run: its swept parameters, and why, with cell and traceback where there is one.

    Example:
        >>> Failure("steps=0", "04_digits.ipynb failed in cell 7: ...").combination
        'steps=0'
    """

    combination: str
    text: str


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
        lines = [
            f"{'-' * 80}\n{failure.combination}:\n{failure.text.rstrip()}\n" for failure in self.failures
        ]
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
    source: str | Path,
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

    On the command line: ``python -m helpers sweep 00 steps=8,16``.

    Args:
        source: the notebook.
        output: a folder; one sweep at a time writes to it.
        grid: parameter -> values, at least one each.
        parameters: others, the same in all combinations.
        workers: processes at a time, on this machine; None: as many as cores. The cores' threads are shared out.
        scheduler: address of a Dask scheduler, whose workers run the combinations instead.
        show_progress: a bar over the combinations.

    Raises:
        FileNotFoundError: there is no such notebook.
        notebooks.ParameterError: a parameter or value that the notebook does not take; nothing was run.
        ValueError: a parameter without values, the same value twice, or one both in the grid and fixed.
        RuntimeError: another sweep is writing to the folder, or a scheduler is given and the package distributed is
            not installed.
        OSError: the table or the plot could not be written, or the scheduler does not answer.

    Example:
        >>> import tempfile
        >>> from helpers.run.execute import find
        >>> with tempfile.TemporaryDirectory() as folder:  # refused before anything runs
        ...     sweep(find("00"), folder, grid={"step": [8, 16]})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        helpers.run.parameters.ParameterError: 00_index.ipynb has no parameter 'step'; did you mean 'steps'? ...
    """
    source, output = Path(source).resolve(), Path(output).resolve()
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such notebook")
    threads = max(1, (os.cpu_count() or 1) // (workers or os.cpu_count() or 1))
    jobs = combinations(source, output, grid, parameters or {}, threads)
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / ".lock", timeout=0):
            return _sweep(source, output, jobs, workers, scheduler, show_progress)
    except Timeout as error:
        raise RuntimeError(
            f"{output}: another sweep is writing to this folder; wait for it, or name another"
        ) from error


def combinations(
    source: Path, output: Path, grid: Mapping[str, Sequence], parameters: Mapping, threads: int = 1
) -> list[Job]:
    """The jobs of a grid, the last parameter changing first; everything is checked.

    Raises:
        notebooks.ParameterError, ValueError: as in `sweep`.

    Example:
        >>> from helpers.run.execute import find
        >>> jobs = combinations(find("04"), Path("out"), {"flow_steps": [4, 8], "drop": [1.0, 2.0]}, {})
        >>> [job.swept for job in jobs][:3]
        [{'flow_steps': 4, 'drop': 1.0}, {'flow_steps': 4, 'drop': 2.0}, {'flow_steps': 8, 'drop': 1.0}]
    """
    if not grid:
        raise ValueError("grid: expected at least one parameter with its values, got none")
    for name, values in grid.items():
        if not len(values):
            raise ValueError(f"grid: {name}: expected at least one value, got none")
        if name in parameters:
            raise ValueError(f"grid: {name} is also fixed to {parameters[name]!r}; give it once")
        texts = [json.dumps(check_parameters(source, {name: value})[name]) for value in values]
        if len(set(texts)) < len(texts):
            raise ValueError(f"grid: {name}: expected different values, got {list(values)!r}")
    jobs = []
    for values in itertools.product(*grid.values()):
        swept = dict(zip(grid, values, strict=True))
        known = check_parameters(source, {**parameters, **swept})
        given = {name: known[name] for name in {**parameters, **swept}}
        name = _file_name(source.stem, {key: known[key] for key in swept}, known)
        swept = {key: known[key] for key in swept}
        jobs.append(Job(str(source), str(output / f"{name}.ipynb"), given, swept, threads))
    return jobs


def _file_name(stem: str, swept: dict, known: dict) -> str:
    """Readable, and different for different parameters."""
    text = ",".join(f"{name}={_plain(value)}" for name, value in swept.items())
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:8]
    return f"{stem}-{re.sub(r'[^A-Za-z0-9_=,.+-]', '_', text)[:80]}-{digest}"


def _plain(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _sweep(source, output, jobs, workers, scheduler, show_progress) -> SweepReport:
    # What a killed process left; whoever holds the lock is the only one who writes here.
    for left in output.glob(f".{source.stem}-*"):
        shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(output / "failures", ignore_errors=True)
    code = fingerprint(source)
    found = {job.destination: _record(job) for job in jobs}
    kept = [job for job in jobs if _is_whole(found[job.destination], code, job)]
    missing = [job for job in jobs if not _is_whole(found[job.destination], code, job)]
    changed = sum(found[job.destination] is not None for job in missing)
    failures = []
    for job, text in _run(missing, workers, scheduler, show_progress):
        if text is not None:
            failures.append(Failure(job.name, text))
            write_whole(output / "failures" / f"{Path(job.destination).stem}.txt", text.encode())
    rows = [(job, record["numbers"]) for job in jobs if _is_whole(record := _record(job), code, job)]
    table, plot = output / "table.csv", None
    write_whole(table, _csv(jobs, rows).encode())
    if rows:
        figure = comparison(source.stem, [{**job.swept} for job, _ in rows], [numbers for _, numbers in rows])
        if figure is not None:
            plot = output / "plot.png"
            write_whole(plot, png(figure, f"Numbers of {source.stem} over {next(iter(jobs[0].swept))}."))
    order = {job.name: place for place, job in enumerate(jobs)}
    failures.sort(key=lambda failure: order[failure.combination])
    return SweepReport(table, plot, len(missing) - len(failures), len(kept), tuple(failures), changed)


def _record(job: Job) -> dict | None:
    """What is on record of a job, None if there is nothing whole."""
    file = Path(job.destination).with_suffix(".json")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _is_whole(record: dict | None, code: str, job: Job) -> bool:
    """Whether a record is of this code and these parameters, and its notebook is there."""
    return (
        record is not None
        and record.get("code") == code
        and all(record["parameters"].get(name) == value for name, value in job.parameters.items())
        and Path(job.destination).is_file()
    )


def _csv(jobs: list[Job], rows: list[tuple[Job, dict]]) -> str:
    """The table: swept parameters, then every number that one of the notebooks has on record."""
    swept = list(jobs[0].swept)
    names = list(dict.fromkeys(name for _, numbers in rows for name in numbers))
    # A number may have the name of a parameter: both are kept, and told apart.
    heads = [f"{name} (number)" if name in swept else name for name in names]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*swept, *heads])
    for job, numbers in rows:
        writer.writerow(
            [*(_plain(job.swept[name]) for name in swept), *(numbers.get(name, "") for name in names)]
        )
    return text.getvalue()


def _run(jobs: list[Job], workers: int | None, scheduler: str | None, show_progress: bool):
    """Run jobs on this machine or on a cluster; each with None, or the reason why it failed, as they end."""
    if not jobs:
        return
    executor, close = _executor(workers, scheduler)
    try:
        futures = {executor.submit(run_job, job): job for job in jobs}
        ended = concurrent.futures.as_completed(futures)
        for future in tqdm(ended, total=len(jobs), desc=Path(jobs[0].source).stem, disable=not show_progress):
            error = future.exception()
            yield futures[future], f"{type(error).__name__}: {error}" if error else future.result()
    finally:
        close()


def _executor(workers: int | None, scheduler: str | None):
    """What runs functions, and how it is closed. Threads here: each only waits for a process."""
    if scheduler is None:
        pool = concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count() or 1)
        return pool, lambda: pool.shutdown(cancel_futures=True)
    try:
        from distributed import Client
    except ImportError as error:
        raise RuntimeError(
            "scheduler: needs the package distributed, which is not installed: pip install 'distributed', or this "
            "project with its extra, pip install -e '.[cluster]'"
        ) from error
    client = Client(scheduler)
    # Not pure: the same call writes files. A job whose worker dies is sent to another one.
    executor = client.get_executor(pure=False, retries=ATTEMPTS - 1)

    def close() -> None:
        executor.shutdown(wait=False)
        client.close()

    return executor, close


def run_job(job: Job) -> str | None:
    """Run one combination in a process of its own; None, or why it failed.

    Example:
        >>> run_job(Job("no.ipynb", "build/no.ipynb", {}, {}, threads=1))
        'no.ipynb: no such notebook. Every worker needs the notebook and the output under the same paths.'
    """
    environment = {**os.environ, **dict.fromkeys(THREADS, str(job.threads))}
    for _ in range(ATTEMPTS):
        process = subprocess.Popen(
            [sys.executable, "-m", "helpers.run.sweeps"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        # The pipe stays open as long as this process lives: its end tells the other that nobody waits any more.
        with process:
            process.stdin.write(json.dumps([job.source, job.destination, job.parameters]) + "\n")
            process.stdin.flush()
            said = process.stderr.read()
        if process.returncode == 0:
            return None
        if process.returncode > 0:
            return said.strip() or f"the process ended with exit code {process.returncode}"
    name = signal.Signals(-process.returncode).name
    return f"the process was killed ({name}) {ATTEMPTS} times, for lack of memory perhaps.\n{said.strip()}".strip()


def _work() -> int:
    """The process of one job: reads it from its standard input, and ends when that is closed."""
    source, destination, parameters = json.loads(sys.stdin.readline())

    def watch() -> None:
        sys.stdin.read()
        # whoever wanted the result is dead; kernels see their parent go, and follow
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        run_notebook(source, destination, parameters, show_progress=False)
    except FileNotFoundError as error:
        # a worker elsewhere may not have the folders of the computer that sent the job
        hint = "Every worker needs the notebook and the output under the same paths."
        print(f"{error}. {hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"could not be written: {error}. Make room and give the same command again.", file=sys.stderr)
        return 1
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


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
    values = list(dict.fromkeys(_plain(own[first]) for own in swept))
    numeric = all(type(own[first]) in (int, float) for own in swept)
    lines: dict[str, list[int]] = {}
    for place, own in enumerate(swept):
        lines.setdefault(", ".join(f"{name} = {_plain(own[name])}" for name in others), []).append(place)
    columns = min(3, len(names))
    height = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * columns + 0.4, 2.6 * height + 0.4 + 0.25 * -(-len(lines) // 3)))
        panels = figure.subplots(height, columns, squeeze=False, sharex=True).ravel()
        for axes, name in zip(panels, names, strict=False):
            for k, (label, places) in enumerate(lines.items()):
                across = [
                    swept[p][first] if numeric else values.index(_plain(swept[p][first])) for p in places
                ]
                order = np.argsort(across)
                axes.plot(
                    np.array(across)[order],
                    np.array([numbers[p][name] for p in places])[order],
                    **line_style(k),
                    label=label or None,
                )
            axes.set_title(name)
            axes.grid(True)
            if not numeric:
                axes.set_xticks(range(len(values)), values, rotation=30 if max(map(len, values)) > 8 else 0)
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        figure.supxlabel(first)
        figure.suptitle(title)
        if others:
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(_work())
