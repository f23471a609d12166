"""Running notebooks: one with other parameters, all of them in order, and again for the committed form.

From the command line: ``python -m helpers`` (`helpers.__main__`); many sets of parameters: `helpers.run.sweeps`.
"""

import csv
import difflib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import papermill
import zmq
from jupyter_client.kernelspec import KernelSpecManager
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm
from traitlets.config import Config

from helpers.files import ROOT, package_hash
from helpers.run import notebook_files
from helpers.run.notebook_files import dumps, normalise
from helpers.run.parameters import check_parameters, is_parameters
from helpers.run.records import Number, recorded, rounded

KERNEL = "python3"
# Without it a kernel warns, in the middle of the progress bar, that whoever is on this machine can listen.
ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}} if zmq.has("curve") else {})


class NotebookFailed(RuntimeError):
    """A notebook that did not run to its end, or whose widgets raised on the way.

    Attributes:
        notebook: the notebook's file.
        cell: place of the failing cell in the source, from 1, text counted; None if unknown or a callback's.
        source: the cell's source, "" if not known.
        traceback: what Python said, without terminal colours.

    Example:
        >>> print(NotebookFailed(Path("04_digits.ipynb"), 7, "1 / 0", "ZeroDivisionError: division by zero"))
        04_digits.ipynb failed in cell 7:
        <BLANKLINE>
            1 / 0
        <BLANKLINE>
        ZeroDivisionError: division by zero
    """

    def __init__(self, notebook: Path, cell: int | None, source: str, traceback: str):
        self.notebook, self.cell, self.source, self.traceback = notebook, cell, source, traceback
        where = f" in cell {cell}" if cell else ""
        quoted = textwrap.indent(source.strip(), "    ") + "\n\n" if source else ""
        super().__init__(f"{notebook.name} failed{where}:\n\n{quoted}{traceback.strip()}")


@dataclass(frozen=True)
class RunResult:
    """One executed notebook; `run_notebook` has an example.

    Attributes:
        notebook: the executed notebook.
        record: JSON beside it: its parameters, numbers, seconds, figures, and the `fingerprint` of its code.
        figures: its figures, in order.
        parameters: all of its parameters with the values it ran with.
        numbers: what its cells passed to `helpers.run.records.record`.
        seconds: wall time, the start of the kernel included.
    """

    notebook: Path
    record: Path
    figures: tuple[Path, ...]
    parameters: dict
    numbers: dict[str, Number]
    seconds: float


@dataclass(frozen=True)
class Report:
    """What `run_all` did: the notebooks that ran, those that failed, the table of all numbers.

    Example:
        >>> failure = NotebookFailed(Path("04_digits.ipynb"), 7, "1 / 0", "ZeroDivisionError")
        >>> report = Report(results=(), failures=(failure,), table=Path("build/results.csv"), seconds=2.0)
        >>> str(report).splitlines()[-1]
        '0 of 1 notebooks ran, 1 failed'
    """

    results: tuple[RunResult, ...]
    failures: tuple[NotebookFailed, ...]
    table: Path
    seconds: float = field(compare=False)

    def __str__(self) -> str:
        width = max(len(name) for name in [*(r.notebook.stem for r in self.results), *self._failed(), "all"])
        lines = [f"{str(failure).rstrip()}\n" for failure in self.failures]
        lines += [f"  {result.notebook.stem:<{width}}  {result.seconds:6.1f} s" for result in self.results]
        lines += [f"  {name:<{width}}  FAILED" for name in self._failed()]
        lines += [f"  {'all':<{width}}  {self.seconds:6.1f} s", ""]
        folder = shown(self.table.parent)
        lines += [
            f"notebooks  {folder}/*.ipynb",
            f"figures    {folder}/*_figures/",
            f"numbers    {shown(self.table)} (the same as a page: {self.table.with_suffix('.md').name})",
        ]
        total = len(self.results) + len(self.failures)
        lines += [f"{len(self.results)} of {total} notebooks ran, {len(self.failures)} failed"]
        return "\n".join(lines)

    def _failed(self) -> list[str]:
        return [failure.notebook.stem for failure in self.failures]


