"""ESPEC chambers with a P-300 or SCP-220 controller.

Sources: the maker's own ChamberConnectLibrary (queries, error texts, RS-485 address), and public programs that run on
real chambers (`27.0,,STANDBY,0`, `27.0,50.0,185.0,-90.0`, `T,SCP220,190.0`, the echo `OK:TEMP, S25.0`). Lines end with
CR+LF both ways; on RS-485 every command begins with the chamber's address, its answer does not. A TCP converter (port
10001) takes no address. The manual asks for 0.3 s after a query and 0.5 s after a setting: `spacing_s: 0.5`. Alarms
are numbers; what they mean is in the chamber's manual.

Assumed: in standby TEMP? already shows the set point that constant mode will run at.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, SettingError
from drivers.identity import check_identity
from drivers.links import TextLink
from drivers.numbers import parse_integer, parse_number
from drivers.roles import ChamberReading, Identity

CONTROLLERS = ("P300", "SCP220")
RUNNING = {"OFF": False, "STANDBY": False, "CONSTANT": True, "RUN": True}
ADDRESSES = range(1, 17)
RESOLUTION = 0.1  # degC
REFUSALS = {
    "ADDR ERR": "wrong address",
    "DATA OUT OF RANGE": "outside the chamber's limits",
    "PROTECT ON": "its keys are protected",
    "CHB NOT READY": "it is switched off or in another mode",
}


@dataclass(frozen=True, slots=True)
class Temperatures:
    """An answer to TEMP?: air, set point and the alarm limits around it, degC."""

    air: float
    set_point: float
    highest: float
    lowest: float


def parse_type(answer: str) -> tuple[str, float]:
    """Read `T,T,P300,170.0`: the controller and the highest temperature, degC."""
    fields = answer.split(",")
    if len(fields) not in (3, 4):
        raise AnswerError("expected sensors, controller, highest temperature from TYPE?", answer)
    return fields[-2].strip(), parse_number(fields[-1])


def parse_temperatures(answer: str) -> Temperatures:
    """Read `23.4,25.0,100.0,-40.0`."""
    fields = answer.split(",")
    if len(fields) != 4:
        raise AnswerError("expected air, set point, high and low limit from TEMP?", answer)
    return Temperatures(*(parse_number(field) for field in fields))


def parse_monitor(answer: str) -> tuple[str, int]:
    """Read `23.4,,CONSTANT,0`: the mode and the number of alarms."""
    fields = answer.split(",")
    if len(fields) != 4:
        raise AnswerError("expected temperature, humidity, mode, alarms from MON?", answer)
    return parse_mode(fields[2]), parse_integer(fields[3], 0, 99)


def parse_mode(answer: str) -> str:
    """Read OFF, STANDBY, CONSTANT or RUN."""
    mode = answer.strip()
    if mode not in RUNNING:
        raise AnswerError(f"expected one of {', '.join(RUNNING)}", answer)
    return mode


def parse_alarms(answer: str) -> tuple[str, ...]:
    """Read `2,3,12`: how many and which."""
    count, *codes = (parse_integer(field, 0, 999) for field in answer.split(","))
    if count != len(codes):
        raise AnswerError("the number of alarms is not how many are listed", answer)
    return tuple(f"alarm {code}" for code in codes)


class EspecP300:
    """Role Chamber."""

    def __init__(self, link: TextLink, model: str = "", serial: str = "", *, address: int | None = None) -> None:
        """address on an RS-485 bus; None on RS-232 and behind a converter. The chamber knows no serial number."""
        if address is not None and address not in ADDRESSES:
            raise ConfigError(f"the address must lie in {ADDRESSES[0]} to {ADDRESSES[-1]}, not at {address}")
        self._link = link
        self._model, self._serial = model, serial
        self._prefix = "" if address is None else f"{address},"
        self._highest = 0.0
        self._temperatures: tuple[float, float] | None = None

    @property
    def temperatures(self) -> tuple[float, float]:
        if self._temperatures is None:
            raise DeviceError("the limits are unknown before connect()")
        return self._temperatures

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        limits = parse_temperatures(await self._ask("TEMP?"))
        self._temperatures = limits.lowest, min(limits.highest, self._highest)
        return identity

    async def identify(self) -> Identity:
        controller, self._highest = parse_type(await self._ask("TYPE?"))
        if controller not in CONTROLLERS:
            raise IdentityError("controller", " or ".join(CONTROLLERS), controller)
        return Identity("ESPEC", controller, "", await self._ask("ROM?"))

    async def close(self) -> None:
        await self._link.close()

    async def read(self) -> ChamberReading:
        mode, alarms = parse_monitor(await self._ask("MON?"))
        temperatures = parse_temperatures(await self._ask("TEMP?"))
        names = parse_alarms(await self._ask("ALARM?")) if alarms else ()
        return ChamberReading(temperatures.air, temperatures.set_point, RUNNING[mode], names)

    async def condition(self, temperature: float) -> None:
        lowest, highest = self.temperatures
        if not lowest <= temperature <= highest:
            raise SettingError(
                f"a set point of {temperature:g} degC is outside the chamber's {lowest:g} to {highest:g} degC"
            )
        await self._set(f"TEMP, S{temperature:.1f}")
        await self._set("MODE,CONSTANT")
        mode = parse_mode(await self._ask("MODE?"))
        set_point = parse_temperatures(await self._ask("TEMP?")).set_point
        if mode != "CONSTANT" or abs(set_point - round(temperature, 1)) > RESOLUTION / 2:
            raise SettingError(
                f"wrote CONSTANT at {temperature:.1f} degC, reads back {mode} at {set_point:g} degC; check the chamber"
            )

    async def stop(self) -> None:
        if not RUNNING[parse_mode(await self._ask("MODE?"))]:
            return
        await self._set("MODE,STANDBY")
        if RUNNING[mode := parse_mode(await self._ask("MODE?"))]:
            raise SettingError(f"wrote STANDBY, reads back {mode}; stop the chamber by hand")

    async def _ask(self, command: str) -> str:
        """A query's answer, or a setting's echo; raises DeviceError for a refusal."""
        answer = await self._link.query(self._prefix + command)
        if answer.startswith("NA:"):
            reason = answer.removeprefix("NA:").strip()
            meaning = f" ({REFUSALS[reason]})" if reason in REFUSALS else ""
            raise DeviceError(f"the chamber refuses {command!r}: {reason}{meaning}")
        return answer

    async def _set(self, command: str) -> None:
        answer = await self._ask(command)
        if not answer.startswith(f"OK:{command.partition(',')[0]}"):
            raise AnswerError(f"expected OK and the echo of {command!r}", answer)
