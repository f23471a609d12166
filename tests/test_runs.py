"""Running notebooks: real kernels on small notebooks; what is refused, written, left alone."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from helpers import __main__ as command
from helpers.files import FRAMES, ROOT
from helpers.run import form, notebook_files, records
from helpers.run.execute import NotebookFailed, discard, run_notebook
from helpers.run.form import KERNELSPEC, LANGUAGE_INFO, WIDGET_VIEW, check_form, normalise
from helpers.run.notebook_files import Notebook, dumps
from helpers.run.parameters import Parameter, ParameterError
from helpers.run.records import record

PARAMETERS = """\
steps = 3  # steps of the walk
rate = 0.5  # length of a step
label = "a"  # name of the run
loud = False  # say more
widths = [1, 2]  # widths to try"""

FIGURE = """\
import matplotlib.pyplot as plt
plt.plot([0, steps])
plt.show()"""

# One without matplotlib, which takes a kernel a second to import.
PIXEL = """\
import base64
from IPython.display import Image
pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
Image(data=base64.b64decode(pixel), format="png")"""

RECORD = """\
from helpers.run.records import record
record(total=steps * rate, label=label, loud=loud, widths=len(widths))"""


def make(path: Path, *sources: str, parameters: str | None = PARAMETERS) -> Path:
    """A notebook of code cells, the first tagged as parameters, behind one of text."""
    cells = [nbformat.v4.new_markdown_cell("# A title")]
    if parameters is not None:
        cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    # No kernelspec: a notebook just written by a program has none either.
    notebook = nbformat.v4.new_notebook(cells=cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook_files.write(notebook, path)
    return path


def output(data: dict, **more) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data, **more)


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def earlier_run(notebook: Path) -> None:
    """What a run has left, as far as it matters here."""
    notebook.write_text("from an earlier run")
    record = {"notebook": "x", "code": "", "parameters": {}, "numbers": {}, "figures": []}
    notebook.with_suffix(".json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One notebook, run with two of its parameters changed, from a folder and to one that are difficult."""
    folder = tmp_path_factory.mktemp("my {suite}")
    (folder / "helpers.py").write_text("raise RuntimeError('this is not the package')")
    source = make(folder / "05_small.ipynb", FIGURE, PIXEL, "import sys\nsys.executable", RECORD)
    before = source.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        patch.chdir(folder)
        result = run_notebook(
            source, folder / "out {2024}" / "x.ipynb", {"steps": 8, "rate": 2}, show_progress=False
        )
        assert os.environ["MPLBACKEND"] == "Agg"
    assert source.read_bytes() == before
    return result


def test_run_uses_the_given_parameters_and_the_defaults_of_the_others(finished):
    assert finished.parameters == {"steps": 8, "rate": 2.0, "label": "a", "loud": False, "widths": [1, 2]}
    assert finished.numbers == {"total": 16.0, "label": "a", "loud": False, "widths": 2}


def test_braces_in_paths_are_braces(finished):
    assert finished.notebook.parent.name == "out {2024}"
    assert finished.notebook.is_file()


def test_a_helpers_py_in_the_callers_folder_is_not_taken_for_the_package(finished):
    """Nor by the installed command, which `python -m helpers` would be."""
    assert finished.numbers["label"] == "a"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["scripts"]["nonlinear-saliency"].split(":")
    asked = subprocess.run(
        [sys.executable, "-P", "-c", f"from {module} import {function}; {function}(['--help'])"],
        cwd=finished.notebook.parent.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert asked.stdout.startswith("Usage: nonlinear-saliency"), asked.stderr


def test_run_leaves_notebook_record_and_figures_and_nothing_else(finished):
    folder = finished.notebook.parent
    assert everything_in(folder) == ["x.ipynb", "x.json", "x_figures", "x_figures/01.png", "x_figures/02.png"]
    assert finished.figures == (folder / "x_figures/01.png", folder / "x_figures/02.png")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in finished.figures)


def test_record_file_tells_what_ran(finished):
    content = json.loads(finished.record.read_text(encoding="utf-8"))
    assert content["notebook"] == "05_small"
    assert content["parameters"] == finished.parameters
    assert content["numbers"] == finished.numbers
    assert content["figures"] == ["x_figures/01.png", "x_figures/02.png"]
    assert 0 < content["seconds"] == pytest.approx(finished.seconds, abs=1e-3)


def test_run_uses_this_interpreter_in_an_environment_that_is_not_activated(finished):
    texts = [
        o.data["text/plain"]
        for c in notebook_files.read(finished.notebook).cells
        for o in c.get("outputs", [])
        if o.output_type == "execute_result" and "image/png" not in o.data
    ]
    assert texts == [repr(sys.executable)]


def test_executed_notebook_holds_no_temporary_name(finished):
    text = finished.notebook.read_text(encoding="utf-8")
    assert ".x-" not in text
    assert "papermill" not in notebook_files.read(finished.notebook).metadata


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"step": 4}, r"has no parameter 'step'; did you mean 'steps'\? \(its parameters: steps, rate, "),
        ({"Rate": 4}, "did you mean 'rate'"),
        ({"steps": 4.0}, r"'steps': expected a whole number, like its default 3, got 4.0 \(float\)"),
        ({"steps": True}, r"'steps': expected a whole number.*got True \(bool\)"),
        ({"steps": "4"}, r"'steps': expected a whole number.*got '4' \(str\)"),
        ({"rate": "fast"}, "'rate': expected a finite number"),
        ({"rate": True}, "'rate': expected a finite number"),
        ({"rate": math.nan}, "'rate': expected a finite number"),
        ({"rate": None}, "'rate': expected a finite number"),
        ({"label": 1}, "'label': expected a text"),
        ({"loud": 1}, "'loud': expected True or False"),
        ({"widths": 3}, "'widths': expected a list, each element a whole number"),
        ({"widths": [1, "2"]}, "'widths': expected a list, each element a whole number"),
    ],
)
def test_parameters_that_the_notebook_cannot_take_are_refused_before_anything_runs(tmp_path, given, message):
    source = make(tmp_path / "source.ipynb", RECORD)
    with pytest.raises(ParameterError, match=message):
        run_notebook(source, tmp_path / "out" / "x.ipynb", given)
    assert everything_in(tmp_path) == ["source.ipynb"]


