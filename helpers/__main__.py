"""The command line: ``nonlinear-saliency --help``, or from the top folder ``python -m helpers --help``."""

# Only what `--help` needs is imported here: papermill and torch take seconds.
import sys
from pathlib import Path

import click

from helpers.files import ROOT

EPILOGS = {
    "run": "Example:  nonlinear-saliency run 04 -p score_name=margin -p 'shown=[7, 235]'",
    "sweep": "Example:  nonlinear-saliency sweep 04 --grid flow_steps=4,8,16 --grid drop=1,2,4,8 -p grid_count=6",
    "list": "Example:  nonlinear-saliency list 04",
}


class Assignment(click.ParamType):
    """name=value, both as typed: the notebook says of which type the value is."""

    name = "name=value"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        name, sign, text = value.partition("=")
        if not (sign and name.strip()):
            self.fail(f"expected name=value, got {value!r}", param, ctx)
        return name.strip(), text


def unique(pairs: tuple[tuple[str, str], ...], option: str) -> dict:
    """Pairs as a dictionary; a name that is there twice would silently lose one.

    Example:
        >>> unique((("steps", "8"), ("seed", "0")), "-p")
        {'steps': '8', 'seed': '0'}
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise click.UsageError(f"{option}: {twice!r} is given twice")
    return found


parameters_option = click.option(
    "-p",
    "--parameter",
    "parameters",
    multiple=True,
    type=Assignment(),
    help="A parameter; repeatable.",
)
quiet_option = click.option("--quiet", is_flag=True, help="No progress bar.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli():
    """Run the notebooks: one, with other parameters; many combinations; all of them.

    NOTEBOOK is a path, a name (04_digits) or a number (04).
    """


@cli.command(epilog=EPILOGS["run"])
@click.argument("notebook")
@parameters_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Executed notebook; default: build/runs/."
)
@quiet_option
def run(notebook, parameters, output, quiet):
    """Run NOTEBOOK with other parameters.

    Leaves the executed notebook, its record (JSON: parameters, numbers, seconds) and its figures (PNG). A
    parameter that the notebook does not have, of another type or out of its range is refused before anything
    runs. Default output: build/runs/NOTEBOOK.ipynb.
    """
    from helpers.run.execute import run_notebook, shown
    from helpers.run.notebook_files import Notebook, find
    from helpers.run.records import rounded

    source = Notebook.read(find(notebook))
    output = output or ROOT / "build" / "runs" / source.path.name
    result = run_notebook(source, output, source.typed(unique(parameters, "-p")), show_progress=not quiet)
    for name, value in result.numbers.items():
        click.echo(f"{name}: {rounded(value, 6)}")
    click.echo(f"{shown(result.notebook)} and {result.record.name}, in {result.seconds:.1f} s")


@cli.command(epilog=EPILOGS["sweep"])
@click.argument("notebook")
@click.option("--grid", multiple=True, required=True, type=Assignment(), help="name=a,b,c; repeatable.")
@parameters_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder; default: build/sweeps/NOTEBOOK."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes at a time; default: as many as cores.")
@click.option("--scheduler", help="Address of a Dask scheduler, such as tcp://10.0.0.1:8786.")
@quiet_option
def sweep(notebook, grid, parameters, output, workers, scheduler, quiet):
    """Run NOTEBOOK once for every combination of the grid.

    Each combination leaves an executed notebook with its record and figures; all of them together one
    table.csv and one plot.png. What is whole stays: the same command, given again, runs only what is missing
    or failed. Failures are shown at the end, with cell and traceback, and the exit code is 1.

    On a cluster: start a Dask cluster whose workers have this environment and see the output folder under the
    same path, and give the address of its scheduler.

    \b
    SLURM (pip install dask-jobqueue):
      from dask_jobqueue import SLURMCluster
      cluster = SLURMCluster(cores=4, processes=4, memory="16GB"); cluster.scale(jobs=10)
      print(cluster.scheduler_address)
    \b
    Kubernetes (pip install dask-kubernetes):
      from dask_kubernetes.operator import KubeCluster
      cluster = KubeCluster(name="maps", image="YOUR_IMAGE"); cluster.scale(10)
      print(cluster.scheduler_address)
    """
    from helpers.run import sweeps
    from helpers.run.notebook_files import Notebook, find

    source = Notebook.read(find(notebook))
    output = output or ROOT / "build" / "sweeps" / source.path.stem
    report = sweeps.sweep(
        source,
        output,
        source.typed_grid(unique(grid, "--grid")),
        source.typed(unique(parameters, "-p")),
        workers=workers,
        scheduler=scheduler,
        show_progress=not quiet,
    )
    click.echo(str(report))
    if report.failures:
        raise SystemExit(1)


@cli.command("list", epilog=EPILOGS["list"])
@click.argument("notebook", required=False)
def list_(notebook):
    """List the notebooks with their run time, and the parameters of each with default and help."""
    from helpers.run.notebook_files import Notebook, find, walk

    for path in [find(notebook)] if notebook else walk():
        source = Notebook.read(path)
        time = f"  (about {source.seconds} s)" if source.seconds else ""
        click.echo(click.style(path.stem, bold=True) + f"  {source.title}{time}")
        for name, parameter in source.parameters.items():
            click.echo(f"    {name} = {parameter.default!r}  # {parameter.help}")


@cli.command("run-all")
@click.option(
    "--notebooks", type=click.Path(path_type=Path), help="Folder with NN_*.ipynb; default: notebooks."
)
@click.option("--build", type=click.Path(path_type=Path), help="Folder for what comes out; default: build.")
@quiet_option
def run_all(notebooks, build, quiet):
    """Execute all notebooks with their defaults, as many at a time as there are cores (make run)."""
    from helpers.run import suite

    report = suite.run_all(notebooks or ROOT / "notebooks", build or ROOT / "build", not quiet)
    click.echo(str(report))
    if report.failures:
        raise SystemExit(1)


files_argument = click.argument("files", nargs=-1, type=click.Path(path_type=Path))


@cli.command()
@files_argument
def execute(files):
    """Execute committed notebooks again, in place, in normal form (make notebooks); default: all."""
    from helpers.run import execute as runs

    _each(files, runs.execute)


@cli.command()
@files_argument
@click.option("--check", is_flag=True, help="Only say which are not in that form.")
def normalise(files, check):
    """Bring notebooks to normal form, without executing them; default: all."""
    from helpers.run import form, notebook_files

    def tidy(path):
        if not check:
            notebook_files.write(form.normalise(notebook_files.read(path)), path)
        return form.check_form(path)

    _each(files, tidy)


def _each(files, what) -> None:
    """Do something with each file; what it finds, or raises, is said, and makes the exit code 1."""
    from helpers.run.execute import NotebookFailed, shown
    from helpers.run.notebook_files import committed

    bad = False
    for path in files or committed():
        try:
            found = what(path)
        except (NotebookFailed, OSError, ValueError) as error:
            found = [str(error)]
        for line in found:
            click.echo(f"{shown(path)}: {line}", err=True)
        bad = bad or bool(found)
    if bad:
        raise SystemExit(1)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status (2: the command is wrong; 130: interrupted)."""
    try:
        cli.main(arguments, prog_name="nonlinear-saliency", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except SystemExit as error:
        return int(error.code or 0)
    except (OSError, RuntimeError, ValueError) as error:
        click.echo(str(error), err=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
