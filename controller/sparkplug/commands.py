"""A write to a station's metric as the command that the MES would send: one door, one authority, one audit."""

from __future__ import annotations

import json

from controller.mes.reading import PayloadError as UnreadableError
from controller.mes.reading import read_json
from controller.mes.topics import rfc3339
from controller.sparkplug.incoming import Refused, Write
from controller.sparkplug.metrics import MESSAGE

LIVES = 30.0  # s after which a command is too old to be carried out


def as_command(write: Write, actor: str, source: str) -> bytes | Refused:
    """CloudEvents JSON for the door. `Command/<name>` = true is the command of that name; `Command/Message` holds the
    `data` of any command. Who asks is `actor`, whatever the message says: who may write to the topic may not choose."""
    known = {"issued_at": rfc3339(write.time), "expires_at": rfc3339(write.time + LIVES)}
    if write.name == MESSAGE:
        try:
            asked = read_json(str(write.value).encode())
        except UnreadableError as error:
            return Refused(write.device, error.code, str(error))
        if not isinstance(asked, dict):
            return Refused(write.device, "E-SPARKPLUG-VALUE", f"{MESSAGE} takes a JSON object")
    elif write.value is True:
        command = write.name.rpartition("/")[2].lower()
        asked = {"command": command, "cmd_id": f"spb-{write.device}-{command}-{write.time * 1000:.0f}"}
    else:
        return Refused(write.device, "E-SPARKPLUG-VALUE", f"{write.name} takes true")
    data = {**known, **asked, "actor": actor}
    message = {
        "specversion": "1.0",
        "id": str(data.get("cmd_id") or "none")[:200],
        "source": f"/{source}",
        "type": "evaline.cmd.v1",
        "data": data,
    }
    return json.dumps(message).encode()