def test_parameters_that_fit_are_taken(tmp_path):
    source = make(tmp_path / "source.ipynb")
    given = {"steps": -4, "rate": 7, "label": "", "loud": True, "widths": []}
    values = Notebook.read(source).values(given)
    assert values == given
    assert type(values["rate"]) is float


def test_parameters_are_read_with_their_help(tmp_path):
    found = Notebook.read(make(tmp_path / "source.ipynb")).parameters
    assert list(found) == ["steps", "rate", "label", "loud", "widths"]
    assert found["rate"] == Parameter("rate", 0.5, "length of a step")
    assert Notebook.read(make(tmp_path / "none.ipynb", "1", parameters=None)).parameters == {}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("steps = 3  # a = b", "papermill cannot read steps"),
        ("steps = 2 * 3  # six", "expected a plain number, text, truth value or list, got 'steps = 2 \\* 3'"),
        ("steps = {'a': 1}  # a dict", "expected a plain number"),
        ("steps = (1, 2)  # a tuple, which papermill would pass on as text", "expected a plain number"),
        ("import torch", "expected name = value"),
        ("a = b = 3  # two", "expected name = value"),
    ],
)
def test_parameters_cell_that_papermill_would_misread_is_refused(tmp_path, cell, message):
    source = make(tmp_path / "source.ipynb", parameters=cell)
    with pytest.raises(ValueError, match=message):
        Notebook.read(source).parameters  # noqa: B018


@pytest.mark.parametrize(
    ("cell", "place", "message"),
    [
        ("1 / 0", 4, "ZeroDivisionError"),
        ("import os; os._exit(3)", 4, "DeadKernelError"),
        ("import sys; sys.exit()", 4, "SystemExit"),
        ("from helpers.run.records import record; record(total=1)", None, "'total' is recorded twice"),
    ],
)
def test_failing_notebook_tells_its_cell_and_leaves_the_destination_alone(tmp_path, cell, place, message):
    source = make(tmp_path / "03_bad.ipynb", "done = 1", cell, RECORD)
    earlier_run(tmp_path / "x.ipynb")
    before = (tmp_path / "x.json").read_text()
    with pytest.raises(NotebookFailed, match=message) as raised:
        run_notebook(source, tmp_path / "x.ipynb", {"steps": 1}, show_progress=False)
    failure = raised.value
    # The cell's place in the source: papermill's own cell, behind the parameters, is not counted.
    assert failure.cell == place
    assert failure.source == (cell if place else "")
    assert failure.notebook == source
    assert "03_bad.ipynb failed" in str(failure)
    assert "\x1b" not in str(failure)
    assert everything_in(tmp_path) == ["03_bad.ipynb", "x.ipynb", "x.json"]
    assert (tmp_path / "x.ipynb").read_text() == "from an earlier run"
    assert (tmp_path / "x.json").read_text() == before


