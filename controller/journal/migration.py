"""Bringing a journal of a former version up to this one, in one transaction: all of it or nothing.

Format 2 knows of each message in the outbox which event vouches for it, and whether somebody refused it. The chain and
what it covers stay as they are, so hashes that were noted elsewhere remain true.
"""

from __future__ import annotations

import json
import sqlite3

from controller.journal.format import COVERS, FORMER, INDEXES, VERSION


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a journal of a former version to this one; leaves any other file alone. Raises as reading it would."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in FORMER:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("ALTER TABLE outbox ADD COLUMN event INTEGER NOT NULL DEFAULT 0")
        connection.execute("ALTER TABLE outbox ADD COLUMN refused INTEGER")
        vouching = connection.execute("SELECT seq, body FROM events WHERE instr(body, ?)", (f'"{COVERS}"',)).fetchall()
        connection.executemany(
            "UPDATE outbox SET event = ? WHERE seq = ?",
            ((seq, row) for seq, body in vouching for row, _ in json.loads(body).get(COVERS, {}).get("outbox", [])),
        )
        for index in filter(str.strip, INDEXES.split(";")):
            connection.execute(index)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
