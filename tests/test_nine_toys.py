"""The sheet of notebook 02."""

import pytest
from test_sliders import TOYS

from helpers.lessons.nine_toys import sheet
from helpers.lessons.sliders import tangent_misses


def misses(figure):
    """Title -> length of the bar."""
    lines = {
        axes.get_title()[2:]: axes.findobj(lambda artist: artist.get_gid() == "miss") for axes in figure.axes
    }
    return {
        name: abs(found[0].get_ydata()[1] - found[0].get_ydata()[0]) for name, found in lines.items() if found
    }


def test_the_bars_are_the_misses_on_the_path_to_the_reference():
    figure = sheet(TOYS, dict.fromkeys(TOYS, True))
    for name, length in misses(figure).items():
        toy = TOYS[name]
        asked = abs(toy.level - toy.function(toy.point).item())
        assert length / asked == pytest.approx(tangent_misses(toy, 1.0)[1], abs=0.03), name
    assert len(misses(figure)) == len(TOYS)


def test_ticks_stand_where_the_drivers_are_found():
    figure = sheet(TOYS, {name: name == "AND" for name in TOYS})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{'✓' if name == 'AND' else '✗'} {name}" for name in TOYS]


def test_places_that_are_left_over_are_empty():
    few = {name: TOYS[name] for name in ("ring", "AND")}
    figure = sheet(few, dict.fromkeys(few, True))
    assert [axes.axison for axes in figure.axes] == [True, True, False]


@pytest.mark.parametrize("finds", [{}, {"ring": True}])
def test_other_names_are_refused(finds):
    with pytest.raises(ValueError, match="finds: expected one for each of the toys"):
        sheet(TOYS, finds)