def test_a_cell_that_takes_too_long_fails_the_notebook(tmp_path):
    source = make(tmp_path / "03_bad.ipynb", "import time\nwhile True: time.sleep(1)", parameters=None)
    with pytest.raises(NotebookFailed, match="(?i)timeout|timed out") as raised:
        run_notebook(source, tmp_path / "x.ipynb", show_progress=False, timeout=1)
    assert raised.value.cell == 2
    assert everything_in(tmp_path) == ["03_bad.ipynb"]


def test_error_in_a_widgets_callback_fails_the_notebook(tmp_path):
    cell = """\
import ipywidgets
slider = ipywidgets.IntSlider(value=1, max=3)
panel = ipywidgets.interactive_output(lambda x: print(1 // (x - 2)), {"x": slider})
slider.value = 2
panel"""
    source = make(tmp_path / "03_widget.ipynb", cell, parameters=None)
    with pytest.raises(NotebookFailed, match="widget's callback(?s:.*)ZeroDivisionError"):
        run_notebook(source, tmp_path / "x.ipynb", show_progress=False)
    good = make(tmp_path / "04_widget.ipynb", cell.replace("slider.value = 2", ""), parameters=None)
    assert run_notebook(good, tmp_path / "x.ipynb", show_progress=False).figures == ()


def test_run_refuses_to_overwrite_its_source(tmp_path):
    source = make(tmp_path / "source.ipynb")
    with pytest.raises(ValueError, match="expected another file than the notebook itself"):
        run_notebook(source, tmp_path / "." / "source.ipynb")
    with pytest.raises(ValueError, match="ends in .ipynb"):
        run_notebook(source, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no such notebook"):
        run_notebook(tmp_path / "absent.ipynb", tmp_path / "x.ipynb")


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("mine", ["x.ipynb", "x.json", "x_figures/01.png", "x_figures/mine.png"])
def test_run_replaces_nothing_that_no_run_has_made(tmp_path, mine, earlier):
    source, destination = make(tmp_path / "source.ipynb", parameters=None), tmp_path / "x.ipynb"
    if earlier:
        earlier_run(destination)
    own = tmp_path / mine
    own.parent.mkdir(exist_ok=True)
    own.write_text(source.read_text())
    if earlier and mine == "x.ipynb":
        destination.with_suffix(".json").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for what in (lambda: run_notebook(source, destination), lambda: discard(destination)):
        with pytest.raises(FileExistsError, match=f"{mine.split('/')[0]}: no run has made it"):
            what()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("lost", [None, "x.json", "x_figures/01.png"])
def test_what_a_run_has_made_goes_whole_or_cut_short(finished, tmp_path, lost):
    shutil.copytree(finished.notebook.parent, tmp_path / "out")
    if lost:
        (tmp_path / "out" / lost).unlink()
    discard(tmp_path / "out" / "x.ipynb")
    assert everything_in(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("asked", "mine"),
    [
        (["run-all", "--notebooks", "walk", "--build", "out"], "results.csv"),
        (["run-all", "--notebooks", "walk", "--build", "out"], "results.md"),
        (["sweep", "walk/01_x.ipynb", "--grid", "steps=1,2", "-o", "out"], "table.csv"),
        (["sweep", "walk/01_x.ipynb", "--grid", "steps=1,2", "-o", "out"], "failures/mine.txt"),
    ],
)
def test_nor_do_all_runs_and_sweeps(tmp_path, monkeypatch, capsys, asked, mine):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "walk" / "01_x.ipynb")
    own = tmp_path / "out" / mine
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    before = everything_in(tmp_path)
    assert command.main(asked) == 1
    assert f"{mine.split('/')[0]}: no run has made it" in capsys.readouterr().err
    assert everything_in(tmp_path) == before
    assert own.read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"argv": ["/elsewhere/bin/python"], "display_name": "x", "language": "python"}',
            "runs /elsewhere/bin/",
        ),
        ('{"argv": []}', "kernel.json: expected a command in argv"),
        ("{}", "kernel.json: expected a command in argv"),
        ("[]", "kernel.json: expected a command in argv"),
        ("", "kernel.json: expected a command in argv"),
    ],
)
def test_run_refuses_the_kernel_of_another_environment(tmp_path, monkeypatch, content, message):
    source = make(tmp_path / "source.ipynb")
    folder = tmp_path / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(content)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    with pytest.raises(RuntimeError, match=f"{message}.*remove that kernel"):
        run_notebook(source, tmp_path / "x.ipynb", show_progress=False)


