"""Jobs of small notebooks with real kernels: refused, kept, redone, killed, told; here and on a Dask cluster."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import pytest

from helpers import __main__ as command
from helpers.run import notebook_files
from helpers.run.jobs import Job, alone_in, run_job
from helpers.run.notebook_files import Notebook
from helpers.run.sweeps import comparison, sweep
from helpers.show.style import png

# A safety net against a test that hangs, not a judgement: a busy machine is slow.
CEILING = 1800

PARAMETERS = """\
a = 1  # a whole number (0 to 9)
word = "x"  # a word (one of: x, y)
rate = 0.5  # a number (above 0)"""


def make(path: Path, middle: str = "") -> Path:
    """A notebook that notes each execution in the file log beside it; ``gate`` is a path there, too."""
    sources = [
        "import os, pathlib, signal, time",
        PARAMETERS,
        f"gate = pathlib.Path({str(path.with_name('gate'))!r})",
        "with open(gate.with_name('log'), 'a') as log:\n    log.write(f'{a}{word}\\n')",
        middle or "pass",
        "from helpers.run.records import record\nrecord(product=a * rate, word=word)",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[1].metadata["tags"] = ["parameters"]
    notebook_files.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


# A cell that waits until the test opens the gate.
WAIT = "while not gate.exists():\n    time.sleep(0.05)"
WAIT_UNLESS_1 = f"if a > 1:\n    {WAIT.replace(chr(10), chr(10) + '    ')}"


def executions(path: Path) -> list[str]:
    log = path.with_name("log")
    return sorted(log.read_text().split()) if log.is_file() else []


def rows(output: Path) -> list[list[str]]:
    with (output / "table.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def arguments(source: Path, output: Path, *more: str) -> list[str]:
    return ["sweep", str(source), "--output", str(output), "--quiet", "--workers", "2", *more]


def wait_until(condition, goes_on) -> None:
    """Wait until something has happened; in vain if what it comes from has ended."""
    end = time.monotonic() + CEILING
    while not condition():
        assert goes_on(), "it ended before"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def half_written(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".") and path.name != ".lock"]


# ---- what is asked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--grid", "b=1,2"], "no parameter 'b'"),
        (["--grid", "a=1,x"], "parameter 'a': expected a whole number"),
        (["--grid", "a=1,12"], "parameter 'a': expected 0 to 9, got 12"),
        (["--grid", "word=x,yy"], "expected one of: x, y, got 'yy'"),
        (["--grid", "rate=0"], "expected above 0, got 0"),
        (["--grid", "a=1,1"], "expected different values"),
        (["--grid", "a=1,2", "-p", "a=3"], "a is also fixed to 3"),
        (["--grid", "a=1,2", "--grid", "a=3"], "'a' is given twice"),
        (["--grid", "a"], "expected name=value"),
        (["--grid", "a=1", "-p", "rat=2"], "did you mean 'rate'?"),
    ],
)
def test_what_the_notebook_does_not_take_is_refused_before_anything_runs(tmp_path, capsys, more, message):
    source = make(tmp_path / "tiny.ipynb")
    assert command.main(arguments(source, tmp_path / "out", *more)) != 0
    assert message in capsys.readouterr().err
    assert not executions(source)
    assert not (tmp_path / "out").exists()


# ---- what comes out ----------------------------------------------------------------------------------------


def test_every_combination_is_a_notebook_and_a_row_and_a_failure_loses_only_itself(tmp_path, capsys):
    source = make(tmp_path / "tiny.ipynb", "if a == 2 and word == 'y': raise KeyError('lost')")
    output = tmp_path / "out"
    asked = arguments(source, output, "--grid", "a=1,2", "--grid", "word=x,y", "-p", "rate=2")
    assert command.main(asked) == 1
    told = capsys.readouterr().out
    assert "a=2, word=y:\ntiny.ipynb failed in cell 5" in told
    assert "KeyError: 'lost'" in told
    assert "4 combinations: 3 run, 0 kept, 1 failed" in told
    assert rows(output) == [
        ["a", "word", "product", "word (number)"],
        ["1", "x", "2.0", "x"],
        ["1", "y", "2.0", "y"],
        ["2", "x", "4.0", "x"],
    ]
    assert "KeyError: 'lost'" in next((output / "failures").iterdir()).read_text()
    assert (output / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(output.glob("tiny-*.ipynb"))) == len(list(output.glob("tiny-*.json"))) == 3

    # The same command runs only what failed; a mended notebook is other code, and is run again.
    assert command.main(asked) == 1
    assert "0 run, 3 kept, 1 failed" in capsys.readouterr().out
    assert executions(source) == ["1x", "1y", "2x", "2y", "2y"]
    make(source)
    assert command.main(arguments(source, output, "--grid", "a=1", "--grid", "word=x", "-p", "rate=2")) == 0
    told = capsys.readouterr().out
    assert "1 results were made by other code" in told
    assert "1 run, 0 kept, 0 failed" in told


