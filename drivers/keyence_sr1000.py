"""Keyence SR-1000 and its sisters SR-750, SR-2000: reads the code on a battery.

Source: SR-750 series user manual p. 71-72, which holds for the sisters: ASCII commands that end with CR (`terminator:
CR`), on RS-232C or TCP, and answers that end alike. `LON` starts reading and is answered by `OK,LON`, then by the code
when there is one; `LOFF` ends it, and if nothing was read the read error string follows its answer. Public programs add
`KEYENCE` -> `OK,KEYENCE,SR-700,1.12`, TCP port 9004 and the meaning of the error codes. An external trigger makes the
reader send codes by itself; the answer to LON tells such a code from the one that was asked for, so the reader must be
set to answer LON and LOFF (specify response character), which some are not when they leave the factory.
"""

from __future__ import annotations

from drivers.errors import TIMEOUT, AnswerError, DeviceError, IdentityError, LinkError
from drivers.identity import check_identity
from drivers.links import TextLink
from drivers.roles import Identity

READ_ERROR = "ERROR"  # as it leaves the factory
LONGEST_CODE = 256
NOT_NOW = "20"
ERRORS = {
    "00": "unknown command",
    NOT_NOW: "not possible now",
    "22": "its parameters cannot be loaded",
    "23": "its setup tool is connected",
    "99": "the reader is faulty",
}


def parse_version(answer: str) -> Identity:
    """Read `OK,KEYENCE,SR-1000,1.00`."""
    fields = answer.split(",", 3)
    if fields[:2] != ["OK", "KEYENCE"] or len(fields) != 4:
        raise AnswerError("expected OK,KEYENCE, model and version", answer)
    return Identity("KEYENCE", fields[2].strip(), "", fields[3].strip())


def parse_refusal(answer: str, command: str) -> str | None:
    """The error code of `ER,LON,20`, None for any other line."""
    return answer.removeprefix(f"ER,{command},") if answer.startswith(f"ER,{command},") else None


def check_code(line: str) -> str:
    """A code as it was read; raises AnswerError for what no label carries."""
    if not line.isascii() or not line.isprintable():
        raise AnswerError("the code is not printable ASCII", line)
    if len(line) > LONGEST_CODE:
        raise AnswerError(f"the code is longer than {LONGEST_CODE} characters", line)
    return line


ON_ITS_WAY = 0.06  # s that a line may take from the reader through a serial server


class KeyenceSr1000:
    """Role CodeReader."""

    def __init__(self, link: TextLink, model: str = "", serial: str = "", *, read_error: str = READ_ERROR) -> None:
        """read_error is the string that the reader is set to send when it gives up. It knows no serial number."""
        self._link = link
        self._model, self._serial = model, serial
        self._read_error = read_error
        self._is_triggered = False
        self._is_reading = False  # LON was answered: what follows is what it reads
        self._code: str | None = None

    async def connect(self) -> Identity:
        await self._link.open()
        return check_identity(await self.identify(), self._model, self._serial)

    async def identify(self) -> Identity:
        answer = await self._link.query("KEYENCE")
        if not answer.startswith(("OK,", "ER,")):  # a code that came by itself
            answer = await self._link.query("KEYENCE")
        identity = parse_version(answer)
        if not identity.model.startswith("SR-"):
            raise IdentityError("model", "SR-1000", identity.model)
        return identity

    async def close(self) -> None:
        await self._link.close()

    async def trigger(self) -> None:
        await self.stop()  # a reader that reads refuses to begin
        self._code, self._is_reading = None, False
        line = await self._command("LON")
        self._is_triggered = True
        self._take(line)

    async def code(self) -> str | None:
        if not self._is_triggered:
            raise DeviceError("the reader was not triggered; trigger it first")
        if self._code is None:  # while line time stands still, what was found already gets through the wire
            await self._link.pause(ON_ITS_WAY)
        while self._code is None and (line := await self._link.poll()) is not None:
            self._take(line)
        return self._code

    async def stop(self) -> None:
        self._is_triggered = False
        line = await self._command("LOFF")
        if not line.startswith(("OK,LOFF", "ER,LOFF,")):  # a code that came in this moment
            line = await self._command("LOFF")
        refusal = parse_refusal(line, "LOFF")
        if line != "OK,LOFF" and refusal != NOT_NOW:  # which means that nothing is being read
            if refusal is None:
                raise AnswerError("expected OK,LOFF", line)
            raise _refused("LOFF", refusal)

    async def _command(self, word: str) -> str:
        """The line that comes next, which is the answer unless a code came by itself."""
        try:
            return await self._link.query(word)
        except LinkError as error:
            if error.code == TIMEOUT:
                raise LinkError(TIMEOUT, f"{error}; is the reader set to answer {word}?") from error
            raise

    def _take(self, line: str) -> None:
        """What the reader said since LON was sent, line by line."""
        if self._is_reading:
            if line == self._read_error:
                self._is_triggered = False
                raise DeviceError("the reader found no code; check label, light and distance")
            self._code = check_code(line)
        elif line == "OK,LON":
            self._is_reading = True
        elif (refusal := parse_refusal(line, "LON")) is not None:
            self._is_triggered = False
            raise _refused("LON", refusal)


def _refused(command: str, code: str) -> DeviceError:
    return DeviceError(f"the reader refuses {command}: error {code} ({ERRORS.get(code, 'see its manual')})")