def test_run_all_gathers_the_numbers_and_goes_on_after_a_failure(tmp_path, capsys):
    folder, build = tmp_path / "notebooks", tmp_path / "build"
    make(folder / "02_bad.ipynb", "raise KeyError('lost')", RECORD)
    make(folder / "01_good.ipynb", PIXEL, RECORD)
    make(
        folder / "03_good.ipynb",
        "total = 1 / 3",
        "from helpers.run.records import record\nrecord(third=total)",
    )
    make(folder / "notes.ipynb", "1 / 0")
    (folder / "04_none.ipynb").write_text("{}")
    build.mkdir()
    earlier_run(build / "02_bad.ipynb")
    status = command.main(["run-all", "--notebooks", str(folder), "--build", str(build), "--quiet"])
    told = capsys.readouterr().out
    assert status == 1
    with (build / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["notebook", "number", "value"],
        ["01_good", "total", "1.5"],
        ["01_good", "label", "a"],
        ["01_good", "loud", "False"],
        ["01_good", "widths", "2"],
        ["03_good", "third", repr(1 / 3)],
    ]
    assert "| 03_good | third | 0.3333 |" in (build / "results.md").read_text(encoding="utf-8")
    assert (build / "01_good_figures" / "01.png").is_file()
    assert not list(build.glob("02_bad*"))
    assert "02_bad.ipynb failed in cell 3" in told
    assert "KeyError: 'lost'" in told
    assert "2 of 4 notebooks ran, 2 failed" in told
    assert "04_none.ipynb: expected a notebook of format 4" in told
    for name in ("01_good", "03_good"):
        assert any(line.split()[:1] == [name] and line.endswith(" s") for line in told.splitlines())
    assert str(build) in told


def test_run_all_of_nothing_is_an_error(tmp_path, capsys):
    assert command.main(["run-all", "--notebooks", str(tmp_path), "--build", str(tmp_path / "build")]) == 1
    assert "no notebooks there that are named NN_*.ipynb" in capsys.readouterr().err


