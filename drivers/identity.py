"""Who answered, and whether it is the instrument of the line file."""

from __future__ import annotations

from drivers.errors import AnswerError, IdentityError
from drivers.roles import Identity


def parse_idn(answer: str) -> Identity:
    """Read an answer to `*IDN?`, IEEE 488.2: manufacturer, model, serial number, firmware."""
    fields = [field.strip() for field in answer.split(",", 3)]
    if len(fields) != 4 or not fields[0] or not fields[1]:
        raise AnswerError("expected maker, model, serial, firmware from *IDN?", answer)
    return Identity(*fields)


def check_identity(identity: Identity, model: str, serial: str) -> Identity:
    """Return identity, or raise IdentityError where the line file expects another model or serial; "" is any."""
    if model and identity.model != model:
        raise IdentityError("model", model, identity.model)
    if serial and identity.serial != serial:
        raise IdentityError("serial", serial, identity.serial)
    return identity
