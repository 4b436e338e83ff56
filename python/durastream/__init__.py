"""Durable streams: an embeddable log engine and a server of the Durable Streams protocol.

>>> from durastream import LogEngine
>>> with LogEngine(":memory:") as log:
...     _ = log.create("orders", content_type="application/json")
...     _ = log.append("orders", b'{"n": 1}')
...     log.read("orders").json()
[{'n': 1}]
"""

# What `typing` has under this name. Nothing is imported before `__main__` has taken SIGINT, which would
# otherwise end a command with a traceback.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from durastream._native import (
        AppendResult,
        CreateResult,
        ListPage,
        Offset,
        Page,
        RecoveryReport,
        Retention,
        Stats,
        StreamInfo,
        __version__,
    )
    from durastream.aio import AsyncLogEngine
    from durastream.engine import LogEngine
    from durastream.errors import (
        BackupFailed,
        ContentTypeMismatch,
        DataDamaged,
        DirectoryInUse,
        DirectoryNotEmpty,
        DurableStreamError,
        EngineClosed,
        ForkedProcess,
        FormatVersion,
        InvalidContentType,
        InvalidForkPoint,
        InvalidInput,
        InvalidOffset,
        InvalidPath,
        InvalidPayload,
        InvalidProducer,
        LimitExceeded,
        LogFailed,
        NotRepairable,
        OffsetGone,
        OpenFailed,
        Overloaded,
        PayloadTooDeep,
        ProducerEpochStart,
        ProducerFenced,
        ProducerGap,
        ReadFailed,
        SeqConflict,
        StorageFull,
        StreamClosed,
        StreamDeleted,
        StreamExists,
        StreamNotFound,
        TailMoved,
    )

__all__ = [
    "LogEngine",
    "AsyncLogEngine",
    "Offset",
    "Page",
    "AppendResult",
    "CreateResult",
    "StreamInfo",
    "ListPage",
    "Stats",
    "RecoveryReport",
    "Retention",
    "DurableStreamError",
    "StreamNotFound",
    "StreamExists",
    "StreamDeleted",
    "StreamClosed",
    "OffsetGone",
    "TailMoved",
    "SeqConflict",
    "ContentTypeMismatch",
    "ProducerFenced",
    "ProducerGap",
    "ProducerEpochStart",
    "InvalidInput",
    "InvalidPath",
    "InvalidOffset",
    "InvalidPayload",
    "PayloadTooDeep",
    "InvalidContentType",
    "InvalidForkPoint",
    "InvalidProducer",
    "LimitExceeded",
    "Overloaded",
    "StorageFull",
    "LogFailed",
    "ReadFailed",
    "DataDamaged",
    "OpenFailed",
    "DirectoryInUse",
    "DirectoryNotEmpty",
    "BackupFailed",
    "NotRepairable",
    "FormatVersion",
    "EngineClosed",
    "ForkedProcess",
    "__version__",
]

# Loaded when first used: a program pays for what it uses, and one that only has this package installed
# beside its pytest for nothing.
_HOMES = {
    "durastream._native": (
        "AppendResult",
        "CreateResult",
        "ListPage",
        "Offset",
        "Page",
        "RecoveryReport",
        "Retention",
        "Stats",
        "StreamInfo",
        "__version__",
    ),
    "durastream.aio": ("AsyncLogEngine",),
    "durastream.engine": ("LogEngine",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = ("aio", "engine", "errors")


def __getattr__(name: str) -> "Any":  # noqa: ANN401  (of the type that the imports above say)
    import importlib  # noqa: PLC0415

    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME.get(name, "durastream.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