def test_a_killed_driver_leaves_nothing_half_and_the_same_command_goes_on(tmp_path):
    source, output = make(tmp_path / "tiny.ipynb", WAIT_UNLESS_1), tmp_path / "out"
    asked = arguments(source, output, "--grid", "a=1,2,3")
    driver = psutil.Popen(
        [sys.executable, "-m", "helpers", *asked],
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_IGN
        ),  # as a shell starts it in the background
    )
    wait_until(lambda: list(output.glob("tiny-*.json")), lambda: driver.poll() is None)
    wait_until(lambda: len(executions(source)) == 3, lambda: driver.poll() is None)
    started = driver.children(recursive=True)
    driver.kill()
    driver.wait()
    # The jobs see that nobody waits for them any more, their kernels that they have gone.
    assert not psutil.wait_procs(started, timeout=CEILING)[1]
    assert len(list(output.glob("tiny-*.json"))) == 1
    assert not half_written(output)
    assert not (output / "table.csv").exists()
    # What a job leaves that was killed itself.
    (output / ".tiny-killed.part").mkdir()
    source.with_name("gate").touch()
    assert command.main(asked) == 0
    assert len(executions(source)) == 5, "only what was missing was run"
    assert [row[:2] for row in rows(output)[1:]] == [["1", "0.5"], ["2", "1.0"], ["3", "1.5"]]
    assert not half_written(output)


def test_a_killed_kernel_and_a_killed_process_are_told_and_the_others_kept(tmp_path, capsys):
    kill = "os.kill(os.getpid() if a == 2 else os.getppid(), signal.SIGKILL) if a in (2, 3) else None"
    source, output = make(tmp_path / "tiny.ipynb", kill), tmp_path / "out"
    assert command.main(arguments(source, output, "--grid", "a=1,2,3")) == 1
    told = capsys.readouterr().out
    assert "a=2:" in told
    assert "tiny.ipynb failed in cell 5" in told
    assert "a=3:\nthe process was killed (SIGKILL) 2 times" in told
    assert "1 run, 0 kept, 2 failed" in told
    assert [row[0] for row in rows(output)[1:]] == ["1"]
    assert executions(source).count("3x") == 2, "a killed process gets a second attempt"


def test_no_space_left_is_told_and_what_stands_stays(tmp_path, capsys):
    source = make(tmp_path / "tiny.ipynb", "print('x' * 300_000 if a == 2 else '')")
    output = tmp_path / "out"
    asked = arguments(source, output, "--grid", "a=1,2")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))  # the jobs inherit it
    try:
        assert command.main(asked) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    small = capsys.readouterr()
    assert "a=2:\ncannot be written: " in small.out
    assert "File too large" in small.out
    assert "Traceback" not in small.err
    assert [row[0] for row in rows(output)[1:]] == ["1"]
    assert not half_written(output)
    assert command.main(asked) == 0, "with room again, the same command completes it"
    assert [row[0] for row in rows(output)[1:]] == ["1", "2"]
    assert executions(source) == ["1x", "2x", "2x"]


def test_one_sweep_at_a_time_writes_to_a_folder(tmp_path):
    source = make(tmp_path / "tiny.ipynb")
    with alone_in(tmp_path / "out"), pytest.raises(RuntimeError, match="another command is writing"):
        sweep(source, tmp_path / "out", {"a": [1]}, show_progress=False)


