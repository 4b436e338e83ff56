"""What the documentation shows works as shown, and every public name is documented."""

import doctest
import inspect

import pytest

import durastream
from durastream import AsyncLogEngine, LogEngine


def test_the_example_of_the_package_runs() -> None:
    result = doctest.testmod(durastream)
    assert result.attempted >= 2
    assert result.failed == 0


@pytest.mark.parametrize("name", [name for name in durastream.__all__ if name != "__version__"])
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert inspect.getdoc(getattr(durastream, name))


@pytest.mark.parametrize(
    "name",
    [name for name in durastream.__all__ if inspect.isclass(getattr(durastream, name))],
)
def test_every_attribute_of_an_answer_has_a_docstring(name: str) -> None:
    """As `help` shows it; the stubs are for type checkers."""
    for attribute, value in vars(getattr(durastream, name)).items():
        if inspect.isgetsetdescriptor(value) and not attribute.startswith("__"):
            assert value.__doc__, attribute


def test_the_twins_have_the_same_methods_and_arguments() -> None:
    def public(cls: type) -> dict[str, object]:
        return {name: value for name, value in vars(cls).items() if not name.startswith("_")}

    ours, theirs = public(LogEngine), public(AsyncLogEngine)
    assert set(theirs) - set(ours) == {"open", "wrap", "engine"}
    assert set(ours) - set(theirs) == set()
    for name, value in ours.items():
        if inspect.isfunction(value):
            twin = theirs[name]
            assert callable(twin)
            expected = list(inspect.signature(value).parameters.values())
            assert list(inspect.signature(twin).parameters.values()) == expected, name
            assert inspect.getdoc(twin), name