def run_notebook(
    source: str | Path,
    destination: str | Path,
    parameters: dict | None = None,
    *,
    show_progress: bool = True,
    timeout: float | None = None,
    on_cell: Callable[[], None] | None = None,
) -> RunResult:
    """Execute a notebook with papermill, with other parameters if given, and write what came out.

    ``destination`` is the executed notebook; beside it ``<stem>.json`` (the record) and
    ``<stem>_figures/NN.png``. All is made under a temporary name and moved into place when whole, the record
    last: where the record is, the rest is. A run that fails changes nothing at the destination. The kernel
    starts in the caller's folder.

    Args:
        source: the notebook.
        destination: file name of the executed notebook; folders are made.
        parameters: name -> value, for some of the names in the notebook's parameters cell.
        show_progress: a progress bar over the cells.
        timeout: seconds that one cell may take; None for any.
        on_cell: called after each code cell.

    Raises:
        FileNotFoundError: there is no such notebook.
        notebooks.ParameterError: unknown parameter or wrong type; nothing was run.
        ValueError: the destination is the source, or does not end in .ipynb.
        NotebookFailed: a cell or a widget's callback raised, the kernel died, or the notebook stopped early.
        RuntimeError: the kernel ``python3`` is not this environment's.

    Example:
        >>> from nbformat.v4 import new_code_cell, new_notebook
        >>> cells = [
        ...     new_code_cell("steps = 8", metadata={"tags": ["parameters"]}),
        ...     new_code_cell("from helpers.run.records import record\\nrecord(squared=steps**2)"),
        ... ]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     notebook_files.write(new_notebook(cells=cells), Path(folder, "square.ipynb"))
        ...     result = run_notebook(
        ...         Path(folder, "square.ipynb"), Path(folder, "out", "5.ipynb"), {"steps": 5}, show_progress=False
        ...     )
        >>> result.notebook.name, result.record.name, result.parameters, result.numbers
        ('5.ipynb', '5.json', {'steps': 5}, {'squared': 25})
    """
    source, destination = Path(source), Path(destination)
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such notebook")
    if destination.suffix != ".ipynb":
        raise ValueError(f"destination: expected a name that ends in .ipynb, got {destination}")
    if destination.resolve() == source.resolve():
        raise ValueError(f"destination: expected another file than the notebook itself, got {destination}")
    values = check_parameters(source, parameters or {})
    given = {name: values[name] for name in parameters or {}}
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{destination.stem}-", dir=destination.parent) as folder:
        made = Path(folder) / destination.name
        started = time.perf_counter()
        notebook = _execute(source, made, given, show_progress, timeout, on_cell)
        seconds = time.perf_counter() - started
        try:
            numbers = recorded(notebook)
        except ValueError as error:
            raise NotebookFailed(source, None, "", str(error)) from error
        notebook.metadata.pop("papermill", None)
        notebook_files.write(notebook, made)
        pictures = _figures_folder(made)
        pictures.mkdir()
        names = [f"{number:02d}.png" for number, _ in enumerate(notebook_files.figures(notebook), start=1)]
        for name, picture in zip(names, notebook_files.figures(notebook), strict=True):
            (pictures / name).write_bytes(picture)
        content = {
            "notebook": source.stem,
            "code": fingerprint(source),
            "parameters": values,
            "numbers": numbers,
            "seconds": round(seconds, 3),
            "figures": [f"{pictures.name}/{name}" for name in names],
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        _record_file(made).write_text(text, encoding="utf-8")
        discard(destination)
        if names:
            pictures.replace(_figures_folder(destination))
        made.replace(destination)
        _record_file(made).replace(_record_file(destination))
    figures = tuple(_figures_folder(destination) / name for name in names)
    return RunResult(destination, _record_file(destination), figures, values, numbers, seconds)


def _figures_folder(notebook: Path) -> Path:
    return notebook.with_name(f"{notebook.stem}_figures")


def _record_file(notebook: Path) -> Path:
    return notebook.with_suffix(".json")


def discard(destination: str | Path) -> None:
    """Remove an executed notebook, its record (first) and its figures, as far as they are there.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("04.ipynb", "04.json", "results.csv"):
        ...         _ = Path(folder, name).write_text("")
        ...     discard(Path(folder, "04.ipynb"))
        ...     [path.name for path in Path(folder).iterdir()]
        ['results.csv']
    """
    destination = Path(destination)
    _record_file(destination).unlink(missing_ok=True)
    destination.unlink(missing_ok=True)
    shutil.rmtree(_figures_folder(destination), ignore_errors=True)


def _execute(source, made, parameters, show_progress, timeout, on_cell) -> NotebookNode:
    """The notebook executed by papermill, or NotebookFailed."""
    _check_kernel()
    before = notebook_files.read(source)
    code = sum(cell.cell_type == "code" for cell in before.cells)
    # papermill puts a cell of its own behind the parameters cell where there are parameters to be set.
    own = [place for place, cell in enumerate(before.cells) if is_parameters(cell)] if parameters else []
    last = {}
    bar = tqdm(total=code + len(own), desc=source.stem, unit="cell", disable=not show_progress)

    def place_of(index: int) -> int:
        return index + 1 - sum(index > place for place in own)

    def started(cell, cell_index, **_):
        last.update(cell=place_of(cell_index), source=cell.source)

    def finished(**_):
        bar.update()
        if on_cell:
            on_cell()

    try:
        with bar, _inline_figures():
            notebook = papermill.execute_notebook(
                str(source),
                str(made),
                parameters,
                kernel_name=KERNEL,
                language="python",
                progress_bar=False,
                execution_timeout=timeout,
                # seconds; a busy machine exceeds the defaults of 60 and 4
                start_timeout=1800,
                iopub_timeout=1800,
                # A kernel that has loaded torch lets the polite request to leave run out (2.5 s), every time.
                shutdown_kernel="immediate",
                config=ENCRYPTED,
                on_cell_execute=started,
                on_cell_executed=finished,
            )
    except PapermillExecutionError as error:
        lines = "\n".join(error.traceback) or f"{error.ename}: {error.evalue}"
        place = place_of(error.cell_index)
        raise NotebookFailed(source, place, error.source, notebook_files.plain(lines)) from error
    except Exception as error:
        # The kernel died or did not start, or a cell took too long: papermill passes on errors of all kinds.
        text = f"{type(error).__name__}: {notebook_files.plain(str(error))}"
        raise NotebookFailed(source, last.get("cell"), last.get("source", ""), text) from error
    for index, text in notebook_files.errors(notebook):
        if index is None:
            raise NotebookFailed(source, None, "", f"in a widget's callback:\n\n{text}")
        # papermill lets sys.exit() pass as a success, with the rest of the notebook not executed.
        raise NotebookFailed(source, place_of(index), notebook.cells[index].source, text)
    return notebook


def _check_kernel() -> None:
    """That the kernel runs this interpreter: `python3` of another environment has other packages."""
    command = KernelSpecManager().get_kernel_spec(KERNEL).argv[0]
    # A bare "python" is replaced by sys.executable when the kernel starts.
    folder = Path(command).parent
    if Path(command).is_absolute() and folder.resolve() != Path(sys.executable).parent.resolve():
        raise RuntimeError(
            f"the Jupyter kernel {KERNEL!r} runs {command}, not {sys.executable}: "
            "remove that kernel (jupyter kernelspec list), or unset JUPYTER_PATH"
        )


@contextmanager
def _inline_figures() -> Iterator[None]:
    """Kernels inherit the environment: with a caller's MPLBACKEND=Agg no figure would reach the notebook."""
    before = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if before is not None:
            os.environ["MPLBACKEND"] = before


def walk(folder: str | Path) -> list[Path]:
    """The notebooks of a folder in reading order: those named NN_*.ipynb.

    Raises:
        FileNotFoundError: there are none.

    Example:
        >>> [path.name for path in walk(ROOT / "notebooks")][:2]
        ['00_index.ipynb', '01_linear_saliency.ipynb']
    """
    found = sorted(path for path in Path(folder).glob("*.ipynb") if re.match(r"\d\d_", path.name))
    if not found:
        raise FileNotFoundError(f"{folder}: no notebooks there that are named NN_*.ipynb")
    return found


def run_all(
    notebooks_dir: str | Path = ROOT / "notebooks",
    build_dir: str | Path = ROOT / "build",
    show_progress: bool = True,
) -> Report:
    """Execute all notebooks of a folder in reading order, with their defaults, and gather their numbers.

    In ``build_dir``: what `run_notebook` writes for each, and ``results.csv`` and ``results.md``, one row a
    number. A notebook that fails does not keep the others from running; what an earlier run left of it is
    removed.

    Raises:
        FileNotFoundError: there are no notebooks.

    Example:
        >>> from nbformat.v4 import new_code_cell, new_notebook
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
    sources, build = walk(notebooks_dir), Path(build_dir)
    build.mkdir(parents=True, exist_ok=True)
    sizes = [
        sum(cell.cell_type == "code" for cell in notebook_files.read(source).cells) for source in sources
    ]
    results, failures = [], []
    started = time.perf_counter()
    with tqdm(total=sum(sizes), unit="cell", disable=not show_progress) as bar:
        for number, source in enumerate(sources):
            bar.set_description(source.stem)
            discard(build / source.name)
            try:
                result = run_notebook(source, build / source.name, show_progress=False, on_cell=bar.update)
                results.append(result)
            except NotebookFailed as failure:
                failures.append(failure)
            except ValueError as error:
                failures.append(NotebookFailed(source, None, "", str(error)))
            bar.update(sum(sizes[: number + 1]) - bar.n)
    table = build / "results.csv"
    _write_table(results, table)
    return Report(tuple(results), tuple(failures), table, time.perf_counter() - started)


def _write_table(results: list[RunResult], table: Path) -> None:
    rows = [(r.notebook.stem, name, value) for r in results for name, value in r.numbers.items()]
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("notebook", "number", "value"), *rows])
    lines = ["| notebook | number | value |", "|---|---|---|"]
    lines += [f"| {notebook} | {name} | {rounded(value, 4)} |" for notebook, name, value in rows]
    table.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def execute(path: str | Path, show_progress: bool = True) -> list[str]:
    """Execute a committed notebook again, with its defaults, and replace it by its normal form.

    Returns:
        What still keeps it from being committed (`notebook_files.problems`); normally nothing.

    Raises:
        NotebookFailed: it did not run; the file is unchanged.

    Example:
        >>> from nbformat.v4 import new_code_cell, new_notebook
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "sum.ipynb")
        ...     notebook_files.write(new_notebook(cells=[new_code_cell("2 + 3")]), file)
        ...     execute(file, show_progress=False), notebook_files.read(file).cells[0].outputs[0].data["text/plain"]
        ([], '5')
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        run_notebook(path, made, show_progress=show_progress)
        result = normalise(notebook_files.read(made))
        notebook_files.write(result, made)
        made.replace(path)
    return notebook_files.problems(result)


