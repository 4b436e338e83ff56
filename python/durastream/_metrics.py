"""Figures of a log and its listeners in Prometheus's text form; docs/metrics.md says what each one means."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from durastream._native import Stats
    from durastream._tally import Counted, Figures

NANO = 1e-9

Table = tuple[tuple[str, str, float, str], ...]
# Name without the prefix, attribute of Stats, factor, meaning. The name ends in its unit.
GAUGES: Table = (
    ("streams", "streams", 1, "Streams, soft-deleted ones included."),
    ("soft_deleted_streams", "soft_deleted", 1, "Soft-deleted streams."),
    ("pending_bytes", "pending_bytes", 1, "Log bytes decided and not yet acknowledged."),
    ("hot_bytes", "hot_bytes", 1, "Payload bytes kept in memory for readers."),
    ("log_segments", "segments", 1, "Log segments, reserves included."),
    ("sealed_files", "sealed_files", 1, "Sealed files."),
    ("sealed_bytes", "sealed_bytes", 1, "Bytes of sealed files."),
    ("sealed_live_bytes", "sealed_live_bytes", 1, "Estimated live payload bytes in sealed files."),
    ("sealed_damaged_files", "sealed_files_damaged", 1, "Sealed files with damage that was met."),
    ("lost_bytes", "lost_bytes", 1, "Payload bytes damaged before they were sealed."),
    ("sealing_backlog_segments", "sealing_backlog", 1, "Full segments that wait to be sealed."),
    ("durable_lsn_bytes", "durable_lsn", 1, "Log address below which all is acknowledged."),
    ("checkpoint_lsn_bytes", "checkpoint_lsn", 1, "Log address of the newest checkpoint."),
)
COUNTERS: Table = (
    ("appends", "appends", 1, "Appends accepted, closes included."),
    ("append_bytes", "append_bytes", 1, "Payload bytes accepted."),
    ("duplicate_appends", "duplicates", 1, "Appends that were duplicates of an earlier one."),
    ("refused_writes", "refusals", 1, "Appends and creations refused by a rule."),
    ("read_pages", "reads", 1, "Pages read."),
    ("read_bytes", "read_bytes", 1, "Payload bytes read."),
    ("expired_streams", "expired", 1, "Streams removed because they had expired."),
    ("retention_trims", "retention_trims", 1, "Trims that a retention asked for."),
    ("log_frames", "frames", 1, "Frames written to the log."),
    ("log_bytes", "log_bytes", 1, "Bytes written to the log, headers included."),
    ("recycled_segments", "recycled", 1, "Log segments reused instead of created."),
    ("checkpoints", "checkpoints", 1, "Checkpoints written."),
    ("commit_delay_seconds", "slowed_nanos", NANO, "Time commits were held back for sealing."),
    ("sealed_written_bytes", "sealed_written_bytes", 1, "Bytes written by sealing."),
    ("compactions", "compactions", 1, "Compactions done."),
    ("compacted_bytes", "compacted_bytes", 1, "Bytes written by compaction."),
    ("verified_blocks", "blocks_verified", 1, "Blocks of sealed files verified."),
)
HISTOGRAMS: Table = (
    ("sync_seconds", "sync_times", NANO, "Time of one fdatasync of the log."),
    ("commit_group_frames", "group_frames", 1, "Frames committed together."),
    ("commit_group_bytes", "group_bytes", 1, "Log bytes committed together."),
)
LISTENER_GAUGES: Table = (
    ("connections", "connections", 1, "Connections open."),
    ("upload_bytes", "upload_bytes", 1, "Bytes of request bodies being received."),
)
LISTENER_COUNTERS: Table = (
    ("connections_accepted", "accepted", 1, "Connections accepted."),
    ("connections_refused", "refused", 1, "Connections over the limit."),
    ("received_bytes", "received_bytes", 1, "Bytes of request bodies received."),
    ("sent_bytes", "sent_bytes", 1, "Bytes of response bodies sent."),
)
PREFIX = "durastream_"


class Metrics(Collector):
    """What `/metrics` tells. A listener adds itself to `listeners` under its name."""

    def __init__(self, stats: Callable[[], Stats], unready: Callable[[], str | None]) -> None:
        self.listeners: dict[str, Callable[[], Figures]] = {}
        self._stats = stats
        self._unready = unready
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """All of it. Raises EngineClosed."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the engine may not be open yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        stats = self._stats()
        yield GaugeMetricFamily(
            PREFIX + "ready", "1 while requests are served.", value=int(self._unready() is None)
        )
        yield GaugeMetricFamily(
            PREFIX + "sealing_halted",
            "1 while the log cannot be sealed.",
            value=int(stats.sealing_halted is not None),
        )
        listeners = {name: figures() for name, figures in self.listeners.items()}
        yield GaugeMetricFamily(
            PREFIX + "waiting_readers",
            "Live reads (long-poll, SSE, follow) that wait for data.",
            value=stats.watches + sum(seen.sharing for seen in listeners.values()),
        )
        for name, attribute, factor, text in GAUGES:
            yield GaugeMetricFamily(PREFIX + name, text, value=getattr(stats, attribute) * factor)
        for name, attribute, factor, text in COUNTERS:
            yield CounterMetricFamily(PREFIX + name, text, value=getattr(stats, attribute) * factor)
        yield GaugeMetricFamily(
            PREFIX + "write_amplification_ratio",
            "Bytes written for every byte of log, the log included.",
            value=stats.write_amplification,
        )
        space = stats.space_amplification
        yield GaugeMetricFamily(
            PREFIX + "space_amplification_ratio",
            "Bytes of sealed files for every estimated live payload byte in them.",
            value=math.nan if space is None else space,
        )
        payloads = CounterMetricFamily(
            PREFIX + "payload_reads", "Payloads read, by where they were.", labels=["source"]
        )
        payloads.add_metric(["memory"], stats.reads_hot)
        payloads.add_metric(["file"], stats.reads_cold)
        yield payloads
        for name, attribute, factor, text in HISTOGRAMS:
            family = HistogramMetricFamily(PREFIX + name, text)
            _fill(family, [], getattr(stats, attribute), factor)
            yield family
        yield from _of_listeners(listeners)


