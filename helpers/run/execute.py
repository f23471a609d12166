"""Running a notebook with papermill: with other parameters, and again for the committed form.

From the command line: ``nonlinear-saliency`` (`helpers.__main__`); all notebooks: `helpers.run.suite`; many sets of
parameters: `helpers.run.sweeps`.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import papermill
import zmq
from jupyter_client.kernelspec import KernelSpecManager
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm
from traitlets.config import Config

from helpers.files import PART, ROOT
from helpers.run import notebook_files
from helpers.run.form import normalise, problems
from helpers.run.notebook_files import Notebook
from helpers.run.parameters import is_parameters
from helpers.run.records import Number, recorded

KERNEL = "python3"
EXECUTED = "nonlinear_saliency"  # in the metadata of an executed notebook: it may be replaced
PATIENCE = 1800  # seconds that a kernel has to answer before it is given up
# Without it a kernel warns, in the middle of the progress bar, that anybody on this machine can listen.
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
        record: JSON beside it: its parameters, numbers, seconds, figures, and the fingerprint of its code.
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

    @classmethod
    def read(cls, notebook: str | Path) -> "RunResult":
        """What is on record of an executed notebook.

        Raises:
            FileNotFoundError: there is no record beside it.
        """
        notebook = Path(notebook)
        record = record_file(notebook)
        content = json.loads(record.read_text(encoding="utf-8"))
        figures = tuple(notebook.parent / name for name in content["figures"])
        return cls(notebook, record, figures, content["parameters"], content["numbers"], content["seconds"])


def record_file(notebook: str | Path) -> Path:
    """Where the record of an executed notebook lies.

    Example:
        >>> record_file("build/04_digits.ipynb").name
        '04_digits.json'
    """
    return Path(notebook).with_suffix(".json")


def _figures_folder(notebook: Path) -> Path:
    return notebook.with_name(f"{notebook.stem}_figures")


def run_notebook(
    source: str | Path | Notebook,
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
        source: the notebook: its file, or what was read from it.
        destination: file name of the executed notebook; folders are made.
        parameters: name -> value, for some of the names in the notebook's parameters cell.
        show_progress: a progress bar over the cells.
        timeout: seconds that one cell may take; None for any.
        on_cell: called after each code cell.

    Raises:
        FileNotFoundError: there is no such notebook.
        ParameterError: unknown parameter or wrong type; nothing was run.
        ValueError: the destination is the source, or does not end in .ipynb.
        FileExistsError: at the destination is something that no run has made.
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
    source, destination = Notebook.of(source), Path(destination)
    if destination.suffix != ".ipynb":
        raise ValueError(f"destination: expected a name that ends in .ipynb, got {destination}")
    if destination.resolve() == source.path.resolve():
        raise ValueError(f"destination: expected another file than the notebook itself, got {destination}")
    require_replaceable(destination)
    values = source.values(parameters or {})
    given = {name: values[name] for name in parameters or {}}
    destination.parent.mkdir(parents=True, exist_ok=True)
    with _made_beside(destination) as made:
        started = time.perf_counter()
        notebook = _execute(source, given, show_progress, timeout, on_cell)
        seconds = time.perf_counter() - started
        try:
            numbers = recorded(notebook)
        except ValueError as error:
            raise NotebookFailed(source.path, None, "", str(error)) from error
        notebook.metadata.pop("papermill", None)
        notebook.metadata[EXECUTED] = {"notebook": source.path.stem, "code": source.fingerprint}
        notebook_files.write(notebook, made)
        figures = _write_figures(notebook, _figures_folder(destination).name, made.parent)
        content = {
            "notebook": source.path.stem,
            "code": source.fingerprint,
            "parameters": values,
            "numbers": numbers,
            "seconds": round(seconds, 3),
            "figures": figures,
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        record_file(made).write_text(text, encoding="utf-8")
        with _uninterrupted():
            discard(destination)
            made.replace(destination)
            if figures:
                _figures_folder(made).replace(_figures_folder(destination))
            record_file(made).replace(record_file(destination))
    return RunResult.read(destination)


@contextmanager
def _made_beside(destination: Path) -> Iterator[Path]:
    """A file of the same name in a folder of its own, to be moved from there; the folder goes in the end."""
    prefix = f".{destination.stem[:40]}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=PART, dir=destination.parent))
    try:
        yield folder / destination.name
    finally:
        with _uninterrupted():
            shutil.rmtree(folder)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """An interrupt waits until this is done (not on Windows)."""
    mask = getattr(signal, "pthread_sigmask", None)
    before = mask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else None
    try:
        yield
    finally:
        if mask:
            mask(signal.SIG_SETMASK, before)


def _write_figures(notebook: NotebookNode, name: str, folder: Path) -> list[str]:
    """Write a notebook's figures; their names, relative to the folder."""
    (folder / name).mkdir()
    names = []
    for number, picture in enumerate(notebook_files.figures(notebook), start=1):
        names.append(f"{name}/{number:02d}.png")
        (folder / names[-1]).write_bytes(picture)
    return names


def require_replaceable(destination: str | Path) -> None:
    """Raises FileExistsError if at a destination is something that `run_notebook` has not made.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "report_figures").mkdir()
        ...     Path(folder, "report_figures", "mine.png").touch()
        ...     require_replaceable(Path(folder, "report.ipynb"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        FileExistsError: ...report_figures: no run has made it; move it away, or name another destination
    """
    destination = Path(destination)
    record, figures = record_file(destination), _figures_folder(destination)
    content = _json(record)
    whole = set(content) >= {"notebook", "code", "parameters", "numbers", "figures"}
    executed = whole or EXECUTED in _json(destination).get("metadata", {})
    made = [Path(name).name for name in content["figures"]] if whole else _names(figures, "[0-9]*.png")
    if record.exists() and not whole:
        foreign = record
    elif destination.exists() and not executed:
        foreign = destination
    elif figures.exists() and not (executed and set(_names(figures, "*")) <= set(made)):
        foreign = figures
    else:
        return
    raise FileExistsError(f"{foreign}: no run has made it; move it away, or name another destination")


