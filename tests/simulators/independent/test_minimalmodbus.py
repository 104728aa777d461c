"""minimalmodbus, which hobbyists and test benches use, on two tM-TH8 modules of one RS-485 line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.independent import python_package
from tests.simulators.independent.conftest import Serve
from tests.simulators.test_servers import Plant

FORMAT_COIL = 268  # 00269: 1 for engineering units


@pytest.fixture
def minimalmodbus() -> Any:
    return python_package("minimalmodbus")


async def on_the_line(minimalmodbus: Any, plant: Plant, talk: Callable[[Callable[[int], Any]], Any]) -> Any:
    """What `talk` makes of its conversation; it is given a function from a unit to its module on the shared port."""
    port = str(plant.pty("temperature_scanner"))

    def conversation() -> Any:
        modules: dict[int, Any] = {}

        def module(unit: int) -> Any:
            if unit not in modules:
                modules[unit] = minimalmodbus.Instrument(port, unit)
                modules[unit].serial.baudrate = 9600
                modules[unit].serial.timeout = 0.5
            return modules[unit]

        try:
            return talk(module)
        finally:
            for opened in modules.values():
                opened.serial.close()

    return await asyncio.to_thread(conversation)


async def test_both_modules_in_turn(minimalmodbus: Any, serve: Serve) -> None:
    def talk(module: Callable[[int], Any]) -> list[list[float]]:
        return [
            [module(unit).read_register(channel, 1, functioncode=4, signed=True) for channel in range(8)]
            for unit in (1, 2, 1)
        ]

    assert await on_the_line(minimalmodbus, await serve("demo"), talk) == [[25.0] * 8] * 3


async def test_coils_and_holding_registers(minimalmodbus: Any, serve: Serve) -> None:
    def talk(module: Callable[[int], Any]) -> tuple[int, list[int], list[int]]:
        th8 = module(1)
        return th8.read_bit(FORMAT_COIL, 1), th8.read_bits(128, 8, 1), th8.read_registers(0, 8, functioncode=3)

    assert await on_the_line(minimalmodbus, await serve("demo"), talk) == (1, [0] * 8, [250] * 8)


async def test_nobody_answers_for_an_absent_unit_and_the_line_goes_on(minimalmodbus: Any, serve: Serve) -> None:
    def talk(module: Callable[[int], Any]) -> float:
        module(3).serial.timeout = 0.1
        with pytest.raises(minimalmodbus.NoResponseError):
            module(3).read_register(0, functioncode=4)
        module(2).serial.timeout = 0.5
        value: float = module(2).read_register(0, 1, functioncode=4)
        return value

    assert await on_the_line(minimalmodbus, await serve("demo"), talk) == 25.0


async def test_a_refused_request_is_an_exception_answer(minimalmodbus: Any, serve: Serve) -> None:
    def talk(module: Callable[[int], Any]) -> None:
        with pytest.raises(minimalmodbus.IllegalRequestError, match="illegal data address"):
            module(1).read_register(9000, functioncode=4)
        with pytest.raises(minimalmodbus.IllegalRequestError, match="illegal function"):
            module(1).read_bit(0, 2)

    await on_the_line(minimalmodbus, await serve("demo"), talk)


async def test_garbage_is_no_reading(minimalmodbus: Any, serve: Serve) -> None:
    plant = await serve("demo")
    plant.station.set_fault("temperature_scanner", "garbage")

    def talk(module: Callable[[int], Any]) -> None:
        with pytest.raises(minimalmodbus.ModbusException):
            module(1).read_registers(0, 8, functioncode=4)

    await on_the_line(minimalmodbus, plant, talk)
