"""PyMeasure's instruments on the simulated ones: KeithleyDAQ6510 on both its wires, and Agilent34410A.

PyMeasure has no 34461A; its Agilent34410A is for "related multimeters" and speaks the commands they share. Its
KeithleyDAQ6510.sense_mode is written here but not read: it expects `VOLT`, while its KeithleyDMM6500, of the same
firmware, expects `"VOLT:DC"` as this simulator answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from config.line import VisaLinkConfig
from tests.independent import python_package
from tests.simulators.independent.conftest import Serve
from tests.simulators.test_servers import Plant

SOCKET = {"link": {"kind": "visa", "address": "TCPIP::127.0.0.1::15025::SOCKET"}}


async def with_instrument(module: str, name: str, plant: Plant, key: str, talk: Callable[[Any], Any]) -> Any:
    """What `talk` makes of an instrument class of PyMeasure at this instrument's address."""
    kind = getattr(python_package(f"pymeasure.instruments.{module}", "PyMeasure"), name)
    link = plant.links[key]
    assert isinstance(link, VisaLinkConfig)
    ends = {"read_termination": "\n", "write_termination": "\n"} if link.address.endswith("SOCKET") else {}

    def conversation() -> Any:
        instrument = kind(link.address, visa_library="@py", timeout=5000, **ends)
        try:
            return talk(instrument)
        finally:
            instrument.adapter.close()

    return await asyncio.to_thread(conversation)


@pytest.mark.parametrize("wire", [{}, {"temperature_scanner": SOCKET}], ids=["VXI-11", "SOCKET"])
class TestDaq6510:
    async def test_voltage_of_a_closed_channel(self, serve: Serve, wire: dict[str, Any]) -> None:
        plant = await serve("demo_bt20000", **wire)

        def talk(daq: Any) -> tuple[str, float, float, float, list[Any]]:
            daq.sense_mode = "voltage"
            daq.measure_voltage(nplc=0.5, voltage=10, auto_range=False)
            daq.close_channel(101)
            reading = daq.voltage
            daq.open_channel(101)
            return daq.id, daq.voltage_range, daq.voltage_nplc, reading, daq.check_errors()

        found = await with_instrument("keithley", "KeithleyDAQ6510", plant, "temperature_scanner", talk)
        identity, volts, cycles, reading, errors = found
        assert identity == "KEITHLEY INSTRUMENTS,MODEL DAQ6510,04340543,1.7.12b"
        assert (volts, cycles, errors) == (10.0, 0.5, [])
        assert abs(reading) < 0.1, "a thermocouple"

    async def test_resistance_and_current_with_nothing_connected(self, serve: Serve, wire: dict[str, Any]) -> None:
        plant = await serve("demo_bt20000", **wire)

        def talk(daq: Any) -> tuple[float, float, float, float, str, list[Any]]:
            daq.measure_resistance(nplc=1, resistance=1e6, auto_range=False)
            ohms, ohm_range = daq.resistance, daq.resistance_range
            daq.offset_compensated = "AUTO"
            daq.measure_current(nplc=2, current=1, auto_range=False)
            return ohms, ohm_range, daq.current, daq.current_range, daq.offset_compensated, daq.check_errors()

        found = await with_instrument("keithley", "KeithleyDAQ6510", plant, "temperature_scanner", talk)
        assert found == (9.9e37, 1e6, 0.0, 1.0, "AUTO", [])

    async def test_what_it_refuses_is_in_its_error_queue(self, serve: Serve, wire: dict[str, Any]) -> None:
        plant = await serve("demo_bt20000", **wire)

        def talk(daq: Any) -> tuple[list[Any], list[Any]]:
            daq.beep(1000, 0.1)
            daq.write(":SENS:VOLT:NPLC 99")
            daq.close_channels([150])
            return daq.check_errors(), daq.check_errors()

        refused, then = await with_instrument("keithley", "KeithleyDAQ6510", plant, "temperature_scanner", talk)
        assert [int(code) for code, *_ in refused] == [-222, -222]
        assert then == []


class TestReferenceMultimeter:
    @pytest.mark.filterwarnings("ignore:It is not known whether this device support SCPI:FutureWarning")
    async def test_voltage_by_hislip(self, serve: Serve) -> None:
        plant = await serve("demo_bench2")

        def talk(meter: Any) -> tuple[str, float, list[Any]]:
            return meter.id, meter.voltage_dc, meter.check_errors()

        identity, volts, errors = await with_instrument("agilent", "Agilent34410A", plant, "voltmeter", talk)
        assert identity.split(",")[1:3] == ["34461A", "MY53219001"]
        assert volts == pytest.approx(plant.station.world.battery_voltage(), abs=1e-2)
        assert errors == []