def _json(path: Path) -> dict:
    """The content of a JSON file; empty if it is not there or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _names(folder: Path, pattern: str) -> list[str]:
    return [path.name for path in folder.glob(pattern)]


def discard(destination: str | Path) -> None:
    """Remove an executed notebook, its record (first) and its figures, as far as they are there.

    Raises:
        FileExistsError: as `require_replaceable`; nothing is removed.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     notebook = Path(folder, "04.ipynb")
        ...     _ = notebook.write_text('{"metadata": {"nonlinear_saliency": {}}}')
        ...     discard(notebook)
        ...     notebook.exists()
        False
    """
    destination = Path(destination)
    require_replaceable(destination)
    # The notebook last: as long as it is there, the figures are known as those of a run.
    record_file(destination).unlink(missing_ok=True)
    shutil.rmtree(_figures_folder(destination), ignore_errors=True)
    destination.unlink(missing_ok=True)


def _execute(source: Notebook, parameters: dict, show_progress, timeout, on_cell) -> NotebookNode:
    """The notebook executed by papermill, or NotebookFailed."""
    _check_kernel()
    # papermill puts a cell of its own behind the parameters cell where there are parameters to be set.
    own = [place for place, cell in enumerate(source.node.cells) if is_parameters(cell)] if parameters else []
    last = {}
    bar = tqdm(
        total=len(source.code) + len(own), desc=source.path.stem, unit="cell", disable=not show_progress
    )

    def place_of(index: int) -> int:
        return index + 1 - sum(index > place for place in own)

    def started(cell, cell_index, **_):
        last.update(cell=place_of(cell_index), source=cell.source)

    def finished(**_):
        bar.update()
        if on_cell:
            on_cell()

    def failed(cell: int | None, code: str, text: str) -> NotebookFailed:
        return NotebookFailed(source.path, cell, code, notebook_files.plain(text))

    try:
        with bar, _kernel_environment():
            notebook = papermill.execute_notebook(
                source.node,
                None,
                parameters,
                kernel_name=KERNEL,
                language="python",
                progress_bar=False,
                execution_timeout=timeout,
                # On a busy machine a kernel takes more than a minute to start, an output more than 4 s to arrive.
                start_timeout=PATIENCE,
                iopub_timeout=PATIENCE,
                # A kernel that has loaded torch lets the polite request to leave run out (2.5 s), every time.
                shutdown_kernel="immediate",
                config=ENCRYPTED,
                on_cell_execute=started,
                on_cell_executed=finished,
            )
    except PapermillExecutionError as error:
        text = "\n".join(error.traceback) or f"{error.ename}: {error.evalue}"
        raise failed(place_of(error.cell_index), error.source, text) from error
    except Exception as error:
        # The kernel died or did not start, or a cell took too long: papermill passes on errors of all kinds.
        raise failed(last.get("cell"), last.get("source", ""), f"{type(error).__name__}: {error}") from error
    for index, text in notebook_files.errors(notebook):
        if index is None:
            raise failed(None, "", f"in a widget's callback:\n\n{text}")
        # papermill lets sys.exit() pass as a success, with the rest of the notebook not executed.
        raise failed(place_of(index), notebook.cells[index].source, text)
    return notebook


def _check_kernel() -> None:
    """That the kernel runs this interpreter: `python3` of another environment has other packages."""
    kernels = KernelSpecManager()
    file = Path(kernels.find_kernel_specs().get(KERNEL, ""), "kernel.json")
    remedy = "remove that kernel (jupyter kernelspec list), or unset JUPYTER_PATH"
    try:
        command = kernels.get_kernel_spec(KERNEL).argv[0]
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise RuntimeError(f"{file}: expected a command in argv, found none; {remedy}") from error
    # A bare "python" is replaced by sys.executable when the kernel starts.
    folder = Path(command).parent
    if Path(command).is_absolute() and folder.resolve() != Path(sys.executable).parent.resolve():
        raise RuntimeError(f"the Jupyter kernel {KERNEL!r} runs {command}, not {sys.executable}: {remedy}")


@contextmanager
def _kernel_environment() -> Iterator[None]:
    """Kernels inherit the environment.

    With a caller's MPLBACKEND=Agg no figure would reach the notebook; a helpers.py in the caller's folder would
    be taken for this package, which is therefore found before that folder.
    """
    before = {name: os.environ.get(name) for name in ("MPLBACKEND", "PYTHONPATH")}
    os.environ.pop("MPLBACKEND", None)
    os.environ["PYTHONPATH"] = python_path()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def python_path() -> str:
    """PYTHONPATH with this package in front.

    Example:
        >>> python_path().split(os.pathsep)[0] == str(ROOT)
        True
    """
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def execute(path: str | Path, show_progress: bool = True) -> list[str]:
    """Execute a committed notebook again, with its defaults, and replace it by its normal form.

    Returns:
        What still keeps it from being committed (`form.problems`); normally nothing.

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
    notebook = Notebook.read(path)
    result = normalise(_execute(notebook, {}, show_progress, None, None))
    notebook_files.write(result, path)
    return problems(result)


def shown(path: Path) -> str:
    """A path as short as it can be told from here.

    Example:
        >>> Path(shown(Path.cwd() / "build" / "runs")).parts
        ('build', 'runs')
    """
    path, here = path.resolve(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