def _of_listeners(figures: Mapping[str, Figures]) -> Iterator[Metric]:
    for name, attribute, factor, text in LISTENER_GAUGES:
        gauge = GaugeMetricFamily(PREFIX + name, text, labels=["listener"])
        for listener, seen in figures.items():
            gauge.add_metric([listener], getattr(seen, attribute) * factor)
        yield gauge
    for name, attribute, factor, text in LISTENER_COUNTERS:
        counter = CounterMetricFamily(PREFIX + name, text, labels=["listener"])
        for listener, seen in figures.items():
            counter.add_metric([listener], getattr(seen, attribute) * factor)
        yield counter
    answers = CounterMetricFamily(
        PREFIX + "responses", "Responses, by status.", labels=["listener", "status"]
    )
    times = HistogramMetricFamily(
        PREFIX + "response_seconds",
        "From a request's head to its response's, by operation.",
        labels=["listener", "operation"],
    )
    for listener, seen in figures.items():
        for status, count in seen.statuses:
            answers.add_metric([listener, str(status)], count)
        for operation, counted in seen.answer_times:
            _fill(times, [listener, operation], counted, NANO)
    yield answers
    yield times


def _fill(
    family: HistogramMetricFamily, labels: list[str], counted: Counted, factor: float
) -> None:
    buckets, total = [], 0
    for bound, count in zip(counted.bounds, counted.counts, strict=False):
        total += count
        buckets.append((f"{bound * factor:.6g}", float(total)))
    buckets.append(("+Inf", float(sum(counted.counts))))
    family.add_metric(labels, buckets, sum_value=counted.sum * factor)
