"""The frame around the notebooks: packages, make targets, README, CI all say the same."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import helpers
from helpers.run import notebook_files
from helpers.run.notebook_files import Notebook

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, CONTRACTS = PYPROJECT["project"], PYPROJECT["tool"]["importlinter"]["contracts"]

# conda-forge's name -> the name in pyproject.toml, where they differ.
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}

# torch pins these to the last version for its GPU build, on the platforms that have one.
PINNED_BY_TORCH = re.compile(r"nvidia-|cuda-|triton")


def requirements() -> dict[str, SpecifierSet]:
    """Name -> bounds of what the project and its tests need."""
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    return {canonicalize_name(Requirement(line).name): Requirement(line).specifier for line in lines}


def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def constraints() -> dict[str, str]:
    """Name -> version of the tested set; any other kind of line fails."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)", line)
            assert match, f"constraints.txt: expected name==version, got {line!r}"
            assert canonicalize_name(match[1]) not in found, f"constraints.txt: {match[1]} twice"
            found[canonicalize_name(match[1])] = match[2]
    return found


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def test_environment_yml_agrees_with_pyproject():
    conda = {}
    for line in environment()["dependencies"]:
        if isinstance(line, str):
            # A build string would be a second "=" ("numpy=2.0=py311_0"), or a blank.
            assert re.fullmatch(r"[a-z0-9-]+((>=|<|<=|==|!=)[\w.]+(,(>=|<|<=|==|!=)[\w.]+)*)?", line), line
            requirement = Requirement(line)
            conda[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
    assert conda.pop("python") == SpecifierSet(PROJECT["requires-python"])
    conda.pop("pip")
    # what conda-forge lacks comes through pip, before the project itself
    *pypi, project = environment()["dependencies"][-1]["pip"]
    assert project == "-e ."
    pypi = {requirement.name: requirement.specifier for requirement in map(Requirement, pypi)}
    assert not pypi.keys() & conda.keys()
    assert conda | pypi == requirements()


def test_every_requirement_has_a_lower_and_an_upper_bound():
    for name, specifier in requirements().items():
        assert sorted(part.operator for part in specifier) == ["<", ">="], name


def test_environment_yml_installs_the_project_last_and_names_cpu_and_gpu():
    assert environment()["dependencies"][-1]["pip"][-1] == "-e ."
    assert "conda-forge" in environment()["channels"]
    comments = re.findall(r"^#.*", (ROOT / "environment.yml").read_text(encoding="utf-8"), re.M)
    assert any("CPU" in line and "GPU" in line and "pytorch" in line for line in comments)


def test_constraints_lie_within_the_bounds():
    tested = constraints()
    for name, specifier in requirements().items():
        assert name in tested, f"{name} is missing in constraints.txt"
        assert specifier.contains(tested[name]), f"{name}: {tested[name]} is not within {specifier}"


@pytest.mark.skipif(sys.platform != "linux", reason="constraints.txt holds the set for Linux")
def test_constraints_hold_everything_that_is_installed_for_the_project():
    closure, queue = set(), [Requirement(f"{PROJECT['name']}[test,bench]")]
    seen = set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen or PINNED_BY_TORCH.match(name):
            continue
        seen.add((name, frozenset(requirement.extras)))
        closure.add(name)
        extras = ["", *requirement.extras]
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed: make setup")
        for line in needs:
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras):
                queue.append(need)
    missing = closure - set(constraints()) - {canonicalize_name(PROJECT["name"])}
    assert len(closure) > 50
    assert not missing, f"constraints.txt lacks {', '.join(sorted(missing))}"


@pytest.mark.parametrize(
    "target", ["setup", "run", "test", "lab", "site", "lint", "notebooks", "clean", "help"]
)
def test_makefile_has_the_target(target):
    assert target in targets()


def test_bare_make_lists_every_target():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in targets():
        assert re.search(rf"^  {target} +\S", listed, re.M), f"make help does not say what {target} does"


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=[path.stem for path in PAGES])


