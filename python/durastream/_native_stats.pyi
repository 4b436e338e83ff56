"""Counters of `durastream._native`."""

from collections.abc import Sequence
from typing import final

@final
class Distribution:
    """Values counted in buckets that double."""

    @property
    def bounds(self) -> Sequence[int]:
        """Largest value of each bucket but the last, which has no bound."""
    @property
    def counts(self) -> Sequence[int]:
        """Values in each bucket alone."""
    @property
    def sum(self) -> int:
        """All values together."""

@final
class Stats:
    """Counters of the engine and its log. Since opening, unless it says "now"."""

    @property
    def streams(self) -> int:
        """Streams now, soft-deleted ones included."""
    @property
    def soft_deleted(self) -> int:
        """Soft-deleted streams now."""
    @property
    def appends(self) -> int:
        """Appends accepted, closes included."""
    @property
    def append_bytes(self) -> int:
        """Payload bytes accepted."""
    @property
    def duplicates(self) -> int:
        """Appends that were duplicates."""
    @property
    def refusals(self) -> int:
        """Appends and creations refused."""
    @property
    def reads(self) -> int:
        """Pages given."""
    @property
    def read_bytes(self) -> int:
        """Payload bytes given."""
    @property
    def watches(self) -> int:
        """Watches registered now."""
    @property
    def expired(self) -> int:
        """Streams removed because they had expired."""
    @property
    def retention_trims(self) -> int:
        """Trims that a retention asked for."""
    @property
    def groups(self) -> int:
        """Commit groups written."""
    @property
    def frames(self) -> int:
        """Frames written."""
    @property
    def log_bytes(self) -> int:
        """Bytes written to the log, headers included."""
    @property
    def syncs(self) -> int:
        """Syncs made."""
    @property
    def sync_nanos(self) -> int:
        """Nanoseconds spent in them."""
    @property
    def pending_bytes(self) -> int:
        """Bytes waiting to be committed now."""
    @property
    def hot_bytes(self) -> int:
        """Bytes kept for reads now."""
    @property
    def segments(self) -> int:
        """Log segments in use now."""
    @property
    def recycled(self) -> int:
        """Segments that were reused instead of created."""
    @property
    def checkpoints(self) -> int:
        """Checkpoints written."""
    @property
    def checkpoint_lsn(self) -> int:
        """Log address of the newest checkpoint."""
    @property
    def durable_lsn(self) -> int:
        """Log address below which everything is acknowledged."""
    @property
    def end_lsn(self) -> int:
        """Log address behind everything decided."""
    @property
    def sync_times(self) -> Distribution:
        """Nanoseconds of each sync."""
    @property
    def group_frames(self) -> Distribution:
        """Frames of each commit group."""
    @property
    def group_bytes(self) -> Distribution:
        """Bytes of each commit group in the log."""
    @property
    def sealed_lsn(self) -> int:
        """Everything below is in sealed files, or was dead."""
    @property
    def sealed_files(self) -> int:
        """Sealed files now."""
    @property
    def sealed_bytes(self) -> int:
        """Their bytes."""
    @property
    def sealed_live_bytes(self) -> int:
        """Payload bytes in them that were alive when last asked: an estimate."""
    @property
    def sealed_files_damaged(self) -> int:
        """Sealed files in which something did not verify; what is alive there is refused."""
    @property
    def lost_bytes(self) -> int:
        """Payload bytes that were damaged before they were sealed and that readers may ask for: refused."""
    @property
    def sealing_backlog(self) -> int:
        """Full segments that wait to be sealed now."""
    @property
    def sealing_halted(self) -> str | None:
        """Why sealing stands still, when it does."""
    @property
    def slowed_nanos(self) -> int:
        """Nanoseconds by which commits were delayed because sealing fell behind."""
    @property
    def sealed_written_bytes(self) -> int:
        """Bytes written by sealing."""
    @property
    def compactions(self) -> int:
        """Compactions done."""
    @property
    def compacted_bytes(self) -> int:
        """Bytes written by compaction."""
    @property
    def blocks_verified(self) -> int:
        """Blocks of sealed files verified."""
    @property
    def reads_hot(self) -> int:
        """Payloads read from memory."""
    @property
    def reads_cold(self) -> int:
        """Payloads read from files."""
    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of checkpoints written."""
    @property
    def storage_full(self) -> str | None:
        """Why appends are refused for want of space, while they are."""
    @property
    def write_amplification(self) -> float:
        """Bytes written for every byte of log, the log itself included; 0 before the first."""
    @property
    def space_amplification(self) -> float | None:
        """Bytes of sealed files for every payload byte in them that can still be read: an estimate."""

@final
class ListenerStats:
    """Counters of the native listener. Since its start, unless it says "now"."""

    @property
    def connections(self) -> int:
        """Connections open now."""
    @property
    def accepted(self) -> int:
        """Connections accepted."""
    @property
    def refused(self) -> int:
        """Of them, those over the limit."""
    @property
    def upload_bytes(self) -> int:
        """Bytes of request bodies being received now."""
    @property
    def received_bytes(self) -> int:
        """Bytes of request bodies received."""
    @property
    def sent_bytes(self) -> int:
        """Bytes of answers' bodies sent."""
    @property
    def sharing(self) -> int:
        """Live reads that wait with others for the same, less the watches in `Stats.watches` for them."""
    @property
    def answer_times(self) -> Sequence[tuple[str, Distribution]]:
        """Nanoseconds from a request's head to its answer's, by operation."""
    @property
    def statuses(self) -> Sequence[tuple[int, int]]:
        """Answers by status."""