def check_form(path: str | Path) -> list[str]:
    """What keeps a notebook's file from being in the committed form, one line each; empty if nothing does.

    Example:
        >>> check_form(find("00"))
        []
    """
    path = Path(path)
    notebook = notebook_files.read(path)
    found = notebook_files.problems(notebook)
    if path.read_text(encoding="utf-8") != dumps(normalise(notebook)):
        found.append("not in normal form (run: python -m helpers normalise FILE, or: make notebooks)")
    return found


def committed(folder: str | Path = ROOT / "notebooks") -> list[Path]:
    """All committed notebooks: the walk, then the solutions.

    Raises:
        FileNotFoundError: there are none.

    Example:
        >>> committed()[0].name, committed()[-1].parent.name
        ('00_index.ipynb', 'solutions')
    """
    folder = Path(folder)
    return walk(folder) + sorted((folder / "solutions").glob("*.ipynb"))


def find(name: str | Path, folder: str | Path = ROOT / "notebooks") -> Path:
    """A notebook by its path, its name (``04_digits``) or its number (``04``, ``4``).

    Raises:
        FileNotFoundError: there is none; names the nearest.

    Example:
        >>> find("4").name, find("04_digits").name
        ('04_digits.ipynb', '04_digits.ipynb')
        >>> find("04_digit")
        Traceback (most recent call last):
            ...
        FileNotFoundError: 04_digit: no such notebook; did you mean '04_digits'? ...
    """
    path = Path(name)
    if path.is_file():
        return path
    names = {source.stem: source for source in walk(folder)}
    text = path.stem if path.suffix == ".ipynb" else str(name)
    for stem, source in names.items():
        if text in (stem, stem[:2], stem[:2].lstrip("0") or "0"):
            return source
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.0)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise FileNotFoundError(f"{name}: no such notebook; {hint}(there are: {', '.join(names)})")


def fingerprint(source: str | Path) -> str:
    """A hash of what decides a notebook's numbers besides its parameters: its code, and that of `helpers`.

    Example:
        >>> fingerprint(find("00")) == fingerprint(find("00")), fingerprint(find("00")) == fingerprint(find("01"))
        (True, False)
    """
    code = [cell.source for cell in notebook_files.read(source).cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join([*code, package_hash()]).encode()).hexdigest()[:16]


def shown(path: Path) -> str:
    """A path as short as it can be told from here.

    Example:
        >>> Path(shown(Path.cwd() / "build" / "runs")).parts
        ('build', 'runs')
    """
    path, here = path.resolve(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