def test_execute_brings_a_notebook_to_the_committed_form(tmp_path):
    source = make(tmp_path / "01_x.ipynb", PIXEL, RECORD)
    assert any("not executed" in line for line in check_form(source))
    assert command.main(["execute", str(source)]) == 0
    assert everything_in(tmp_path) == ["01_x.ipynb"]
    assert check_form(source) == []
    cells = [cell for cell in notebook_files.read(source).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert cells[0].metadata == {"tags": ["parameters"]}
    assert cells[2].outputs[0].data["text/plain"].splitlines()[0] == "total:  1.5"
    # A second execution changes nothing but, perhaps, the bytes of a figure.
    again = tmp_path / "again.ipynb"
    again.write_bytes(source.read_bytes())
    assert command.main(["execute", str(again)]) == 0
    assert again.read_text(encoding="utf-8") == source.read_text(encoding="utf-8")


def test_execute_leaves_a_failing_notebook_as_it_is(tmp_path, capsys):
    source = make(tmp_path / "01_x.ipynb", "1 / 0")
    before = source.read_bytes()
    assert command.main(["execute", str(source)]) == 1
    assert "failed in cell 3" in capsys.readouterr().err
    assert source.read_bytes() == before
    assert everything_in(tmp_path) == ["01_x.ipynb"]


def untidy() -> nbformat.NotebookNode:
    """A notebook with everything that the normaliser takes away."""
    stream = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("a\n", "b\n")]
    bar = nbformat.v4.new_output("stream", name="stderr", text="\r 10%|#  | 1/10 [00:01<00:09]")
    view = output({WIDGET_VIEW: {"model_id": "1"}, "text/plain": "IntSlider()"})
    result = nbformat.v4.new_output("execute_result", {"text/plain": "3"}, execution_count=17)
    first = nbformat.v4.new_code_cell("print('a')", execution_count=17, outputs=[*stream, bar, view, result])
    first.metadata.update(tags=["keep"], papermill={"duration": 1.0}, execution={"iopub.status.busy": "now"})
    cells = [nbformat.v4.new_markdown_cell("text"), first, nbformat.v4.new_code_cell("1", execution_count=4)]
    metadata = {"widgets": {}, "papermill": {}, "language_info": {"name": "python", "version": "3.11.7"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    for cell, identifier in zip(cells, ("kept", "kept", "not valid!"), strict=True):
        cell.id = identifier
    return notebook


def test_normalise_takes_away_what_differs_from_run_to_run():
    before = untidy()
    tidy = normalise(before)
    assert before == untidy(), "the argument was changed"
    assert tidy.metadata == {"kernelspec": KERNELSPEC, "language_info": LANGUAGE_INFO}
    assert (tidy.nbformat, tidy.nbformat_minor) == (4, 5)
    assert tidy.cells[0].id == "kept"
    assert len({cell.id for cell in tidy.cells}) == 3
    assert tidy.cells[1].metadata == {"tags": ["keep"]}
    assert [cell.execution_count for cell in tidy.cells[1:]] == [1, 2]
    assert [(o.output_type, o.get("text")) for o in tidy.cells[1].outputs] == [
        ("stream", "a\nb\n"),
        ("execute_result", None),
    ]
    assert tidy.cells[1].outputs[1].execution_count == 1
    nbformat.validate(tidy)


def test_normalise_twice_is_normalise_once_and_ids_do_not_depend_on_chance():
    once = dumps(normalise(untidy()))
    assert dumps(normalise(nbformat.v4.reads_json(once))) == once
    assert dumps(normalise(untidy())) == once
    assert once.endswith("}\n")


def test_normalise_keeps_the_frames_of_a_panel_and_drops_its_view():
    frames = {"controls": [], "pictures": [{"png": "iVBOR/tmp/x", "alt": "a\nb"}]}
    bundle = {WIDGET_VIEW: {"model_id": "1"}, FRAMES: frames, "text/plain": "A panel"}
    result = nbformat.v4.new_output("execute_result", bundle, execution_count=17)
    cells = [nbformat.v4.new_code_cell("panel", execution_count=17, outputs=[result])]
    before = nbformat.v4.new_notebook(cells=cells)
    tidy = normalise(before)
    (kept,) = tidy.cells[0].outputs
    assert kept.data == {FRAMES: frames, "text/plain": "A panel"}
    assert kept.execution_count == 1
    assert WIDGET_VIEW in before.cells[0].outputs[0].data, "the argument was changed"
    once = dumps(tidy)
    assert dumps(normalise(nbformat.v4.reads_json(once))) == once
    assert form.problems(tidy) == [], "what stands in a picture is no path"


def test_normalise_reads_older_notebooks_without_cell_ids(tmp_path):
    content = json.loads(dumps(untidy()))
    content["nbformat_minor"] = 2
    for cell in content["cells"]:
        del cell["id"]
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(content), encoding="utf-8")
    first = dumps(normalise(notebook_files.read(path)))
    assert first == dumps(normalise(notebook_files.read(path)))


def test_normalise_command_writes_and_check_only_tells(tmp_path, capsys):
    path = tmp_path / "x.ipynb"
    notebook_files.write(untidy(), path)
    before = path.read_bytes()
    assert command.main(["normalise", "--check", str(path)]) == 1
    assert "not in normal form" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert command.main(["normalise", str(path)]) == 0
    assert command.main(["normalise", "--check", str(path)]) == 0


def test_a_cell_whose_output_is_compared_must_have_one():
    cell = nbformat.v4.new_code_cell("x", execution_count=1, metadata={"tags": [form.COMPARED]})
    found = form.problems(nbformat.v4.new_notebook(cells=[cell]))
    assert found == ["cell 1: its outputs are missing"]


@pytest.mark.parametrize(
    ("source", "outputs", "problem"),
    [
        ("x", [output({"text/plain": "saved in /home/ann/run"})], "absolute path '/home/ann' in the output"),
        ("x", [output({"text/html": "<i>/tmp/ipykernel_1/2.py</i>"})], "absolute path '/tmp/ipykernel_1'"),
        ("x", [output({"text/plain": r"C:\Users\ann"})], "absolute path"),
        ("folder = '/home/someone'", [], "absolute path '/home/someone' in the source"),
        ("x", [output({"text/plain": "<Thing at 0x7f00aa00bb00>"})], "memory address"),
        ("x", [output({"text/plain": "\x1b[31mred\x1b[0m"})], "terminal colour codes"),
        ("x", [output({"image/svg+xml": "<svg/>"})], "an SVG figure"),
        ("x", [nbformat.v4.new_output("stream", name="stderr", text="UserWarning: no\n")], "stderr output"),
        ("x", [nbformat.v4.new_output("error", ename="KeyError", evalue="1", traceback=[])], "error output"),
        ("plt.show()", [], "its outputs are missing"),
        ("record(a=1)", [], "its outputs are missing"),
        ("  ", [], "empty code cell"),
    ],
)
def test_problems_tells_what_cannot_be_repaired(source, outputs, problem):
    cell = nbformat.v4.new_code_cell(source, execution_count=1, outputs=outputs)
    found = form.problems(nbformat.v4.new_notebook(cells=[cell]))
    assert len(found) == 1
    assert found[0].startswith("cell 1: ")
    assert problem in found[0]


def test_problems_finds_none_where_there_are_none():
    texts = ["see https://example.org/home/page and data/home/x", "a/b, 1/tmp", "def f():\n    print(1)"]
    cells = [nbformat.v4.new_code_cell(text, execution_count=1) for text in texts]
    cells[0].outputs = [output({"text/plain": texts[0], "image/png": "/tmp/aaaa"})]
    assert form.problems(nbformat.v4.new_notebook(cells=cells)) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nbformat": 3}'])
def test_read_refuses_what_is_no_notebook(tmp_path, text):
    path = tmp_path / "x.ipynb"
    path.write_text(text)
    with pytest.raises(ValueError, match="x.ipynb"):
        notebook_files.read(path)


@pytest.fixture
def shown(monkeypatch):
    """What `record` displays."""
    calls = []
    monkeypatch.setattr(records, "display", lambda data, metadata, raw: calls.append((data, metadata)))
    return calls


def test_record_shows_rounded_numbers_and_keeps_every_digit(shown):
    record(accuracy=torch.tensor(2 / 3, dtype=torch.float64), n=np.int64(7), ok=np.bool_(True), name="a")
    ((data, metadata),) = shown
    assert data == {"text/plain": "accuracy: 0.6667\nn:        7\nok:       True\nname:     a"}
    assert metadata == {records.RECORD: {"accuracy": 2 / 3, "n": 7, "ok": True, "name": "a"}}
    assert [type(value) for value in metadata[records.RECORD].values()] == [float, int, bool, str]
    record(2, accuracy=2 / 3)
    assert shown[1][0] == {"text/plain": "accuracy: 0.67"}


@pytest.mark.parametrize(
    ("arguments", "numbers", "error", "message"),
    [
        ((), {"x": math.nan}, ValueError, "x: expected a finite number, got nan"),
        ((), {"x": torch.tensor(math.inf)}, ValueError, "x: expected a finite number, got inf"),
        ((), {"x": [1]}, TypeError, "x: expected a number, text or truth value, got list"),
        ((), {"x": None}, TypeError, "got NoneType"),
        ((), {"x": torch.ones(2)}, TypeError, r"got Tensor of shape \(2,\)"),
        ((), {"x": 1j}, TypeError, "got complex"),
        ((), {}, ValueError, "expected at least one name=value"),
        ((0,), {"x": 1}, ValueError, "digits: expected at least 1, got 0"),
        ((2.5,), {"x": 1}, TypeError, "digits: expected a whole number, got 2.5"),
    ],
)
def test_record_refuses_what_is_no_number(shown, arguments, numbers, error, message):
    with pytest.raises(error, match=message):
        record(*arguments, **numbers)
    assert shown == []
