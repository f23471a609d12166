"""Values of parameters as they are typed: what arrives at the notebook, what is refused, and in which words."""

import pytest

from helpers.run.notebook_files import Notebook, find, walk
from helpers.run.parameters import Domain, Parameter, ParameterError

TEXT, COUNT, RATE, TRUTH = "x", 5, 0.5, False


@pytest.mark.parametrize(
    ("default", "typed", "value"),
    [
        # a text is taken as typed
        (TEXT, "holiday #1", "holiday #1"),
        (TEXT, "2024", "2024"),
        (TEXT, "2024-13-01", "2024-13-01"),
        (TEXT, "true", "true"),
        (TEXT, "null", "null"),
        (TEXT, "[a", "[a"),
        (TEXT, "a: b", "a: b"),
        (TEXT, "'quoted'", "'quoted'"),
        (TEXT, "~/x.png", "~/x.png"),
        (TEXT, " two  words ", " two  words "),
        (TEXT, "", ""),
        # a whole number is a decimal one
        (COUNT, "010", 10),
        (COUNT, "-3", -3),
        (COUNT, " +7 ", 7),
        # a number
        (RATE, ".5e1", 5.0),
        (RATE, "1e-3", 1e-3),
        (RATE, "2E-1", 0.2),
        (RATE, "-.5", -0.5),
        (RATE, "3", 3.0),
        (RATE, "010", 10.0),
        # a truth value
        (TRUTH, "true", True),
        (TRUTH, "False", False),
        # lists, each element by the type of the first one
        ([0.5], "[-.5, 1]", [-0.5, 1.0]),
        ([1], "[010, 2]", [10, 2]),
        ([1], "[]", []),
        (["a"], "[1, 'b,c', it's, \"d\"]", ["1", "b,c", "it's", "d"]),
        ([[1]], "[[1, 2], [3]]", [[1, 2], [3]]),
        ([], "[0.5, 2, x]", [0.5, 2, "x"]),
        # no type to go by
        (None, "None", None),
        (None, "010", 10),
        (None, "1e-3", 1e-3),
        (None, "true", True),
        (None, "a b", "a b"),
    ],
)
def test_a_value_is_read_by_the_type_of_the_default(default, typed, value):
    found = Parameter("it", default, "").read(typed)
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, list):
        assert list(map(type, found)) == list(map(type, value))


@pytest.mark.parametrize(
    ("default", "typed", "expected"),
    [
        (COUNT, "4.0", "a whole number"),
        (COUNT, "1e3", "a whole number"),
        (COUNT, "0x10", "a whole number"),
        (COUNT, "1_000", "a whole number"),
        (COUNT, "true", "a whole number"),
        (COUNT, "", "a whole number"),
        (COUNT, "9" * 5000, "a whole number"),
        (RATE, "1:30", "a finite number"),
        (RATE, "nan", "a finite number"),
        (RATE, "1e999", "a finite number"),
        (RATE, "0,5", "a finite number"),
        (RATE, "half", "a finite number"),
        (TRUTH, "yes", "True or False"),
        (TRUTH, "1", "True or False"),
        ([1], "1, 2", "a list, each element a whole number"),
        ([1], "[1, 2", "a list, each element a whole number"),
        ([1], "[1, , 2]", "a list, each element a whole number"),
        ([1], "['1']", "a list, each element a whole number"),
        (["a"], "['a, b]", "a list, each element a text"),
    ],
)
def test_what_is_not_of_the_type_is_refused_as_it_was_typed(default, typed, expected):
    with pytest.raises(ParameterError, match="parameter 'it': expected ") as raised:
        Parameter("it", default, "").read(typed)
    assert f"expected {expected}, like its default {default!r}, got " in str(raised.value)


@pytest.mark.parametrize(
    ("default", "typed", "values"),
    [
        (COUNT, "8, 016", [8, 16]),
        (RATE, "1, 2.5,1e-3", [1.0, 2.5, 1e-3]),
        (TEXT, "mlp, kernel machine, 'a,b', 1e3", ["mlp", "kernel machine", "a,b", "1e3"]),
        (TEXT, "it's, a[1,2]", ["it's", "a[1,2]"]),
        ([1], "[0, 1], [2]", [[0, 1], [2]]),
        (["a"], "['x, [', y], [z]", [["x, [", "y"], ["z"]]),
    ],
)
def test_values_of_a_grid_are_separated_by_commas(default, typed, values):
    assert Parameter("it", default, "").read_all(typed) == values


@pytest.mark.parametrize(("default", "typed"), [(TEXT, "'a, b"), ([1], "[1, 2"), ([1], "1], [2")])
def test_an_open_bracket_or_quote_in_a_grid_is_refused(default, typed):
    with pytest.raises(ParameterError, match="'it': a bracket or quote is not closed in "):
        Parameter("it", default, "").read_all(typed)


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


@pytest.mark.parametrize("path", walk(), ids=lambda path: path.stem)
def test_a_seed_that_generators_refuse_is_refused_before_a_run(path):
    seed = Notebook.read(path).parameters.get("seed")
    if seed is None:
        return
    assert seed.read("4294967295") == 2**32 - 1
    for typed in ("18446744073709551616", "4294967296", "-1"):
        with pytest.raises(ParameterError, match="'seed': expected 0 to 4294967295"):
            seed.read(typed)


@pytest.mark.parametrize(
    ("name", "fine", "refused"), [("mean", "[.5, 0.25]", "[half]"), ("std", "[.25]", "[0]")]
)
def test_a_preprocessing_that_is_no_number_is_refused_before_a_run(name, fine, refused):
    parameter = Notebook.read(find("11")).parameters[name]
    assert all(isinstance(value, float) for value in parameter.read(fine))
    assert parameter.read("[]") == []
    with pytest.raises(ParameterError, match=f"'{name}': expected"):
        parameter.read(refused)
