"""CAN to Modbus gateway of a battery's management system. Register map: docs/registers.md, "BMS gateway"."""

from __future__ import annotations

from collections.abc import Sequence

from drivers import words
from drivers.errors import AnswerError, IdentityError
from drivers.identity import check_identity
from drivers.links import RegisterLink
from drivers.numbers import signed
from drivers.roles import BatteryReading, Identity

UNIT = 1
MAP_VERSION = 0x0101
HEAD = 36  # registers 0..35
CELLS, MOST_CELLS = 100, 128
SENSORS, MOST_SENSORS = 300, 32
CAN_ALIVE_BIT = 0
LARGEST_READ = 125
NO_WORD, NO_TEMPERATURE = 65535, -32768
FAULTS = (
    "cell overvoltage",
    "cell undervoltage",
    "overtemperature",
    "undertemperature",
    "overcurrent",
    "insulation",
    "CAN timeout",
    "contactor welded",
    "sensor broken",
    "internal error",
)


def parse_faults(bits: int) -> tuple[str, ...]:
    """Names of the fault bits; one that the map does not name is shown by its number."""
    return tuple(FAULTS[bit] if bit < len(FAULTS) else f"fault {bit}" for bit in range(32) if bits >> bit & 1)


def parse_battery(head: Sequence[int], cells: Sequence[int], sensors: Sequence[int]) -> BatteryReading:
    """From registers 0..35 and as many cell and temperature registers as registers 1 and 2 count."""
    return BatteryReading(
        alive=bool(head[3] >> CAN_ALIVE_BIT & 1),
        cell_voltages=tuple(None if cell == NO_WORD else cell / 1000 for cell in cells),
        temperatures=tuple(None if signed(word) == NO_TEMPERATURE else signed(word) / 10 for word in sensors),
        voltage=head[5] / 10,
        current=signed(head[6]) / 10,
        soc=head[7] / 1000,
        soh=head[8] / 1000,
        full_charge_capacity=head[9] / 100,
        insulation=None if head[10] == NO_WORD else head[10] * 1000.0,
        faults=parse_faults(head[14] << 16 | head[15]),
        code=words.text(head[20:36], "battery code"),
    )


class BmsGateway:
    """Role BatteryMonitor."""

    def __init__(self, link: RegisterLink, model: str = "", serial: str = "") -> None:
        self._link = link
        self._model, self._serial = model, serial

    async def connect(self) -> Identity:
        await self._link.open()
        return check_identity(await self.identify(), self._model, self._serial)

    async def identify(self) -> Identity:
        (version,) = await self._link.read_input_registers(UNIT, 0, 1)
        if version != MAP_VERSION:
            raise IdentityError("register map", f"{MAP_VERSION:#06x}", f"{version:#06x}")
        return Identity("", "", "", f"map {version:#06x}")

    async def close(self) -> None:
        await self._link.close()

    async def read(self) -> BatteryReading:
        head = await self._link.read_input_registers(UNIT, 0, HEAD)
        if not 1 <= head[1] <= MOST_CELLS or head[2] > MOST_SENSORS:
            raise AnswerError(f"{head[1]} cells and {head[2]} sensors are not in map {MAP_VERSION:#06x}")
        cells = await self._block(CELLS, head[1])
        return parse_battery(head, cells, await self._block(SENSORS, head[2]))

    async def _block(self, start: int, count: int) -> list[int]:
        registers: list[int] = []
        while (left := count - len(registers)) > 0:
            registers += await self._link.read_input_registers(UNIT, start + len(registers), min(left, LARGEST_READ))
        return registers
