"""When faults come: by time, by event, by chance; and what they do to the error queue, the address and the wire."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config import DocumentError, LineConfig, load_line, shipped_dut_models
from config.line import ModbusRtuLinkConfig, ModbusTcpLinkConfig, VisaLinkConfig
from config.simulation import Fault
from simulators.faults import Window
from simulators.station import SimulatedStation
from tests.simulators.scenes import SCENES, Act
from tests.simulators.test_servers import Plant
from tests.virtual import DEMO_LINE, LINES

PSB = SCENES["ea_psb10000"]


def line(file: str = "demo", **simulated: Any) -> LineConfig:
    data = load_line(LINES / f"{file}.yaml").model_dump(mode="json", by_alias=True)
    data["simulation"]["stations"]["st01"] |= simulated
    return LineConfig.model_validate(data)


def faulty(**fault: Any) -> Act:
    """The cycler with one fault, its output on."""
    return Act(PSB, line(faults=[{"instrument": "cycler", **fault}]))


class TestEvents:
    def test_the_third_query(self) -> None:
        act = Act(PSB)
        act.station.add_fault(Fault(instrument="cycler", kind="silent", on="query", nth=3))
        assert act.talk(*[b"OUTP?\n"] * 4) == ["b'ON\\n'", "b'ON\\n'", "b''", "b''"]

    def test_a_query_to_another_instrument_does_not_count(self) -> None:
        act = Act(PSB)
        act.station.add_fault(Fault(instrument="interlock", kind="silent", on="query"))
        act.talk(*[b"OUTP?\n"] * 4)
        assert "silent" not in act.station.devices["interlock"].board.active

    @pytest.mark.parametrize(
        ("event", "request_"),
        [
            ("output_off", b"OUTP OFF\n"),
            ("discharge", b"SINK:CURR 10\n"),
            ("charge", b"SINK:CURR 0;:VOLT 450;CURR 5\n"),
        ],
    )
    def test_something_that_happens_at_the_station(self, event: str, request_: bytes) -> None:
        act = Act(PSB)
        if event == "discharge":
            act.say(b"SINK:CURR 0\n")
        act.station.add_fault(Fault.model_validate({"instrument": "interlock", "kind": "door", "on": event}))
        board = act.station.devices["interlock"].board
        assert "door" not in board.active
        act.say(request_)
        assert "door" in board.active

    def test_a_while_after_the_contactors_close_for_the_second_time(self) -> None:
        act = Act(SCENES["plc_interlock"])
        world = act.station.world
        act.station.add_fault(
            Fault(instrument="interlock", kind="estop", on="contactor_closed", nth=2, at_s=5, duration_s=2)
        )
        board, seen = act.station.devices["interlock"].board, []
        for closed in (False, True, False, True):
            world.set_contactor(closed)
            act.port.board.device.request = closed  # type: ignore[attr-defined]
            act.wait(0.5)
            seen.append("estop" in board.active)
        assert not any(seen)
        act.wait(5.0)
        assert "estop" in board.active
        act.wait(2.0)
        assert "estop" not in board.active

    def test_nothing_is_looked_at_while_nobody_waits(self) -> None:
        act = Act(PSB)
        assert act.station._timeline._watch is None


class TestChance:
    def history(self, seed: int, **drawn: Any) -> dict[str, list[Window]]:
        now = [0.0]
        data = line(drawn_faults={"mean_interval_s": 300, **drawn}).model_dump(mode="json", by_alias=True)
        data["simulation"]["seed"] = seed
        station = SimulatedStation(LineConfig.model_validate(data), "st01", shipped_dut_models(), lambda: now[0])
        for _ in range(20):
            now[0] += 360.0
            station.truth() if now[0] > 7000 else station.set_fault("cycler", "nan", False)
        return {key: port.board.history for key, port in station.devices.items()}

    def test_the_same_seed_draws_the_same_faults(self) -> None:
        assert self.history(5) == self.history(5) != self.history(6)

    def test_they_come_as_often_and_last_as_long_as_is_said(self) -> None:
        windows = [window for of in self.history(7, mean_duration_s=30).values() for window in of]
        assert 60 < len(windows) < 160, "5 instruments, 2 h, one in 330 s each: 109"
        assert 20 < sum(w.end - w.start for w in windows) / len(windows) < 45

    def test_only_kinds_that_are_named_and_fit(self) -> None:
        drawn = self.history(8, kinds=["crc", "door"])
        assert {key: {w.kind for w in windows} for key, windows in drawn.items() if windows} == {
            "temperature_scanner": {"crc"},
            "interlock": {"door"},
        }

    def test_only_instruments_that_are_named(self) -> None:
        assert [key for key, windows in self.history(8, instruments=["cycler"]).items() if windows] == ["cycler"]

    def test_an_instrument_that_is_not_there(self) -> None:
        with pytest.raises(DocumentError, match="a fault of 'oven'"):
            self.history(8, instruments=["oven"])


class TestErrorQueue:
    @pytest.mark.parametrize("driver", ["keithley_daq6510", "keysight_34461a"])
    def test_the_last_place_of_a_full_queue_says_so(self, driver: str) -> None:
        act = Act(SCENES[driver])
        act.station.set_fault(act.scene.instrument, "error_overflow")
        errors = act.talk(*[b"SYST:ERR?\n"] * 21)
        assert all("-113" in error for error in errors[:19])
        assert "-350" in errors[19]
        assert "No error" in errors[20]

    @pytest.mark.parametrize("driver", ["keithley_daq6510", "keysight_34461a"])
    def test_a_client_can_fill_it_too(self, driver: str) -> None:
        act = Act(SCENES[driver])
        act.talk(*[b"NONSENSE\n"] * 30)
        errors = act.talk(*[b"SYST:ERR?\n"] * 21)
        assert ["-350" in error for error in errors] == [False] * 19 + [True, False]


def test_a_watchdog_that_trips_takes_the_output_off() -> None:
    act = faulty(kind="watchdog_trip", on="discharge", at_s=4)
    act.wait(2.0)
    assert act.station.truth()["output_on"]
    act.wait(2.0)
    assert not act.station.truth()["output_on"]


def test_a_reboot_in_the_middle_of_a_step() -> None:
    act = faulty(kind="reboot", at_s=10)
    act.wait(10.0)
    assert act.talk(b"OUTP?\n") == ["b''"]
    assert act.station.truth()["current"] == 0
    act.wait(10.0)
    assert act.talk(b"SYST:LOCK:OWN?\n", b"VOLT?\n") == ["b'NONE\\n'", "b'0.0V\\n'"]


def test_a_welded_contactor_leaves_the_other_to_open_the_circuit_and_two_do_not() -> None:
    act = Act(SCENES["plc_interlock"])
    world = act.station.world
    for count, flows in ((1, False), (2, True)):
        world.set_contactor(True)
        world.weld(count)
        world.set_contactor(False)
        assert (world.current != 0) is flows


def test_a_delay_in_memory_is_of_line_time() -> None:
    act = faulty(kind="delay", value=2.0, at_s=1)
    act.wait(1.0)
    assert act.talk(b"OUTP?\n") == ["b''"]
    act.wait(1.0)
    assert act.talk(b"VOLT?\n") == ["b''"]
    act.wait(1.0)
    assert act.port.unasked() == b"ON\n"  # type: ignore[union-attr]


class TestOnTheWire:
    @pytest.fixture
    async def plant(self, tmp_path: Path) -> AsyncIterator[Plant]:
        clock = [0.0]
        data = load_line(DEMO_LINE).model_dump(mode="json", by_alias=True) | {"state_dir": str(tmp_path)}
        station = SimulatedStation(LineConfig.model_validate(data), "st01", shipped_dut_models(), lambda: clock[0])
        async with station.serve(free_ports=True) as links:
            yield Plant(station, links, clock)

    async def ask(self, plant: Plant, instrument: str, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*plant.tcp(instrument))
        writer.write(request)
        answer = await reader.read(256)
        writer.close()
        return answer

    async def test_an_instrument_moves_to_another_port_and_back(self, plant: Plant) -> None:
        before = plant.tcp("cycler")
        reader, writer = await asyncio.open_connection(*before)
        plant.station.set_fault("cycler", "moved")
        assert await reader.read(1) == b"", "the old connection ends"
        writer.close()
        while plant.tcp("cycler") == before:
            await asyncio.to_thread(lambda: None)
        assert isinstance(plant.links["cycler"], VisaLinkConfig)
        assert await self.ask(plant, "cycler", b"OUTP?\n") == b"OFF\n"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*before)
        plant.station.set_fault("cycler", "moved", False)
        while plant.tcp("cycler") != before:
            await asyncio.to_thread(lambda: None)
        assert await self.ask(plant, "cycler", b"OUTP?\n") == b"OFF\n"

    async def test_a_serial_port_is_plugged_in_elsewhere(self, plant: Plant) -> None:
        link = plant.links["temperature_scanner"]
        assert isinstance(link, ModbusRtuLinkConfig)
        plant.station.set_fault("temperature_scanner", "moved")
        while plant.links["temperature_scanner"] == link:
            await asyncio.to_thread(lambda: None)
        assert not os.path.lexists(link.port)
        assert os.path.exists(f"{link.port}.moved")

    async def test_an_answer_that_is_delayed_comes_all_the_same_and_in_order(self, plant: Plant) -> None:
        plant.station.set_fault("cycler", "delay", value=0.2)
        reader, writer = await asyncio.open_connection(*plant.tcp("cycler"))
        loop = asyncio.get_running_loop()
        asked = loop.time()
        writer.write(b"OUTP?\n")
        await writer.drain()
        assert await reader.readline() == b"OFF\n"
        assert loop.time() - asked >= 0.19
        plant.station.add_fault(Fault(instrument="cycler", kind="stuck", on="query"))
        writer.write(b"OUTP?\n")
        while "stuck" not in plant.station.devices["cycler"].board.active:
            await asyncio.to_thread(lambda: None)
        plant.station.set_fault("cycler", "delay", False)
        writer.write(b"VOLT?\n")
        assert [await reader.readline() for _ in range(2)] == [b"OFF\n", b"0.0V\n"]
        writer.close()

    async def test_a_reboot_ends_connections_and_takes_no_new_ones(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*plant.tcp("interlock"))
        plant.station.set_fault("interlock", "reboot")
        assert await reader.read(1) == b""
        writer.close()
        assert await self.ask(plant, "interlock", b"") == b""
        plant.clock[0] += 11.0
        request = bytes.fromhex("0001 0000 0006 01 04 0001 0001")
        assert (await self.ask(plant, "interlock", request))[-2:] == bytes.fromhex("0101")

    @pytest.mark.parametrize("kind", ["wrong_unit", "busy", "truncated", "duplicate", "lost"])
    async def test_a_spoilt_modbus_frame(self, plant: Plant, kind: str) -> None:
        assert isinstance(plant.links["interlock"], ModbusTcpLinkConfig)
        plant.station.set_fault("interlock", kind)
        request = bytes.fromhex("0007 0000 0006 01 04 0001 0001")
        reader, writer = await asyncio.open_connection(*plant.tcp("interlock"))
        writer.write(request)
        plant.station.set_fault("interlock", kind)
        sound = "0007 0000 0005 01 04 02 0101"
        expected = {
            "wrong_unit": "0007 0000 0005 02 04 02 0101",
            "busy": "0007 0000 0003 01 84 06",
            "truncated": "0007 0000 00",
            "duplicate": sound + sound,
            "lost": "",
        }[kind]
        if kind == "lost":
            await asyncio.to_thread(lambda: None)
            plant.station.set_fault("interlock", "refuse")
        assert await reader.readexactly(len(bytes.fromhex(expected))) == bytes.fromhex(expected)
        writer.close()
