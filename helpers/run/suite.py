"""All notebooks of the walk, side by side; their numbers in one table (make run)."""

import csv
import io
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

from helpers.files import ROOT, write_whole
from helpers.run.execute import RunResult, discard, shown
from helpers.run.jobs import Failure, Job, alone_in, run_jobs
from helpers.run.notebook_files import Notebook, walk
from helpers.run.records import rounded


@dataclass(frozen=True)
class Report:
    """What `run_all` did: the notebooks that ran, those that failed, the table of all numbers.

    Example:
        >>> failure = Failure("04_digits", "04_digits.ipynb failed in cell 7: ...")
        >>> report = Report(results=(), failures=(failure,), table=Path("build/results.csv"), seconds=2.0)
        >>> str(report).splitlines()[-1]
        '0 of 1 notebooks ran, 1 failed'
    """

    results: tuple[RunResult, ...]
    failures: tuple[Failure, ...]
    table: Path
    seconds: float = field(compare=False)

    def __str__(self) -> str:
        failed = [failure.name for failure in self.failures]
        width = max(map(len, [*(result.notebook.stem for result in self.results), *failed, "all"]))
        lines = [str(failure) for failure in self.failures]
        lines += [f"  {result.notebook.stem:<{width}}  {result.seconds:6.1f} s" for result in self.results]
        lines += [f"  {name:<{width}}  FAILED" for name in failed]
        lines += [f"  {'all':<{width}}  {self.seconds:6.1f} s", ""]
        folder = shown(self.table.parent)
        lines += [
            f"notebooks  {folder}/*.ipynb",
            f"figures    {folder}/*_figures/",
            f"numbers    {shown(self.table)} (the same as a page: {self.table.with_suffix('.md').name})",
        ]
        total = len(self.results) + len(failed)
        lines += [f"{len(self.results)} of {total} notebooks ran, {len(failed)} failed"]
        return "\n".join(lines)


def run_all(
    notebooks_dir: str | Path = ROOT / "notebooks",
    build_dir: str | Path = ROOT / "build",
    show_progress: bool = True,
) -> Report:
    """Execute all notebooks of a folder with their defaults, as many at a time as there are cores.

    Each is a process of one thread; the longest is begun first, by the run time that its head states. In
    ``build_dir``: what `run_notebook` writes for each, and ``results.csv`` and ``results.md``, one row a number,
    in reading order. A notebook that fails does not keep the others from running; what an earlier run left of
    it is removed.

    Raises:
        FileNotFoundError: there are no notebooks.
        RuntimeError: another command is writing to ``build_dir``.
        FileExistsError: a table is there that no run has made.

    Example:
        >>> import tempfile
        >>> from nbformat.v4 import new_code_cell, new_notebook
        >>> from helpers.run import notebook_files
        >>> cells = [new_code_cell("from helpers.run.records import record\\nrecord(steps=16)")]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     notebook_files.write(new_notebook(cells=cells), Path(folder, "01_steps.ipynb"))
        ...     report = run_all(folder, Path(folder, "build"), show_progress=False)
        ...     print(report.table.read_text())
        notebook,number,value
        01_steps,steps,16
        <BLANKLINE>
        >>> [result.notebook.name for result in report.results], report.failures
        (['01_steps.ipynb'], ())
    """
    sources, build = walk(notebooks_dir), Path(build_dir).resolve()
    started = time.perf_counter()
    with alone_in(build, "results.csv", "results.md"):
        failed = _run(sources, build, show_progress)
        for name in failed:
            with suppress(FileExistsError):  # which is why it failed
                discard(build / f"{name}.ipynb")
        results = [RunResult.read(build / path.name) for path in sources if path.stem not in failed]
        table = build / "results.csv"
        _write_table(results, table)
    failures = [Failure(path.stem, failed[path.stem]) for path in sources if path.stem in failed]
    return Report(tuple(results), tuple(failures), table, time.perf_counter() - started)


def _run(sources: list[Path], build: Path, show_progress: bool) -> dict[str, str]:
    """Run notebooks; the names of those that failed, with the reason."""
    notebooks, failed = [], {}
    for path in sources:
        try:
            notebooks.append(Notebook.read(path.resolve()))
        except ValueError as error:
            failed[path.stem] = str(error)
    notebooks.sort(key=lambda notebook: -(notebook.seconds or 0))
    jobs = [Job(n.path.stem, str(n.path), str(build / n.path.name), {}, threads=1) for n in notebooks]
    cells = {notebook.path.stem: len(notebook.code) for notebook in notebooks}
    done: Counter[str] = Counter()
    with tqdm(total=sum(cells.values()), unit="cell", disable=not show_progress) as bar:

        def on_cell(job: Job) -> None:
            with bar.get_lock():
                done[job.name] += 1
                bar.update()

        for ended, (job, reason) in enumerate(run_jobs(jobs, on_cell=on_cell), start=1):
            if reason is not None:
                failed[job.name] = reason
            with bar.get_lock():
                bar.set_description(f"{ended} of {len(jobs)} notebooks", refresh=False)
                bar.update(cells[job.name] - done[job.name])
    return failed


def _write_table(results: list[RunResult], table: Path) -> None:
    rows = [(r.notebook.stem, name, value) for r in results for name, value in r.numbers.items()]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("notebook", "number", "value"), *rows])
    write_whole(table, text.getvalue().encode())
    lines = ["| notebook | number | value |", "|---|---|---|"]
    lines += [f"| {notebook} | {name} | {rounded(value, 4)} |" for notebook, name, value in rows]
    write_whole(table.with_suffix(".md"), ("\n".join(lines) + "\n").encode())
