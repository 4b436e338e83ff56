"""The listener says when it runs on a hypercorn that nobody examined."""

import logging
from importlib.metadata import version

import pytest
from hypercorn.protocol.h2 import H2Protocol

from durastream.listener import CHECKED_HYPERCORN, base


def test_the_examined_version_is_the_installed_one() -> None:
    assert version("hypercorn") == CHECKED_HYPERCORN


def test_the_examined_version_is_used_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    base.check_hypercorn()
    assert not caplog.records


def test_another_version_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(base, "CHECKED_HYPERCORN", "0.17.0")
    with caplog.at_level(logging.WARNING):
        base.check_hypercorn()
    assert "0.18.0 was not examined" in caplog.text


def test_a_version_without_what_is_replaced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(H2Protocol, "_create_stream")
    with pytest.raises(base.IncompatibleHypercornError, match=r"no H2Protocol\._create_stream"):
        base.check_hypercorn()
