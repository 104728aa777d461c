"""mbpoll, the Modbus master of the Debian archive, on every simulated Modbus instrument: TCP, and RTU on a pty.

It tells addresses from 1 unless -0, floats low word first unless -B, and exits on nothing but what it asked for.
"""

from __future__ import annotations

import re

import pytest

from tests.independent import program
from tests.simulators.independent.conftest import Serve, Shell
from tests.simulators.test_servers import Plant

VALUE = re.compile(r"\[(\d+)\]:\s+(\S+)")


@pytest.fixture
def mbpoll() -> str:
    return program("mbpoll")


def values(printed: str) -> dict[int, str]:
    """What was read, by reference."""
    return {int(reference): value for reference, value in VALUE.findall(printed)}


class OverTcp:
    """mbpoll with the unit and the addresses of one instrument; bits, registers or floats from a reference on."""

    def __init__(self, mbpoll: str, shell: Shell, plant: Plant, instrument: str, unit: int = 1) -> None:
        host, port = plant.tcp(instrument)
        self._command = (mbpoll, "-m", "tcp", "-p", port, "-a", unit, "-0", "-1", "-o", "5")
        self._host, self._shell = host, shell

    async def read(self, table: str, first: int, count: int = 1, *options: str) -> dict[int, str]:
        return values(await self.say(table, first, count, *options))

    async def say(self, table: str, first: int, count: int, *options: str) -> str:
        return await self._shell(*self._command, "-t", table, "-r", first, "-c", count, *options, self._host)

    async def write(self, table: str, first: int, *written: float, options: tuple[str, ...] = ()) -> str:
        return await self._shell(*self._command, "-t", table, "-r", first, *options, self._host, "--", *written)


class TestBatteryTester:
    """EA BT 20000: floats high word first, percent of nominal, nothing to be written before remote control is taken."""

    async def test_nominal_values_are_floats_with_the_high_word_first(
        self, mbpoll: str, shell: Shell, serve: Serve
    ) -> None:
        tester = OverTcp(mbpoll, shell, await serve("demo_bt20000"), "cycler", unit=0)
        assert await tester.read("4:float", 121, 3, "-B") == {121: "500", 123: "90", 125: "30000"}

    async def test_a_coil_written_is_a_coil_read_by_the_standard_once_it_is_told_to_keep_it(
        self, mbpoll: str, shell: Shell, serve: Serve
    ) -> None:
        """In its Limited compliance, the factory's, a coil is answered with two bytes, which libmodbus refuses."""
        tester = OverTcp(mbpoll, shell, await serve("demo_bt20000"), "cycler", unit=0)
        assert "Written 1 references" in await tester.write("0", 402, 1)
        assert "Invalid data" in await tester.say("0", 402, 1)
        await tester.write("0", 10013, 1)
        assert await tester.read("0", 402) == {402: "1"}

    async def test_a_float_written_is_a_float_read(self, mbpoll: str, shell: Shell, serve: Serve) -> None:
        tester = OverTcp(mbpoll, shell, await serve("demo_bt20000"), "cycler", unit=0)
        await tester.write("0", 402, 1)
        assert "Written 1 references" in await tester.write("4:float", 492, 380.5, options=("-B",))
        assert await tester.read("4:float", 492, 1, "-B") == {492: "380.5"}

    async def test_what_is_refused_is_an_exception_answer(self, mbpoll: str, shell: Shell, serve: Serve) -> None:
        """7, not in remote control, is no exception that libmodbus has a name for."""
        tester = OverTcp(mbpoll, shell, await serve("demo_bt20000"), "cycler", unit=0)
        assert "Negative acknowledge" in await tester.write("0", 405, 1)
        assert "Illegal data address" in await tester.say("4", 60000, 1)
        assert "Illegal function" in await tester.say("3", 507, 1)


class TestChamber:
    """Watlow F4T: floats low word first."""

    async def test_ranges_and_temperatures_are_floats_with_the_low_word_first(
        self, mbpoll: str, shell: Shell, serve: Serve
    ) -> None:
        chamber = OverTcp(mbpoll, shell, await serve("demo_bench2"), "chamber")
        assert await chamber.read("4:float", 2774, 2) == {2774: "-70", 2776: "180"}
        assert await chamber.read("4:float", 2820) == {2820: "23"}

    async def test_it_conditions_the_air_at_the_set_point_written(
        self, mbpoll: str, shell: Shell, serve: Serve
    ) -> None:
        plant = await serve("demo_bench2")
        chamber = OverTcp(mbpoll, shell, plant, "chamber")
        await chamber.write("4:float", 2782, 35.0)
        await chamber.write("4", 16594, 63)
        await chamber.write("4", 2730, 10)
        plant.clock[0] = 4 * 3600.0
        assert await chamber.read("4:float", 2820) == {2820: "35"}


class TestInterlock:
    """The PLC: discrete inputs, coils and words by the station interlock map."""

    async def test_heartbeat_and_request_close_the_contactors(self, mbpoll: str, shell: Shell, serve: Serve) -> None:
        plant = await serve("demo")
        plc = OverTcp(mbpoll, shell, plant, "interlock")
        await plc.write("4", 1, 600)
        await plc.write("4", 0, 1)
        chain, door, plus, minus, gas, clamp, ready, alive = (await plc.read("1", 0, 8)).values()
        assert (chain, door, gas, clamp, ready, alive) == ("1",) * 6
        assert (plus, minus) == ("0", "0")
        await plc.write("0", 0, 1)
        plant.clock[0] = 0.2
        assert plant.station.truth()["contactor_closed"] is True
        plant.station.set_fault("interlock", "estop")
        assert plant.station.truth()["contactor_closed"] is False


class TestTemperatureModules:
    """ICP DAS tM-TH8 by RTU: two units on one line, and nobody behind a third address."""

    async def test_units_on_one_line_and_silence_for_an_absent_one(
        self, mbpoll: str, shell: Shell, serve: Serve
    ) -> None:
        plant = await serve("demo")
        line = (mbpoll, "-m", "rtu", "-b", "9600", "-P", "none", "-0", "-1", "-t", "3", "-c", "8")
        port = plant.pty("temperature_scanner")
        for unit in (1, 2):
            degrees = values(await shell(*line, "-a", unit, "-r", "0", port))
            assert [float(value) / 10 for value in degrees.values()] == [25.0] * 8
        assert "Connection timed out" in await shell(*line, "-a", "3", "-r", "0", "-o", "0.2", port)

    async def test_the_wrong_baud_rate_reads_nothing(self, mbpoll: str, shell: Shell, serve: Serve) -> None:
        plant = await serve("demo")
        line = (mbpoll, "-m", "rtu", "-P", "none", "-0", "-1", "-t", "3", "-r", "0", "-c", "8", "-o", "0.2", "-a", "1")
        printed = await shell(*line, "-b", "19200", plant.pty("temperature_scanner"))
        assert not values(printed)
