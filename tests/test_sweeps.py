"""Sweeps of small notebooks with real kernels: refused, kept, redone, told; here and on a Dask cluster."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from helpers import __main__ as command
from helpers.run import notebook_files
from helpers.run.execute import fingerprint
from helpers.run.notebook_files import KERNELSPEC
from helpers.run.parameters import Domain
from helpers.run.sweeps import FileLock, comparison, sweep
from helpers.show.style import png

PARAMETERS = """\
a = 1  # a whole number (0 to 9)
word = "x"  # a word (one of: x, y)
rate = 0.5  # a number (above 0)
seconds = 0.0  # to wait (at least 0)"""


def make(path: Path, middle: str = "") -> Path:
    """A notebook that notes each execution in the file log beside it."""
    sources = [
        "import os, pathlib, signal, time",
        PARAMETERS,
        f"with open({str(path.with_name('log'))!r}, 'a') as log:\n    log.write(f'{{a}}{{word}}\\n')",
        "time.sleep(seconds)",
        middle or "pass",
        "from helpers.run.records import record\nrecord(product=a * rate, word=word)",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[1].metadata["tags"] = ["parameters"]
    notebook_files.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC}), path)
    return path


def executions(path: Path) -> list[str]:
    log = path.with_name("log")
    return sorted(log.read_text().split()) if log.is_file() else []


def rows(output: Path) -> list[list[str]]:
    with (output / "table.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def arguments(source: Path, output: Path, *more: str) -> list[str]:
    return ["sweep", str(source), "--output", str(output), "--quiet", "--workers", "2", *more]


def waited_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


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
        (["--grid", "a="], "expected name=value"),
        (["--grid", "a=1", "-p", "rat=2"], "did you mean 'rate'?"),
    ],
)
def test_what_the_notebook_does_not_take_is_refused_before_anything_runs(tmp_path, capsys, more, message):
    source = make(tmp_path / "tiny.ipynb")
    assert command.main(arguments(source, tmp_path / "out", *more)) != 0
    assert message in capsys.readouterr().err
    assert not executions(source)
    assert not (tmp_path / "out").exists()


def test_values_are_read_as_they_are_meant():
    assert command.values_of("1, 2.5,1e-3, true") == [1, 2.5, 1e-3, True]
    assert command.values_of("mlp, kernel machine, 'a,b'") == ["mlp", "kernel machine", "a,b"]
    assert command.values_of("[0, 1], [2]") == [[0, 1], [2]]
    assert command.value_of("[x, 1e-5]") == ["x", 1e-5]
    assert command.values_of("1e3, '1e3', 2E-1") == [1000.0, "1e3", 0.2]


@pytest.mark.parametrize(
    ("help", "inside", "outside"),
    [
        ("steps (at least 1)", [1, 5.5], [0, "1", True]),
        ("share (above 0, at most 1)", [0.1, 1], [0, 1.1]),
        ("number (0 to 999)", [0, 999], [-1, 1000]),
        ("score (one of: log-odds, margin)", ["margin"], ["logit", 1]),
        ("widths (at least 0; at least 2 entries)", [[0, 1]], [[1], [0, -1]]),
    ],
)
def test_a_domain_holds_what_its_words_say(help, inside, outside):
    domain = Domain.of(help)
    assert all(map(domain.holds, inside))
    assert not any(map(domain.holds, outside))
    assert Domain.of("steps (more is finer)") is None
    assert Domain.of("steps") is None


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

    # The same command runs only what failed; a mended notebook is other code, and everything is run again.
    assert command.main(asked) == 1
    assert "0 run, 3 kept, 1 failed" in capsys.readouterr().out
    assert executions(source) == ["1x", "1y", "2x", "2y", "2y"]
    make(source)
    assert command.main(asked) == 0
    told = capsys.readouterr().out
    assert "3 results were made by other code" in told
    assert "4 run, 0 kept, 0 failed" in told


