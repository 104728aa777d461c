"""The public `SM15K` package on the simulated supply: its own connection for every line, long headers, LF."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from tests.independent import python_package
from tests.simulators.independent.conftest import Serve
from tests.simulators.test_servers import Plant

REMOTE = [f"SYSTem:REMote:{control} eth\n" for control in ("CV", "CC", "CP")]


@pytest.fixture
def package() -> Any:
    return python_package("deltaelektronika.SM15K", "SM15K")


async def with_supply(package: Any, plant: Plant, monkeypatch: pytest.MonkeyPatch, talk: Callable[[Any], Any]) -> Any:
    host, port = plant.tcp("cycler")
    monkeypatch.setattr(package.Communication, "port_name", port)
    monkeypatch.setattr(package.Communication, "timeout", 5)
    return await asyncio.to_thread(talk, package.SM15K(host))


async def close_contactors(plant: Plant) -> None:
    """By the PLC, which opens them again after a minute without a heartbeat."""
    host, port = plant.tcp("interlock")
    async with AsyncModbusTcpClient(host, port=port, retries=0, reconnect_delay=0) as plc:
        await plc.write_register(1, 600, device_id=1)
        await plc.write_register(0, 1, device_id=1)
        await plc.write_coil(0, True, device_id=1)
    plant.clock[0] += 0.2


async def test_ratings_limits_and_set_points(package: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = await serve("demo_delta")

    def talk(supply: Any) -> list[str]:
        for line in REMOTE:
            package.Communication.sendMessage(supply.IPV4, line)
        supply.source.SetVoltage(400)
        supply.source.SetNegativeCurrent(-20.5)
        supply.system.SetNegativeCurrentLimit(-60, "ON")
        return [
            supply.Identification(),
            supply.source.MaximumVoltage(),
            supply.source.MaximumNegativePower(),
            supply.source.ReadVoltageSet(),
            supply.source.ReadNegativeCurrentSet(),
            supply.system.ReadNegativeCurrentLimitSet(),
            supply.system.ReadErrors(),
            supply.system.ReadWarnings(),
        ]

    assert await with_supply(package, plant, monkeypatch, talk) == [
        "DELTA ELEKTRONIKA BV,SM500-CP-90,000012345678,P0110",
        "500",
        "-30000",
        "400.0000",
        "-20.5000",
        "-60.0000,1",
        "0,None",
        "0,None",
    ]


async def test_it_discharges_and_counts_what_it_took(
    package: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = await serve("demo_delta")
    await close_contactors(plant)

    def begin(supply: Any) -> str:
        for line in REMOTE:
            package.Communication.sendMessage(supply.IPV4, line)
        supply.source.SetVoltage(260)
        supply.source.SetPower(0)
        supply.source.SetNegativePower(-20000)
        supply.source.SetNegativeCurrent(-36)
        supply.measure.SetAhMeasurementState("ON")
        supply.output.SetOutput(1)
        state: str = supply.output.ReadOutputSet()
        return state

    def end(supply: Any) -> tuple[float, ...]:
        measure = supply.measure
        counted = (measure.MeasureCurrent(), measure.MeasureAhNegativeTotal(), measure.MeasureAhPositiveTotal())
        seconds = measure.ReadAhMeasurementTimeSeconds()
        supply.output.SetOutput("OFF")
        return (*map(float, counted), float(seconds), float(supply.output.ReadOutputSet()))

    assert await with_supply(package, plant, monkeypatch, begin) == "1"
    plant.clock[0] += 50.0
    current, taken, given, seconds, on = await with_supply(package, plant, monkeypatch, end)
    assert (current, given, seconds, on) == (-36.0, 0.0, 50.0, 0.0)
    assert taken == pytest.approx(-0.5, abs=1e-4)
    assert plant.station.truth()["discharged_ah"] == pytest.approx(0.5, abs=1e-4)


async def test_its_watchdog_switches_off_when_nobody_asks(
    package: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = await serve("demo_delta")

    def begin(supply: Any) -> tuple[str, str]:
        supply.output.SetOutput(1)
        supply.system.SetWatchdog(1000)
        return supply.system.ReadWatchdogSet(), supply.output.ReadOutputSet()

    def look(supply: Any) -> list[str]:
        state = supply.system.ReadCurrentWatchdogState
        return [supply.output.ReadOutputSet(), state(), state()]

    assert await with_supply(package, plant, monkeypatch, begin) == ("1000", "1")
    plant.clock[0] += 1.0
    assert await with_supply(package, plant, monkeypatch, look) == ["0", "0", "-1"]


async def test_its_emergency_shutdown_leaves_nothing_set(
    package: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = await serve("demo_delta")

    def talk(supply: Any) -> list[str]:
        for line in REMOTE:
            package.Communication.sendMessage(supply.IPV4, line)
        supply.source.SetVoltage(400)
        supply.source.SetCurrent(20)
        supply.output.SetOutput(1)
        supply.shutdown.limitShutdownValues()
        return [supply.source.ReadVoltageSet(), supply.source.ReadCurrentSet(), supply.system.ReadErrors()]

    assert await with_supply(package, plant, monkeypatch, talk) == ["0.0000", "0.0000", "0,None"]
