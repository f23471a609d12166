"""The form of every committed notebook; nothing is executed here.

nbval runs every cell of the walk with the committed parameters (pyproject.toml, testpaths),
tests/test_notebook_runs.py with other ones, tests/test_solutions.py runs the solutions.
"""

import ast
import base64
import io
import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from PIL import Image

from helpers.files import FRAMES
from helpers.run import notebook_files
from helpers.run.form import COMPARED, check_form
from helpers.run.notebook_files import Notebook
from helpers.run.parameters import is_parameters
from helpers.run.records import recorded

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
WALK = sorted(FOLDER.glob("*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))
CODE_LINES = 25
BYTES, FILM_BYTES, PANEL_BYTES = (
    1_000_000,
    250_000,
    300_000,
)  # of a file, of a picture that moves, of a panel's pictures
FILMS = 2  # pictures that move, a notebook
WORDS, WORDS_OF_THE_WALK = 2_000, 20_000

walk = pytest.mark.parametrize("path", WALK, ids=[path.stem for path in WALK])
committed = pytest.mark.parametrize(
    "path", WALK + SOLUTIONS, ids=[str(path.relative_to(FOLDER)) for path in WALK + SOLUTIONS]
)


read = cache(notebook_files.read)


def code(path: Path) -> list:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path: Path) -> str:
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def outputs(path: Path) -> list:
    return [output for cell in code(path) for output in cell.outputs]


def words(path: Path) -> int:
    """How much there is to read: prose, sentences with computed numbers, printed text; marks are no words."""
    computed = [o.get("text", "") or o.get("data", {}).get("text/markdown", "") for o in outputs(path)]
    return len(re.sub(r"[#*`|_\[\]()>-]", " ", "\n".join([prose(path), *computed])).split())


def links(text: str) -> list[str]:
    """Targets of links and pictures, those in code left out."""
    text = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", "", text, flags=re.S)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def tree(source: str) -> ast.Module:
    """The syntax tree of a cell, magics and all."""
    return ast.parse(TransformerManager().transform_cell(source))


# ---- the walk as a whole -----------------------------------------------------------------------------------


def test_the_walk_is_there_and_numbered_without_a_gap():
    assert WALK, f"no notebooks in {FOLDER.name}/: nothing below tests anything"
    assert [path.name[:3] for path in WALK] == [f"{number:02d}_" for number in range(len(WALK))]


def test_solutions_are_there():
    solved = {path.name[:2] for path in SOLUTIONS}
    asked = {path.name[:2] for path in WALK if re.search(r"^#+ Exercises", prose(path), re.M)}
    assert asked, "no notebook has a heading 'Exercises'"
    assert asked == solved, "each notebook with exercises has its solutions/NN_*.ipynb, and no other has"


# ---- form --------------------------------------------------------------------------------------------------


@committed
def test_file_is_in_normal_form(path):
    assert check_form(path) == []


@committed
def test_all_code_was_executed_once_in_order(path):
    assert [cell.execution_count for cell in code(path)] == list(range(1, len(code(path)) + 1))
    assert any(cell.outputs for cell in code(path)), "no outputs at all: make notebooks"


@walk
def test_parameters_stand_in_the_second_code_cell_one_a_line_with_help(path):
    tagged = [place for place, cell in enumerate(code(path), start=1) if is_parameters(cell)]
    assert tagged == [2], f"the second code cell, and only it, is tagged 'parameters'; tagged: {tagged}"
    for line in code(path)[1].source.splitlines():
        assert re.fullmatch(r"[a-z]\w* = \S.*?  # \S.*", line), f"expected name = value  # help, got {line!r}"
    assert Notebook.read(path).parameters, "no parameters"


@walk
def test_every_parameter_is_used(path):
    names = {
        node.id
        for cell in code(path)
        for node in ast.walk(tree(cell.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert set(Notebook.read(path).parameters) <= names, "a parameter that nothing reads changes nothing"


def link_line(path: Path) -> str:
    """What stands below the title and at the end: the notebook before, the index, the next one."""

    def link(other: Path, text: str) -> str:
        return (
            f"[{text.format(re.match(r'# ([^:]+)', head(other))[1].replace(' ·', '').strip())}]({other.name})"
        )

    place = WALK.index(path)
    before = [link(WALK[place - 1], "← {}")] if place > 1 else []
    index = [link(WALK[0], "index")] if place else []
    after = [link(other, "{} →") for other in WALK[place + 1 : place + 2]]
    return " · ".join(before + index + after)


def head(path: Path) -> str:
    return read(path).cells[0].source


@walk
def test_head_has_title_links_the_question_left_open_and_what_to_expect(path):
    title, line, rest = head(path).split("\n\n", 2)
    assert re.fullmatch(rf"# {path.name[:2]} · \S.*", title)
    assert line == link_line(path)
    opening, learn, expect = rest.partition("**You will learn**")
    assert learn
    assert "?" in opening, "each notebook opens with the question that the one before it left"
    assert re.search(r"\*\*You need\*\* .*\*\*Run time\*\* about \d+ seconds on two cores\.", expect, re.S)


@walk
def test_foot_has_the_links_of_the_head(path):
    last = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"][-1]
    assert last.endswith("\n\n" + link_line(path))


@committed
def test_links_between_files_lead_somewhere(path):
    for link in links(prose(path)):
        if not re.match(r"[a-z]+:|#|attachment:", link):
            target = path.parent / unquote(link.partition("#")[0])
            assert target.exists(), f"{link}: no such file"


@committed
def test_code_uses_only_what_helpers_makes_public(path):
    for cell in code(path):
        for node in ast.walk(tree(cell.source)):
            names = [node.attr] if isinstance(node, ast.Attribute) else []
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            parts = [part for name in names for part in name.split(".")]
            private = [part for part in parts if part.startswith("_") and not part.startswith("__")]
            assert not private, f"private name {private[0]} in:\n{cell.source}"


@committed
def test_cells_are_short(path):
    for cell in code(path):
        if is_parameters(cell):
            continue  # one line a parameter, as many as there are
        lines = [
            line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")
        ]
        imports = [n for n in tree(cell.source).body if isinstance(n, ast.Import | ast.ImportFrom)]
        # an import is one line, however many the formatter makes of it
        length = len(lines) - sum(node.end_lineno - node.lineno for node in imports)
        assert length <= CODE_LINES, (
            f"{length} lines of code; what is longer belongs in helpers:\n{cell.source}"
        )


@committed
def test_every_figure_has_a_text_for_those_who_cannot_see_it(path):
    for cell in code(path):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert alt.strip(), f"no alt text (helpers.show.style.show) in:\n{cell.source}"
    assert not re.search(r"!\[\s*\]\(", prose(path)), "a picture without alt text in the prose"


@committed
def test_a_file_is_small(path):
    assert path.stat().st_size < BYTES


@committed
def test_what_moves_is_rare_and_small(path):
    films = [data for data in notebook_files.figures(read(path)) if Image.open(io.BytesIO(data)).is_animated]
    assert len(films) <= FILMS
    assert max(map(len, films), default=0) <= FILM_BYTES


@committed
def test_the_pictures_that_a_panel_keeps_are_small(path):
    kept = [output.data[FRAMES] for output in outputs(path) if FRAMES in output.get("data", {})]
    for frames in kept:
        assert sum(len(base64.b64decode(one["png"])) for one in frames["pictures"]) <= PANEL_BYTES
        assert len(json.dumps(frames)) <= 1.5 * PANEL_BYTES


@walk
def test_a_notebook_is_short(path):
    assert words(path) <= WORDS


def test_the_walk_is_short():
    assert sum(map(words, WALK)) < WORDS_OF_THE_WALK, {path.stem: words(path) for path in WALK}


@walk
def test_key_numbers_are_on_record_and_nbval_compares_them(path):
    assert recorded(read(path)), "no record(...) among the committed outputs"
    last = code(path)[-1]
    assert "record(" in last.source, "the last code cell calls record(...)"
    assert COMPARED in last.metadata.get("tags", [])
    assert not any("nbval" in cell.source.lower() for cell in code(path)), "tags tell nbval what to compare"
