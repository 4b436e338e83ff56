"""Where requests go: forks, repeated parameters, headers of the caller."""

from typing import Any

import pytest

from durastream.client import BadRequest
from durastream.client.core import refusal
from durastream.client.core.steps import Current, Request
from durastream.client.core.target import Target

SECRET = {"Authorization": "Bearer s3cr3t"}


def requested(target: Target, **ours: str) -> Request:
    operation = target.request("GET", ours)
    try:
        next(operation)
        given = {n: value() if callable(value) else value for n, value in target.headers.items()}
        operation.send(Current(given, {}))
    except StopIteration as end:
        request = end.value
        assert isinstance(request, Request)
        return request
    raise AssertionError("it goes on")


@pytest.mark.parametrize(
    ("to", "url"),
    [
        ("user:1", "http://host/v1/user:1"),
        ("b", "http://host/v1/b"),
        ("/v2/x:y", "http://host/v2/x:y"),
        ("http://HOST/v1/z", "http://HOST/v1/z"),
        ("http://host:80/v1/z", "http://host:80/v1/z"),
    ],
)
def test_a_fork_is_named_by_url_path_or_name(to: str, url: str) -> None:
    assert Target.of("http://host/v1/a", SECRET, None).sibling(to).url == url


@pytest.mark.parametrize("to", ["b/c", "./b", "../b", "b/", "", ".", ".."])
def test_a_name_that_a_server_would_have_to_place_is_refused(to: str) -> None:
    with pytest.raises(ValueError, match=r"whole path .*/v1/a\), or a URL"):
        Target.of("http://host/v1/a", SECRET, None).sibling(to)


@pytest.mark.parametrize("url", [None, b"http://host/a", 5])
def test_what_is_no_text_is_no_url(url: object) -> None:
    given: Any = url
    with pytest.raises(TypeError, match=f"a str, not {type(url).__name__}"):
        Target.of(given, None, None)


@pytest.mark.parametrize("to", ["http://other/v1/a", "https://host/v1/a", "//other/a"])
def test_no_other_server_is_sent_this_ones_credentials(to: str) -> None:
    with pytest.raises(ValueError, match="source's server"):
        Target.of("http://host/v1/a", SECRET, None).sibling(to)


def test_parameters_of_the_url_may_be_repeated() -> None:
    target = Target.of("http://host/a?b=1&a=2&b=3", None, {"c": "4"})
    assert requested(target).url == "http://host/a?a=2&b=1&b=3&c=4"


def test_a_header_that_is_ours_goes_out_once_whatever_its_case() -> None:
    target = Target.of("http://host/a", {"accept": "text/plain", "X-Own": "1"}, None)
    assert requested(target, Accept="text/event-stream").headers == {
        "X-Own": "1",
        "Accept": "text/event-stream",
    }


@pytest.mark.parametrize("value", [5, None, b"x"])
def test_a_header_that_is_no_text_is_named(value: object) -> None:
    for given in (value, lambda: value):
        with pytest.raises(BadRequest, match="X-Own"):
            requested(Target.of("http://host/a", {"X-Own": given}, None))


@pytest.mark.parametrize("text", ["²", "٣"])
def test_digits_of_other_scripts_are_no_numbers(text: str) -> None:
    assert refusal.retry_after({"retry-after": text}) is None
    assert refusal.number({"producer-seq": text}, "producer-seq") == -1