def test_a_killed_driver_leaves_nothing_half_and_the_same_command_goes_on(tmp_path):
    source, output = make(tmp_path / "tiny.ipynb"), tmp_path / "out"
    asked = arguments(source, output, "--grid", "a=1,2,3,4", "-p", "seconds=0.5")
    driver = subprocess.Popen([sys.executable, "-m", "helpers", *asked], stdout=subprocess.DEVNULL)
    waited_for(lambda: len(list(output.glob("tiny-*.json"))) >= 1)
    waited_for(lambda: len(executions(source)) >= 3)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    time.sleep(3)  # the jobs see that nobody waits for them, and end
    whole = {path.name for path in output.glob("tiny-*.json")}
    before = executions(source)
    assert 1 <= len(whole) < 4
    assert not (output / "table.csv").exists()
    assert command.main(asked) == 0
    assert len(executions(source)) == len(before) + 4 - len(whole), "only what was missing was run"
    assert [row[:2] for row in rows(output)[1:]] == [["1", "0.5"], ["2", "1.0"], ["3", "1.5"], ["4", "2.0"]]
    assert not [path for path in output.iterdir() if path.is_dir()], "no folder of a killed job is left"


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


def test_no_space_left_is_told_and_what_stands_stays(tmp_path):
    source = make(tmp_path / "tiny.ipynb", "print('x' * 300_000 if a == 2 else '')")
    output = tmp_path / "out"
    asked = arguments(source, output, "--grid", "a=1,2,3")
    limit = 200_000

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    small = subprocess.run(
        [sys.executable, "-m", "helpers", *asked], preexec_fn=limited, capture_output=True, text=True
    )
    assert small.returncode == 1, small.stderr
    assert "a=2:" in small.stdout
    assert "File too large" in small.stdout
    assert "Traceback" not in small.stderr
    assert [row[0] for row in rows(output)[1:]] == ["1", "3"]
    assert command.main(asked) == 0, "with room again, the same command completes it"
    assert [row[0] for row in rows(output)[1:]] == ["1", "2", "3"]
    assert executions(source) == ["1x", "2x", "2x", "3x"]


def test_one_sweep_at_a_time_writes_to_a_folder(tmp_path):
    source = make(tmp_path / "tiny.ipynb")
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(RuntimeError, match="another sweep"):
        sweep(source, tmp_path / "out", {"a": [1]}, show_progress=False)


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


def test_a_cluster_gives_the_same_table_though_a_worker_is_killed(tmp_path, cluster):
    source, here, there = make(tmp_path / "tiny.ipynb"), tmp_path / "here", tmp_path / "there"
    grid = ["--grid", "a=1,2,3", "--grid", "word=x,y", "-p", "seconds=0.5"]
    assert command.main(arguments(source, here, *grid)) == 0
    remote = arguments(source, there, *grid, "--scheduler", cluster.scheduler_address)
    driver = subprocess.Popen([sys.executable, "-m", "helpers", *remote], stdout=subprocess.PIPE, text=True)
    waited_for(lambda: list(there.glob("tiny-*.json")))
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    told, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, told
    assert rows(there) == rows(here)
    assert len(rows(there)) == 7


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
    assert record["parameters"] == {"a": 3, "word": "y", "rate": 0.5, "seconds": 0.0}
    assert record["code"] == fingerprint(source)


def test_list_shows_parameters_and_times(capsys):
    assert command.main(["list", "04"]) == 0
    told = capsys.readouterr().out
    assert "about 40 s" in told
    assert "flow_steps = 8" in told
    assert command.main(["list", "4_digit"]) == 1
    assert "did you mean '04_digits'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run", "sweep", "list", "run-all", "execute", "normalise"])
def test_every_command_has_help(name, capsys):
    assert command.main([name, "--help"]) == 0
    assert "Usage: python -m helpers " + name in capsys.readouterr().out
