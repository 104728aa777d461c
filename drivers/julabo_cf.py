"""Julabo cryo-compact circulators CF31 and CF41: the chiller of the cooling plate.

Source: CF31 operating manual, remote control (commands, status and error messages, times, RS-485 address), and the
public `julabo` client that runs on a CF31 (answer to VERSION, XON and XOFF within answers). Commands end with CR,
answers with CR+LF; settings have no answer. The manual wants 250 ms between commands: `spacing_s: 0.25`. The serial
line is 4800 baud 7E1 with hardware handshake, which a serial server does: `port: socket://host:port`. Settings are
taken in remote mode alone, which is chosen at its panel; after a power failure it stands still.

Assumed: CF41 is like CF31; it displays degC (it talks in the unit of its display and does not tell which); errors -08
to -11 belong to the last command and are told once.
"""

from __future__ import annotations

import re

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, SettingError
from drivers.identity import check_identity
from drivers.links import TextLink
from drivers.numbers import parse_integer, parse_number
from drivers.roles import ChillerReading, Identity

MODELS = ("CF31", "CF41")
ADDRESSES = range(1, 128)
REMOTE = (2, 3)
RESOLUTION = 0.01  # degC

_VERSION = re.compile(r"JULABO .*?\b(CF\d+)\b.*?VERSION ?(\S+)")
_STATUS = re.compile(r"(-?\d\d) (\S.*)")


def parse_version(answer: str) -> tuple[str, str]:
    """Read `JULABO CRYOCOMPACT CF31 VERSION 5.0`: model and firmware."""
    match = _VERSION.fullmatch(answer)
    if match is None:
        raise IdentityError("model", " or ".join(MODELS), answer)
    return match[1], match[2]


def parse_status(answer: str) -> tuple[int, str]:
    """Read `03 REMOTE START` or `-01 LOW LEVEL ALARM`: code, negative for a fault, and text."""
    match = _STATUS.fullmatch(answer)
    if match is None:
        raise AnswerError("expected a code and a text from STATUS", answer)
    return int(match[1]), match[2]


def parse_switch(answer: str) -> bool:
    """Read `1` for started and `0` for stopped."""
    return parse_integer(answer, 0, 1) == 1


class JulaboCf:
    """Role Chiller."""

    def __init__(self, link: TextLink, model: str = "", serial: str = "", *, address: int | None = None) -> None:
        """address on an RS-485 bus; None on RS-232. The chiller knows no serial number."""
        if address is not None and address not in ADDRESSES:
            raise ConfigError(f"the address must lie in {ADDRESSES[0]} to {ADDRESSES[-1]}, not at {address}")
        self._link = link
        self._model, self._serial = model, serial
        self._prefix = "" if address is None else f"A{address:03d}_"
        self._temperatures: tuple[float, float] | None = None

    @property
    def temperatures(self) -> tuple[float, float]:
        if self._temperatures is None:
            raise DeviceError("the limits are unknown before connect()")
        return self._temperatures

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        highest = parse_number(await self._ask("IN_SP_03"))
        self._temperatures = parse_number(await self._ask("IN_SP_04")), highest
        return identity

    async def identify(self) -> Identity:
        model, version = parse_version(await self._ask("VERSION"))
        if model not in MODELS:
            raise IdentityError("model", " or ".join(MODELS), model)
        return Identity("JULABO", model, "", version)

    async def close(self) -> None:
        await self._link.close()

    async def read(self) -> ChillerReading:
        code, text = parse_status(await self._ask("STATUS"))
        temperature = parse_number(await self._ask("IN_PV_00"))
        set_point = parse_number(await self._ask("IN_SP_00"))
        running = parse_switch(await self._ask("IN_MODE_05"))
        return ChillerReading(temperature, set_point, running, (text,) if code < 0 else ())

    async def condition(self, temperature: float) -> None:
        lowest, highest = self.temperatures
        if not lowest <= temperature <= highest:
            raise SettingError(
                f"a set point of {temperature:g} degC is outside the chiller's {lowest:g} to {highest:g} degC"
            )
        await self._check_remote()
        await self._set("MODE_01", "0")  # the first of its three set points is the one that counts
        await self._set("SP_00", f"{temperature:.2f}")
        await self._set("MODE_05", "1")
        await self._check_remote()

    async def stop(self) -> None:
        if parse_switch(await self._ask("IN_MODE_05")):
            await self._set("MODE_05", "0")

    async def _check_remote(self) -> None:
        """Raise DeviceError for a fault, SettingError for one who operates it at its panel."""
        code, text = parse_status(await self._ask("STATUS"))
        if code < 0:
            raise DeviceError(f"the chiller reports {code:03d} {text}")
        if code not in REMOTE:
            raise SettingError(f"the chiller is in {text}; choose remote control at its panel")

    async def _set(self, name: str, value: str) -> None:
        """Write a setting, which is never answered, and read it back."""
        await self._link.write(f"{self._prefix}OUT_{name} {value}")
        answer = parse_number(await self._ask(f"IN_{name}"))
        if abs(answer - float(value)) > RESOLUTION / 2:
            code, text = parse_status(await self._ask("STATUS"))
            reason = f"it reports {text}" if code < 0 else "check the chiller"
            raise SettingError(f"{name}: wrote {value}, reads back {answer:g}; {reason}")

    async def _ask(self, query: str) -> str:
        """The answer without address, and without the XON and XOFF that its flow control leaves within."""
        answer = await self._link.query(self._prefix + query)
        answer = answer.replace("\x11", "").replace("\x13", "").strip()
        if not answer.startswith(self._prefix):
            raise AnswerError(f"expected the answer of {self._prefix}", answer)
        return answer.removeprefix(self._prefix)