@pytest.mark.parametrize("whom", ["the command alone", "the terminal"])
def test_an_interrupted_command_ends_all_it_started_and_leaves_nothing_half(tmp_path, whom):
    folder, build = tmp_path / "notebooks", tmp_path / "build"
    folder.mkdir()
    source = make(folder / "01_quick.ipynb")
    make(folder / "02_slow.ipynb", WAIT)
    asked = ["run-all", "--notebooks", str(folder), "--build", str(build)]
    driver = psutil.Popen(
        [sys.executable, "-m", "helpers", *asked],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # whatever these tests were started with
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until((build / "01_quick.json").exists, lambda: driver.poll() is None)
    wait_until(lambda: len(executions(source)) == 2, lambda: driver.poll() is None)
    started = driver.children(recursive=True)
    # Ctrl-C goes to all processes of the terminal, `kill -INT` to one.
    (os.kill if whom == "the command alone" else os.killpg)(driver.pid, signal.SIGINT)
    _, said = driver.communicate()
    assert driver.returncode == 130, said
    assert "interrupted" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not psutil.wait_procs(started, timeout=CEILING)[1]
    assert sorted(path.name for path in build.iterdir()) == [".lock", "01_quick.ipynb", "01_quick.json"]
    assert executions(source) == ["1x", "1x"], "none was begun again"


def test_the_plot_has_a_panel_a_number_and_a_line_a_combination_of_the_others():
    swept = [{"a": a, "b": b} for a in (2, 1) for b in ("x", "y")]
    numbers = [{"up": own["a"] * 1.0, "same": 1, "word": own["b"]} for own in swept]
    figure = comparison("tiny", swept, numbers)
    (axes,) = figure.axes
    assert axes.get_title() == "up"
    assert [line.get_label() for line in axes.get_lines()] == ["b = x", "b = y"]
    assert axes.get_lines()[0].get_xydata().tolist() == [[1, 1], [2, 2]]
    assert png(figure, "x")
    assert comparison("tiny", swept, [{"same": 1}] * 4) is None


# ---- on a cluster ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(host="127.0.0.1", processes=True, **options) as found:
        yield found


def test_a_cluster_completes_the_table_though_a_worker_is_killed(tmp_path, cluster, monkeypatch):
    source, output = (
        make(tmp_path / "tiny.ipynb", f"{WAIT}\npathlib.Path(f'made-{{a}}').touch()"),
        tmp_path / "out",
    )
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere
    grid = {"a": [1, 2], "word": ["x"]}
    victim = next(iter(cluster.workers.values())).pid
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            sweep, source, output, grid, scheduler=cluster.scheduler_address, show_progress=False
        )
        wait_until(lambda: executions(source) == ["1x", "2x"], lambda: not asked.done())
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(executions(source)) == 3, lambda: not asked.done())
        source.with_name("gate").touch()
        report = asked.result()
    assert (report.ran, report.failures) == (2, ())
    assert sorted(path.name for path in tmp_path.glob("made-*")) == ["made-1", "made-2"], (
        "the caller's folder"
    )
    assert rows(output) == [
        ["a", "word", "product", "word (number)"],
        ["1", "x", "0.5", "x"],
        ["2", "x", "1.0", "x"],
    ]


def test_a_folder_that_a_worker_does_not_have_is_named(tmp_path):
    job = Job("a", str(make(tmp_path / "tiny.ipynb")), str(tmp_path / "x.ipynb"), {}, 1, str(tmp_path / "no"))
    assert run_job(job).startswith(f"{tmp_path / 'no'}: no such folder. Every worker needs")


def test_a_missing_package_is_asked_for_by_name(tmp_path, monkeypatch, capsys):
    source = make(tmp_path / "tiny.ipynb")
    monkeypatch.setitem(sys.modules, "distributed", None)
    remote = arguments(source, tmp_path / "out", "--grid", "a=1", "--scheduler", "tcp://127.0.0.1:1")
    assert command.main(remote) == 1
    assert "pip install 'distributed'" in capsys.readouterr().err
    assert not executions(source)


# ---- the rest of the command -------------------------------------------------------------------------------


def test_run_leaves_notebook_and_record(tmp_path, capsys):
    source = make(tmp_path / "tiny.ipynb")
    output = tmp_path / "out" / "mine.ipynb"
    assert command.main(["run", str(source), "-p", "a=3", "-p", "word=y", "-o", str(output), "--quiet"]) == 0
    assert "product: 1.5" in capsys.readouterr().out
    record = json.loads(output.with_suffix(".json").read_text())
    assert record["parameters"] == {"a": 3, "word": "y", "rate": 0.5}
    assert record["code"] == Notebook.read(source).fingerprint


def test_list_shows_parameters_and_times(capsys):
    assert command.main(["list", "04"]) == 0
    told = capsys.readouterr().out
    assert "about 30 s" in told
    assert "flow_steps = 8" in told
    assert command.main(["list", "4_digit"]) == 1
    assert "did you mean '04_digits'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run", "sweep", "list", "run-all", "execute", "normalise"])
def test_every_command_has_help(name, capsys):
    assert command.main([name, "--help"]) == 0
    assert "Usage: nonlinear-saliency " + name in capsys.readouterr().out
