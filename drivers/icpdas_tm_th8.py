"""ICP DAS tM-TH8: eight thermistor channels a module, several modules on one Modbus RTU bus.

Source: tM-TH8 user manual, register table (pages 128-130), zero-based here: input registers 0..7 are the channels,
coil 268 (00269) is the data format. In engineering format a value is signed, -32768 is under and 32767 over range.
The manual gives the offset registers (40449 ff) in 0.1 degC and no unit for the values: we take them as 0.1 degC
too. The scale (coil 00267) is not checked, since the manual's page does not say which state is Celsius; it is the
factory setting.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.errors import ConfigError, SettingError
from drivers.identity import check_identity
from drivers.links import RegisterLink
from drivers.numbers import signed
from drivers.roles import Identity

CHANNELS = 8
FORMAT_COIL = 268
UNDER_RANGE, OVER_RANGE = -32768, 32767


def temperature(register: int) -> float | None:
    """degC of a channel's register, None for an open or shorted sensor."""
    value = signed(register)
    return None if value in (UNDER_RANGE, OVER_RANGE) else value / 10


class IcpdasTmTh8:
    """Role TemperatureScanner: the channels of every unit in the order of `units`."""

    def __init__(self, link: RegisterLink, model: str = "", serial: str = "", *, units: Sequence[int]) -> None:
        """units are the Modbus addresses of the modules, 1..247."""
        if not units or len(set(units)) != len(units) or not all(1 <= unit <= 247 for unit in units):
            raise ConfigError(f"units must be different addresses 1..247, not {list(units)}")
        self._link = link
        self._model, self._serial = model, serial
        self._units = tuple(units)

    async def connect(self) -> Identity:
        await self._link.open()
        return check_identity(await self.identify(), self._model, self._serial)

    async def identify(self) -> Identity:
        for unit in self._units:
            (engineering,) = await self._link.read_coils(unit, FORMAT_COIL, 1)
            if not engineering:
                raise SettingError(f"unit {unit} reports values in hexadecimal format; set coil 00269 to engineering")
        # the module's name is only in a vendor function (0x46) that Modbus libraries do not speak
        return Identity("", "", "", "")

    async def close(self) -> None:
        await self._link.close()

    async def read(self) -> tuple[float | None, ...]:
        values: list[float | None] = []
        for unit in self._units:
            values += map(temperature, await self._link.read_input_registers(unit, 0, CHANNELS))
        return tuple(values)
