"""Notebooks side by side: each in a process of its own, on this machine or by the workers of a Dask cluster.

A process reads its job from its standard input, writes a line to its standard output after each code cell, and
ends when its standard input is closed: when the one that waits for it stops, or is killed.
"""

import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.files import PART
from helpers.run.execute import python_path, run_notebook

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# A job whose process was killed (no memory, say) gets so many attempts.
ATTEMPTS = 2
# jsonschema, which nbformat imports, would compile a grammar for IRIs: a second, and notebooks have none.
PROCESS = """\
import sys
sys.modules["rfc3987_syntax"] = None
from helpers.run.jobs import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Job:
    """One run of a notebook.

    Attributes:
        name: what tells it from the others.
        source, destination: the notebook and what is to be written, absolute paths as texts: a worker elsewhere
            must see the same ones.
        parameters: name -> value, those that are given.
        threads: of the process.
        folder: where the kernel starts, from which relative paths among the parameters count.

    Example:
        >>> Job("steps=8", "/walk/04.ipynb", "/out/04.ipynb", {"steps": 8}, threads=1).name
        'steps=8'
    """

    name: str
    source: str
    destination: str
    parameters: dict
    threads: int
    folder: str = field(default_factory=os.getcwd)


@dataclass(frozen=True)
class Failure:
    """A job that did not run to its end: its name, and why, with cell and traceback where there is one.

    Example:
        >>> print(str(Failure("steps=0", "04_digits.ipynb failed in cell 7: ...")).splitlines()[1])
        steps=0:
    """

    name: str
    text: str

    def __str__(self) -> str:
        return f"{'-' * 80}\n{self.name}:\n{self.text.rstrip()}\n"


def cores() -> int:
    """How many cores this process may use.

    Example:
        >>> cores() >= 1
        True
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS, not on Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def alone_in(folder: Path, *written: str) -> Iterator[None]:
    """Nobody else runs jobs into a folder meanwhile; what killed ones left there half-written is removed.

    Args:
        written: names of files and folders that the caller replaces there, beside those of the jobs.

    Raises:
        RuntimeError: somebody else does.
        FileExistsError: the folder is used for the first time, and one of those names is there.
    """
    lock = folder / ".lock"
    for path in (folder / name for name in written):
        if path.exists() and not lock.exists():
            raise FileExistsError(f"{path}: no run has made it; move it away, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            for left in folder.glob(f".*-*{PART}"):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
            yield
    except Timeout as error:
        raise RuntimeError(
            f"{folder}: another command is writing to this folder; wait for it, or name another"
        ) from error


def run_jobs(
    jobs: list[Job],
    workers: int | None = None,
    scheduler: str | None = None,
    on_cell: Callable[[Job], None] = lambda job: None,
) -> Iterator[tuple[Job, str | None]]:
    """Run jobs; each with None, or the reason why it failed, as they end.

    Closing the iterator, or Ctrl-C, ends the processes; they leave nothing half-written.

    Args:
        jobs: begun in this order.
        workers: processes at a time, on this machine; None: as many as cores.
        scheduler: address of a Dask scheduler, whose workers run the jobs instead.
        on_cell: called after each code cell of a job, from several threads; not on a cluster.

    Raises:
        RuntimeError: a scheduler is given and the package distributed is not installed.
        OSError: the scheduler does not answer.
    """
    if not jobs:
        return
    pool = Cluster(scheduler) if scheduler else Processes(workers or cores(), on_cell)
    try:
        futures = {pool.submit(job): job for job in jobs}
        for future in concurrent.futures.as_completed(futures):
            error = future.exception()
            yield futures[future], f"{type(error).__name__}: {error}" if error else future.result()
    finally:
        pool.close()


class Processes:
    """Jobs on this machine: a thread for each at work, which only waits for its process."""

    def __init__(self, workers: int, on_cell: Callable[[Job], None]):
        self._threads = concurrent.futures.ThreadPoolExecutor(workers)
        self._on_cell = on_cell
        self._lock, self._closed = threading.Lock(), False
        self._started: list[subprocess.Popen] = []

    def submit(self, job: Job) -> concurrent.futures.Future:
        return self._threads.submit(run_job, job, self._begun, self._on_cell)

    def _begun(self, process: subprocess.Popen) -> None:
        with self._lock:
            self._started.append(process)
            if self._closed:
                process.stdin.close()

    def close(self) -> None:
        """End what still runs, and wait until it has tidied up."""
        with self._lock:
            self._closed = True
            for process in self._started:
                process.stdin.close()
        self._threads.shutdown(cancel_futures=True)


class Cluster:
    """Jobs by the workers of a Dask cluster."""

    def __init__(self, scheduler: str):
        try:
            from distributed import Client
        except ImportError as error:
            raise RuntimeError(
                "scheduler: needs the package distributed, which is not installed: pip install 'distributed', "
                "or this project with its extra, pip install -e '.[cluster]'"
            ) from error
        self._client = Client(scheduler)
        # Not pure: the same call writes files. A job whose worker dies is sent to another one.
        self._executor = self._client.get_executor(pure=False, retries=ATTEMPTS - 1)

    def submit(self, job: Job) -> concurrent.futures.Future:
        return self._executor.submit(run_job, job)

    def close(self) -> None:
        self._executor.shutdown(wait=False)
        self._client.close()


def run_job(
    job: Job,
    begun: Callable[[subprocess.Popen], None] = lambda process: None,
    on_cell: Callable[[Job], None] = lambda job: None,
) -> str | None:
    """Run one job in a process of its own; None, or why it failed.

    Args:
        begun: called with each process that was started; closing its standard input ends it.
        on_cell: called after each code cell.

    Example:
        >>> run_job(Job("no", "no.ipynb", "build/no.ipynb", {}, threads=1))
        'no.ipynb: no such notebook. Every worker needs the notebook and the output under the same paths.'
    """
    if not Path(job.folder).is_dir():
        return f"{job.folder}: no such folder. Every worker needs the caller's folder under the same path."
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
            code = _process(job, said, begun, on_cell)
            said.seek(0)
            text = said.read().strip()
        if code == 0:
            return None
        if code > 0:
            return text or f"the process ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"the process was killed ({name}) {ATTEMPTS} times, for lack of memory perhaps.\n{text}".strip()


def _process(job: Job, said, begun, on_cell) -> int:
    """One attempt at a job; the exit code of its process, negative if a signal killed it."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PROCESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,  # a file: a kernel that outlives its killed process would keep a pipe open
        env={
            **os.environ,
            **dict.fromkeys(THREADS, str(job.threads)),
            "PYTHONPATH": python_path(),
        },
        text=True,
        cwd=job.folder,
        start_new_session=True,  # a Ctrl-C is for the one that waits, and reaches this process through its pipe
    )
    with suppress(BrokenPipeError), process:
        process.stdin.write(json.dumps([job.source, job.destination, job.parameters]) + "\n")
        process.stdin.flush()
        begun(process)
        for _ in process.stdout:
            on_cell(job)
    return process.wait()


def main() -> int:
    """The process of one job; returns its exit code, and says on standard error why it failed."""
    # A shell lets what it starts in the background ignore this signal, and processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Kernels inherit standard output: what they print there is not a cell's end. Never closed before this process
    # ends: the one that waits takes the end of its output for that, and closes the pipe that interrupts it.
    cells = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        source, destination, parameters = json.loads(sys.stdin.readline())
        threading.Thread(target=_interrupt_when_unwanted, daemon=True).start()
        run_notebook(
            source,
            destination,
            parameters,
            show_progress=False,
            on_cell=lambda: os.write(cells, b"cell\n"),
        )
    except FileNotFoundError as error:
        # a worker elsewhere may not have the folders of the computer that sent the job
        reason = f"{error}. Every worker needs the notebook and the output under the same paths."
    except FileExistsError as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be written: {error}. Make room and give the same command again."
    except (RuntimeError, ValueError) as error:
        reason = str(error)
    except KeyboardInterrupt:
        reason = "interrupted"
    else:
        return 0
    print(reason, file=sys.stderr)
    return 1


def _interrupt_when_unwanted() -> None:
    """Waits for the end of the one that waits for this process."""
    # Not sys.stdin: a thread that holds its lock is in the way of the interpreter's end.
    while os.read(0, 1):
        pass
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
