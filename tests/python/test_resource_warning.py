"""A log that nobody closed says so, and is closed."""

import copy
import gc
import pickle
import warnings
from pathlib import Path

import pytest

from durastream import LogEngine


def test_an_unclosed_log_warns_and_is_closed(tmp_path: Path) -> None:
    log = LogEngine(tmp_path)
    log.create("s", body=b"abc")
    held = [log]
    del log
    with pytest.warns(ResourceWarning, match="unclosed <LogEngine .*, open>"):
        held.clear()
    with LogEngine(tmp_path) as log:
        assert log.recovery.clean
        assert bytes(log.read("s")) == b"abc"


def test_a_closed_log_does_not_warn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log = LogEngine(tmp_path)
        log.close()
        del log
        gc.collect()


def test_a_log_that_could_not_be_opened_does_not_warn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="durability"):
            LogEngine(tmp_path, durability="maybe")
        gc.collect()


def test_a_log_is_not_copied(tmp_path: Path) -> None:
    with LogEngine(tmp_path) as log:
        for make in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                make(log)
        gc.collect()
        assert not log.closed
