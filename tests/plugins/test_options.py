from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

import pytest

from ppl_vae.plugins.options import checked, options_of


@dataclass
class Kettle:
    """A kettle.

    Arguments:
        litres: Of water,
            at most.
        colour: Of the outside.
        steps: Heating steps.
        whistle: Whether it sings.
        name: Where it has one.
    """

    litres: float
    colour: Literal["red", "blue"] = "red"
    steps: int = 3
    whistle: bool = False
    name: str | None = None


def test_a_dataclass_gives_its_options_with_types_defaults_and_help():
    options = {option.name: option for option in options_of(Kettle)}
    assert list(options) == ["litres", "colour", "steps", "whistle", "name"]
    assert options["litres"].required and options["litres"].help == "Of water, at most."
    assert options["colour"].type == ("red", "blue") and options["colour"].default == "red"
    assert options["name"].optional and not options["name"].required and options["name"].default is None


@pytest.mark.parametrize(
    "values, message",
    [
        ({"litre": 1.0}, r"kettle has no litre; did you mean litres\? It has litres, colour, steps, whistle, name"),
        ({"xyz": 1}, "kettle has no xyz; it has litres, colour, steps, whistle, name"),
        ({"steps": 1.5}, "kettle.steps is 1.5; give a whole number"),
        ({"steps": True}, "kettle.steps is True; give a whole number"),
        ({"litres": "1"}, "kettle.litres is '1'; give a number"),
        ({"litres": None}, "kettle.litres is None; give a number"),
        ({"colour": "green"}, "kettle.colour is 'green'; choose from red, blue"),
        ({"whistle": 1}, "kettle.whistle is 1; give true or false"),
    ],
)
def test_unknown_keys_and_wrong_types_are_named_with_their_place(values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        checked(options_of(Kettle), values, "kettle")


def test_whole_numbers_serve_where_numbers_are_asked_for():
    values = checked(options_of(Kettle), {"litres": 2, "name": None}, "kettle")
    assert values == {"litres": 2.0, "name": None} and isinstance(values["litres"], float)


def test_arguments_that_no_option_can_express_are_named():
    def f(x, sizes: list) -> None: ...

    with pytest.raises(ValueError, match="argument 'sizes' of f is annotated .*list"):
        options_of(f, skip={"x"})


class Outside(TypedDict, total=False):
    colour: str
    steps: int


class Samovar(Kettle):
    """A samovar.

    Arguments:
        taps: Of them.
        steps: Of the samovar.
    """

    def __init__(self, litres: float, taps: int = 1, **outside: Unpack[Outside]):
        super().__init__(litres, **outside)
        self.taps = taps


def test_a_class_inherits_the_options_of_its_base_that_it_names():
    class Plain(Kettle):
        def __init__(self, taps: int = 1, **rest: object):
            super().__init__(1.0)

    options = {option.name: option for option in options_of(Samovar, {"litres"})}
    assert list(options) == ["taps", "colour", "steps"]
    assert options["colour"] == options_of(Kettle)[1]
    assert options["steps"].help == "Of the samovar." and options["steps"].default == 3
    assert [option.name for option in options_of(Plain)] == ["taps"]
