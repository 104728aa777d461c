"""The third line's instruments on their wires, met by public clients: ptys of two speeds and a socket that speaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import serial

from config import DocumentError, LineConfig, load_line, shipped_dut_models
from config.line import SerialLinkConfig
from simulators.endpoints import endpoint_of
from simulators.espec_p300 import P300, P300Bus
from simulators.faults import FaultBoard
from simulators.ports import TextPort
from simulators.servers import serving
from simulators.station import SimulatedStation
from simulators.timeline import Timeline
from tests.simulators.fake_world import FakeWorld
from tests.simulators.test_servers import Plant

BENCH = Path(__file__).parents[2] / "config" / "lines" / "demo_bench.yaml"
CODE = b"PHE96-004713\r"


def bench_line(tmp_path: Path, **changes: dict[str, Any]) -> LineConfig:
    """The bench line; `changes` replace keys of an instrument."""
    data = load_line(BENCH).model_dump(mode="json", by_alias=True)
    for key, change in changes.items():
        data["stations"]["st01"]["instruments"][key] |= change
    return LineConfig.model_validate(data | {"state_dir": str(tmp_path)})


def station(line: LineConfig, clock: list[float]) -> SimulatedStation:
    return SimulatedStation(line, "st01", shipped_dut_models(), lambda: clock[0])


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    clock = [0.0]
    simulated = station(bench_line(tmp_path), clock)
    async with simulated.serve(free_ports=True) as links:
        yield Plant(simulated, links, clock)


async def on_serial(plant: Plant, instrument: str, talk: Callable[[Callable[[str], str]], Any]) -> Any:
    """What `talk` makes of its conversation; it is given a function that sends a line and returns the answer."""
    link = plant.links[instrument]
    assert isinstance(link, SerialLinkConfig)

    def conversation() -> Any:
        with serial.Serial(link.port, link.baudrate, timeout=5, exclusive=True) as port:

            def ask(line: str) -> str:
                port.write(line.encode() + b"\r\n")
                return port.read_until(b"\n").decode().removesuffix("\r\n")

            return talk(ask)

    return await asyncio.to_thread(conversation)


class TestInsulationTester:
    async def test_a_test_runs_in_line_time_and_ends_by_itself(self, plant: Plant) -> None:
        def start(ask: Callable[[str], str]) -> str:
            identity = ask("*IDN?")
            ask("MANU:EDIT:MODE IR\nMANU:IR:VOLT 0.5\nMANU:IR:TTIM 10\nFUNC:TEST ON\nFUNC:TEST?")
            return identity

        assert (await on_serial(plant, "insulation_tester", start)).startswith("GPT-9803,")
        plant.clock[0] = 5.0
        assert ",TEST ," in await on_serial(plant, "insulation_tester", lambda ask: ask("MEAS?"))
        plant.clock[0] = 3600.0
        result = await on_serial(plant, "insulation_tester", lambda ask: ask("MEAS?"))
        # 48 and 36 Mohm in parallel
        assert result == ">IR ,PASS ,0.498kV,0021M ohm,T=010.0S"


class TestChamber:
    async def test_it_conditions_the_air_of_the_battery(self, plant: Plant) -> None:
        def condition(ask: Callable[[str], str]) -> list[str]:
            return [ask(line) for line in ("1,TYPE?", "1,TEMP, S35.0", "1,MODE,CONSTANT", "1,TEMP?")]

        answers = await on_serial(plant, "chamber", condition)
        assert answers == ["T,P300,170.0", "OK:TEMP, S35.0", "OK:MODE,CONSTANT", "23.0,35.0,100.0,-40.0"]
        plant.clock[0] = 300.0
        warmer = await on_serial(plant, "chamber", lambda ask: ask("1,MON?"))
        air, _, mode, alarms = warmer.split(",")
        assert 23 < float(air) < 35
        assert (mode, alarms) == ("CONSTANT", "0")
        plant.clock[0] = 4 * 3600.0
        assert await on_serial(plant, "chamber", lambda ask: ask("1,MON?")) == "35.0,,CONSTANT,0"
        assert plant.station.world.cell_temperatures().mean() > 30

    async def test_nobody_answers_for_another_address(self, plant: Plant) -> None:
        # the answer of the second line would come second
        assert await on_serial(plant, "chamber", lambda ask: ask("2,MODE?\r\n1,MODE?")) == "STANDBY"

    async def test_two_chambers_share_a_bus(self, tmp_path: Path) -> None:
        warm, cold = FakeWorld(), FakeWorld()
        warm.chamber_degc, cold.chamber_degc = 45.0, -10.0
        bus = P300Bus({1: P300(warm), 2: P300(cold)})  # type: ignore[arg-type]
        port = TextPort(bus, FaultBoard(bus, [], warm.now, seed=1), Timeline(warm.now))
        endpoint = endpoint_of(SerialLinkConfig(kind="serial", port=str(tmp_path / "bus"), baudrate=19200), "bus")
        async with serving({"bus": (endpoint, port)}, lambda: None) as links:

            def talk() -> list[bytes]:
                with serial.Serial(links["bus"].port, 19200, timeout=5) as line:  # type: ignore[union-attr]
                    line.write(b"1,MON?\r\n3,MON?\r\n2,MON?\r\n")
                    return [line.read_until(b"\n") for _ in range(2)]

            assert await asyncio.to_thread(talk) == [b"45.0,,STANDBY,0\r\n", b"-10.0,,STANDBY,0\r\n"]

    async def test_an_alarm_stops_it_in_line_time(self, plant: Plant) -> None:
        await on_serial(plant, "chamber", lambda ask: ask("1,MODE,CONSTANT"))
        plant.station.set_fault("chamber", "alarm")
        assert await on_serial(plant, "chamber", lambda ask: ask("1,MON?")) == "23.0,,STANDBY,1"


class TestSpectrumMeter:
    async def test_a_frequency_after_the_other(self, plant: Plant) -> None:
        await on_serial(plant, "spectrum_meter", lambda ask: ask(":TRIG:SOUR EXT;:RANG 0.3;:RANG?"))
        for hertz in (1000.0, 10.0, 0.1):
            await on_serial(plant, "spectrum_meter", lambda ask, f=hertz: ask(f":FREQ {f};*TRG;*ESR?"))
            assert await on_serial(plant, "spectrum_meter", lambda ask: ask(":ESR0?")) == "0"
            plant.clock[0] += 100.0
            ended, values = await on_serial(plant, "spectrum_meter", lambda ask: (ask(":ESR0?"), ask(":FETC?")))
            resistance, reactance, volts = map(float, values.split(","))
            true = plant.station.world.impedance(0, 11, hertz)
            assert ended == "1"
            assert complex(resistance, reactance) == pytest.approx(true, abs=2e-5)
            assert volts == pytest.approx(plant.station.world.voltage_between(0, 11), abs=1e-4)


class TestCodeReader:
    async def test_a_code_comes_unasked_when_it_is_found(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*plant.tcp("code_reader"))
        writer.write(b"LON\r")
        assert await reader.readuntil(b"\r") == b"OK,LON\r"
        plant.clock[0] = 1.0
        assert await reader.readuntil(b"\r") == CODE
        writer.close()

    async def test_everybody_who_listens_hears_a_pulled_trigger(self, plant: Plant) -> None:
        listeners = [await asyncio.open_connection(*plant.tcp("code_reader")) for _ in range(2)]
        for reader, writer in listeners:
            writer.write(b"KEYENCE\r")
            await reader.readuntil(b"\r")
        plant.station.set_fault("code_reader", "hand_trigger")
        plant.clock[0] = 1.0
        assert [await reader.readuntil(b"\r") for reader, _ in listeners] == [CODE, CODE]
        for _, writer in listeners:
            writer.close()

    async def test_it_closes_connections_as_others_do(self, plant: Plant) -> None:
        plant.station.set_fault("code_reader", "drop")
        reader, writer = await asyncio.open_connection(*plant.tcp("code_reader"))
        writer.write(b"LON\r")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


class TestConfiguration:
    def test_memory_links(self, tmp_path: Path) -> None:
        clock = [0.0]
        devices = station(bench_line(tmp_path), clock).devices
        ports = [devices[key] for key in ("insulation_tester", "chamber", "code_reader", "spectrum_meter")]
        tester, chamber, reader, meter = (port for port in ports if isinstance(port, TextPort))
        assert tester.receive(b"MAIN:FUNC?\r\n") == b"MANU MODE\r\n"
        assert chamber.receive(b"1,MODE?\r\n") == b"STANDBY\r\n"
        assert meter.receive(b"*IDN?\r\n") == b"HIOKI,BT4560,0,V1.00\r\n"
        assert reader.receive(b"LON\r") == b"OK,LON\r"
        assert reader.unasked() == b""
        clock[0] = 1.0
        assert (reader.unasked(), reader.unasked()) == (CODE, b"")

    def test_what_is_said_while_the_wire_is_cut_is_lost(self, tmp_path: Path) -> None:
        clock = [0.0]
        simulated = station(bench_line(tmp_path), clock)
        reader = simulated.devices["code_reader"]
        assert isinstance(reader, TextPort)
        for kind, expected in (("silent", b""), ("drop", b""), ("garbage", b"\r")):
            reader.receive(b"LON\r")
            simulated.set_fault("code_reader", kind)
            clock[0] += 1.0
            said = reader.unasked()
            assert said != CODE
            assert said[-1:] == expected
            simulated.set_fault("code_reader", kind, active=False)
            assert reader.unasked() == b""

    def test_serial_numbers_and_models_are_those_of_the_line_file(self, tmp_path: Path) -> None:
        line = bench_line(
            tmp_path,
            insulation_tester={"serial": "GEX000000001", "model": "GPT-9804"},
            spectrum_meter={"model": "BT4560-50"},
        )
        devices = station(line, [0.0]).devices
        tester, meter = devices["insulation_tester"], devices["spectrum_meter"]
        assert isinstance(tester, TextPort)
        assert isinstance(meter, TextPort)
        assert tester.receive(b"*IDN?\n") == b"GPT-9804,GEX000000001,V1.00\r\n"
        assert b"BT4560-50" in meter.receive(b"*IDN?\r")

    def test_a_chamber_without_address_is_alone_on_its_line(self, tmp_path: Path) -> None:
        chamber = station(bench_line(tmp_path, chamber={"settings": {}}), [0.0]).devices["chamber"]
        assert isinstance(chamber, TextPort)
        assert chamber.receive(b"MODE?\r\n") == b"STANDBY\r\n"

    def test_a_spectrum_meter_made_to_order_measures_the_whole_battery(self, tmp_path: Path) -> None:
        line = bench_line(tmp_path, spectrum_meter={"settings": {"range_ohm": 3, "max_voltage_v": 450}})
        whole = line.stations["st01"].model_copy(update={"impedance_probe_cells": None})
        simulated = station(line.model_copy(update={"stations": {"st01": whole}}), [0.0])
        meter = simulated.devices["spectrum_meter"]
        assert isinstance(meter, TextPort)
        resistance, _, volts = map(float, meter.receive(b":FETC?\r").decode().split(","))
        assert volts == pytest.approx(simulated.world.voltage_between(0, 95), rel=1e-5)
        assert resistance == pytest.approx(simulated.world.impedance(0, 95, 1000.0).real, abs=1e-3)

    @pytest.mark.parametrize(
        ("instrument", "settings", "message"),
        [
            ("chamber", {"address": 0}, "1..16"),
            ("chamber", {"address": "1"}, "1..16"),
            ("spectrum_meter", {"max_voltage_v": "450"}, "a voltage"),
            ("spectrum_meter", {"max_voltage_v": -1}, "a voltage"),
        ],
    )
    def test_settings_that_cannot_be_simulated(
        self, tmp_path: Path, instrument: str, settings: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(DocumentError, match=message):
            station(bench_line(tmp_path, **{instrument: {"settings": settings}}), [0.0])

    @pytest.mark.parametrize(
        ("instrument", "kinds"),
        [
            ("insulation_tester", {"wrong_identity", "nan", "output_refuses_off", "breakdown"}),
            ("chamber", {"wrong_identity", "alarm", "protected"}),
            ("code_reader", {"wrong_identity", "nan", "hand_trigger"}),
            ("spectrum_meter", {"wrong_identity", "nan"}),
        ],
    )
    def test_faults(self, tmp_path: Path, instrument: str, kinds: set[str]) -> None:
        simulated = station(bench_line(tmp_path), [0.0])
        for kind in kinds | {"silent", "garbage", "refuse", "drop", "late"}:
            simulated.set_fault(instrument, kind)
            assert kind in simulated.devices[instrument].board.active
        with pytest.raises(DocumentError, match="can have"):
            simulated.set_fault(instrument, "estop")

    async def test_the_program_serves_them_and_obeys(self, tmp_path: Path) -> None:
        file = tmp_path / "line.json"
        file.write_text(bench_line(tmp_path).model_dump_json(by_alias=True))
        command = (sys.executable, "-m", "simulators", "--config", str(file), "--free-ports", "--json", "--rate", "100")
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        addresses = json.loads(await process.stdout.readline())["addresses"]["st01"]
        assert all(os.path.exists(addresses[key]["port"]) for key in ("chamber", "insulation_tester", "spectrum_meter"))
        _, host, port, _ = addresses["code_reader"]["address"].split("::")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"KEYENCE\r")
        await reader.readuntil(b"\r")
        process.stdin.write(b"fault st01 code_reader hand_trigger on\n")
        assert await reader.readuntil(b"\r") == CODE
        writer.close()
        process.stdin.close()
        assert await process.wait() == 0

    async def test_the_program_says_how_to_reach_them(self, tmp_path: Path) -> None:
        file = tmp_path / "line.json"
        file.write_text(bench_line(tmp_path).model_dump_json(by_alias=True))
        command = (sys.executable, "-m", "simulators", "--config", str(file), "--free-ports")
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode() for _ in range(9)]
        process.terminate()
        assert await process.wait() == 0
        told = {line.split()[0].removeprefix("st01/"): line for line in lines}
        assert "115200" in told["insulation_tester"]
        assert "LON" in told["code_reader"]
        assert "screen" in told["chamber"]
