"""The durable truth: what is not in the journal did not happen."""

from controller.journal.format import (
    AuditEntry,
    Event,
    JournalError,
    OutboxMessage,
    PendingMessage,
    RunSummary,
    StoredEvent,
)
from controller.journal.journal import Journal, holder
from controller.journal.reader import JournalReader

__all__ = [
    "AuditEntry",
    "Event",
    "Journal",
    "JournalError",
    "JournalReader",
    "OutboxMessage",
    "PendingMessage",
    "RunSummary",
    "StoredEvent",
    "holder",
]
