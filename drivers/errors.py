"""Everything that can go wrong with an instrument, as one family with codes.

A message is one line: what was wrong, and what to do about it. Whoever knows the instrument's name fills it in.
"""

from __future__ import annotations

REFUSED = "E-LINK-REFUSED"
TIMEOUT = "E-LINK-TIMEOUT"
CLOSED = "E-LINK-CLOSED"
PORT = "E-LINK-PORT"
ADDRESS = "E-LINK-ADDRESS"
DESCRIPTORS = "E-LINK-DESCRIPTORS"


class InstrumentError(Exception):
    """Root of the family. `code` is stable and documented; `instrument` is the name in the line file, or empty."""

    code = "E-INSTRUMENT"

    def __init__(self, message: str, *, instrument: str = "") -> None:
        super().__init__(" ".join(message.split()))
        self.instrument = instrument

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{self.instrument}: {message}" if self.instrument else message


class LinkError(InstrumentError):
    """The conversation itself failed: refused, timed out, closed, port missing or busy."""

    def __init__(self, code: str, message: str, *, instrument: str = "") -> None:
        super().__init__(message, instrument=instrument)
        self.code = code


class AnswerError(InstrumentError):
    """The instrument answered something that does not parse. `answer` is shown shortened."""

    code = "E-ANSWER"

    def __init__(self, message: str, answer: object = None, *, instrument: str = "") -> None:
        super().__init__(message if answer is None else f"{message}: {_shortened(answer)}", instrument=instrument)


class IdentityError(InstrumentError):
    """Another instrument than the expected one answered."""

    code = "E-IDENTITY"

    def __init__(self, what: str, expected: str, answered: str, *, instrument: str = "") -> None:
        super().__init__(
            f"expected {what} {expected!r}, it answered {_shortened(answered)}; check the wiring or the line file",
            instrument=instrument,
        )


class NotHereError(IdentityError):
    """The driver's own kind of instrument answered, but has no such channel as the line file names."""


class SettingError(InstrumentError):
    """A setting read back differs from the one written, or must not be written at all."""

    code = "E-SETTING"


class DeviceError(InstrumentError):
    """The instrument itself reports an error: its error queue, event register or a Modbus exception."""

    code = "E-DEVICE"


class RefusedError(DeviceError):
    """A Modbus exception answer: `exception_code` is what the instrument sent, its meaning the driver's to know."""

    def __init__(self, message: str, exception_code: int, *, instrument: str = "") -> None:
        super().__init__(message, instrument=instrument)
        self.exception_code = exception_code


class ConfigError(InstrumentError):
    """The line file gives a driver settings that it does not know or cannot use."""

    code = "E-CONFIG"


def _shortened(answer: object) -> str:
    shown = repr(answer)
    return shown if len(shown) <= 60 else f"{shown[:40]}...{shown[-8:]} ({len(shown) - 2} characters)"
