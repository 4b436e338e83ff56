"""Offsets are text that sorts."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durastream import InvalidOffset, Offset

halves = st.integers(0, 9_999_999_999_999_999)
texts = st.builds(lambda left, right: f"{left:016}_{right:016}", halves, halves)


@given(texts)
def test_text_round_trips(text: str) -> None:
    offset = Offset(text)
    assert str(offset) == text
    assert Offset(str(offset)) == offset
    assert f"{offset.incarnation:016}_{offset.position:016}" == text


@given(texts, texts)
def test_order_is_the_byte_order_of_the_text(a: str, b: str) -> None:
    assert (Offset(a) < Offset(b)) == (a.encode() < b.encode())
    assert (Offset(a) <= Offset(b)) == (a.encode() <= b.encode())
    assert (Offset(a) > Offset(b)) == (a.encode() > b.encode())
    assert (Offset(a) >= Offset(b)) == (a.encode() >= b.encode())
    assert (Offset(a) == Offset(b)) == (a == b)
    assert (Offset(a) != Offset(b)) == (a != b)


@given(texts)
def test_equal_offsets_hash_alike(text: str) -> None:
    assert hash(Offset(text)) == hash(Offset(text))
    assert {Offset(text): 1}[Offset(text)] == 1


@given(texts)
def test_copies_and_pickles(text: str) -> None:
    offset = Offset(text)
    assert pickle.loads(pickle.dumps(offset)) == offset
    assert copy.deepcopy(offset) == offset


def test_repr_is_what_makes_it() -> None:
    text = "0000000000000007_0000000000000042"
    assert repr(Offset(text)) == f"Offset('{text}')"
    assert Offset(Offset(text)) == Offset(text)


def test_start_is_before_everything() -> None:
    assert str(Offset.START) == "0000000000000000_0000000000000000"
    assert Offset("0000000000000000_0000000000000001") > Offset.START


def test_is_immutable() -> None:
    with pytest.raises(AttributeError):
        Offset.START.position = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "now",
        "1_2",
        "0000000000000000",
        "0000000000000000_000000000000000",
        "0000000000000000_00000000000000000",
        "0000000000000000-0000000000000000",
        "+000000000000000_0000000000000000",
        "000000000000000a_0000000000000000",
        "0000000000000000_0000000000000000_",
        " 0000000000000000_0000000000000000",
        "\N{ARABIC-INDIC DIGIT ZERO}000000000000000_0000000000000000",
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidOffset, match="16 digits") as caught:
        Offset(text)
    assert caught.value.given == text
    assert isinstance(caught.value, ValueError)


def test_is_neither_text_nor_number() -> None:
    assert str(Offset.START) != Offset.START
    with pytest.raises(TypeError):
        Offset.START < "1"  # type: ignore[operator]  # noqa: B015
    with pytest.raises(TypeError):
        Offset(5)  # type: ignore[arg-type]