def code_of(page: Path) -> str:
    """What is code on a page: "make sure" is no command."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(encoding="utf-8"), re.S))


@pages
def test_make_commands_on_a_page_exist(page):
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code_of(page)))
    assert named <= targets(), (
        f"{page.name} names make {', '.join(sorted(named - targets()))}: no such target"
    )
    if page.name in ("README.md", "rerun.md"):
        assert {"run", "test"} <= named


@pages
def test_notebook_commands_on_a_page_have_parameters_that_the_notebook_takes(page):
    commands = re.findall(r"\bnonlinear-saliency (run|sweep) (\d\d)(.*)", code_of(page))
    for kind, number, rest in commands:
        given = dict(re.findall(r"(?:-p|--grid) (\w+)=([^\s`]+)", rest))
        notebook = Notebook.read(notebook_files.find(number))
        (notebook.typed_grid if kind == "sweep" else notebook.typed)(given)
    assert len(commands) >= {"README.md": 1, "rerun.md": 3}.get(page.name, 0)


def test_the_readme_is_one_screen_that_leads_to_every_notebook_in_order():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) < 100
    linked = re.findall(r"\]\((notebooks/\w+\.ipynb)\)", readme)
    assert linked == [f"notebooks/{path.name}" for path in notebook_files.walk()]


@pages
def test_links_on_a_page_lead_somewhere(page):
    """In the repository; the site has a test of its own."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
        assert re.match(r"https?:", link) or (page.parent / link).exists(), link


def drawing() -> str:
    """The drawing of the house, which is in CONTRIBUTING alone."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    (found,) = [
        one for text in texts for one in re.findall(r"^```\n(notebooks/ .*?)^```$", text, re.M | re.S)
    ]
    return found


def test_the_drawing_of_the_house_is_true():
    folders = re.findall(r"^(\w+)/ ", drawing(), re.M)
    written = {".py", ".md", ".ipynb"}
    assert set(folders) == {
        folder.name
        for folder in ROOT.iterdir()
        if not folder.name.startswith(".") and folder.is_dir() and folder.name not in ("build", "dist")
        if any(path.suffix in written for path in folder.iterdir())
    }


def test_the_rooms_that_are_drawn_are_those_that_the_linter_holds_apart():
    drawn = re.findall(r"^  (\w+)/ +(.+)$", drawing(), re.M)
    assert re.findall(r"^    (\w+) +(.+)$", helpers.__doc__, re.M) == drawn
    rooms = [room for room, _ in drawn]
    assert set(rooms) == {path.parent.name for path in (ROOT / "helpers").glob("*/__init__.py")}
    layers = CONTRACTS[0]["layers"]
    assert [layer for layer in layers if layer in rooms] == rooms


def test_makefile_refuses_an_old_python_in_words(tmp_path):
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo "Python 3.9.1"; fi\n[ "$1" = --version ]\n')
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for python, words in ((old, "Python 3.9.1; needed: Python 3.11"), ("no-such-python", "not found")):
        command = ["make", "setup", f"PYTHON={python}"]
        outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert outcome.returncode != 0
        assert words in outcome.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_calls_make_test():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, ".ci/run is not executable"
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert lines[-1] == "make test"
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_no_file_names_a_package_host_or_a_place_on_a_machine():
    """Names and versions only: where packages come from is the user's pip configuration."""
    for name in ("pyproject.toml", "constraints.txt", "environment.yml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|file:|index-url|find-links|/home/|/root/", text), name


def test_the_table_in_the_readme_is_that_of_the_benches():
    def table(path: Path) -> list[str]:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]

    assert len(table(ROOT / "benchmarks" / "front.md")) >= 8
    assert table(ROOT / "README.md") == table(ROOT / "benchmarks" / "front.md"), (
        "copy the bench's into README"
    )


def test_the_pictures_of_readme_and_home_page_are_those_of_notebook_00():
    done = subprocess.run(
        [sys.executable, "docs/exports.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shown = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/index.md"))
    assert set(re.findall(r"/images/([\w.]+)\)", shown)) == {"mosaic.png", "moons.png"}


def test_every_picture_that_is_kept_is_shown():
    pages = [ROOT / "README.md", ROOT / "docs" / "index.md", *notebook_files.committed()]
    shown = "".join(page.read_text(encoding="utf-8") for page in pages)
    for path in (ROOT / "notebooks" / "images").iterdir():
        assert re.search(rf"\bimages/{re.escape(path.name)}\)", shown), path.name
