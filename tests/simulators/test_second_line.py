"""The second set of instruments on its wires: the demo's station with other links, met by public clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pyvisa
from pymodbus.client import AsyncModbusTcpClient
from pyvisa.constants import StatusCode

from config import DocumentError, LineConfig, load_line, shipped_dut_models
from config.line import ModbusTcpLinkConfig, VisaLinkConfig
from simulators.ports import RegisterPort, TextPort
from simulators.station import SimulatedStation
from tests.simulators.test_servers import DEMO, Plant

NULL_CALL = struct.pack(">11I", 0x80000000 | 40, 1, 0, 2, 0x0607AF, 1, 0, 0, 0, 0, 0)
INSTRUMENTS: dict[str, Any] = {
    "cycler": {
        "driver": "ea_bt20000",
        "model": "BT 20500-90",
        "serial": "2024110007",
        "link": {"kind": "modbus_tcp", "host": "127.0.0.1", "port": 15502},
    },
    "impedance_meter": {
        "driver": "hioki_bt3562",
        "model": "BT3562A",
        "link": {"kind": "visa", "address": "TCPIP::127.0.0.1::15023::SOCKET"},
    },
    "temperature_scanner": {
        "driver": "keithley_daq6510",
        "model": "DAQ6510",
        "link": {"kind": "visa", "address": "TCPIP::127.0.0.1,15024::inst0::INSTR"},
        "settings": {"channels": list(range(101, 117))},
    },
}


def second_line(tmp_path: Path, **changes: dict[str, Any]) -> LineConfig:
    """The demo line with the other cycler, meter and scanner; `changes` replace keys of an instrument."""
    data = load_line(DEMO).model_dump(mode="json", by_alias=True)
    for key, instrument in INSTRUMENTS.items():
        data["stations"]["st01"]["instruments"][key] = instrument | changes.get(key, {})
    return LineConfig.model_validate(data | {"state_dir": str(tmp_path)})


def station(line: LineConfig, clock: list[float]) -> SimulatedStation:
    return SimulatedStation(line, "st01", shipped_dut_models(), lambda: clock[0])


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    clock = [0.0]
    simulated = station(second_line(tmp_path), clock)
    async with simulated.serve(free_ports=True) as links:
        yield Plant(simulated, links, clock)


def address(plant: Plant, instrument: str) -> str:
    link = plant.links[instrument]
    assert isinstance(link, VisaLinkConfig)
    return link.address


@contextlib.contextmanager
def visa(resource: str) -> Any:
    manager = pyvisa.ResourceManager("@py")
    with manager.open_resource(resource, read_termination="\n", write_termination="\n", timeout=5000) as instrument:
        yield instrument


class TestBatteryTester:
    async def test_pymodbus_charges_the_battery(self, plant: Plant) -> None:
        host, port = plant.tcp("interlock")
        async with AsyncModbusTcpClient(host, port=port, retries=0, reconnect_delay=0) as plc:
            await plc.write_register(1, 600, device_id=1)
            await plc.write_register(0, 1, device_id=1)
            await plc.write_coil(0, True, device_id=1)
        plant.clock[0] = 0.1
        host, port = plant.tcp("cycler")
        async with AsyncModbusTcpClient(host, port=port, retries=0, reconnect_delay=0) as bt:

            async def number(register: int) -> float:
                words = (await bt.read_holding_registers(register, count=2, device_id=0)).registers
                value = bt.convert_from_registers(words, bt.DATATYPE.FLOAT32, word_order="big")
                assert isinstance(value, float)
                return value

            async def write(register: int, value: float) -> None:
                words = bt.convert_to_registers(value, bt.DATATYPE.FLOAT32, word_order="big")
                assert not (await bt.write_registers(register, words, device_id=0)).isError()

            assert await number(121) == 500.0
            refused = await bt.write_coil(405, True, device_id=0)
            assert (refused.isError(), refused.exception_code) == (True, 7)
            for coil in (402, 431, 435):
                assert not (await bt.write_coil(coil, True, device_id=0)).isError()
                if coil != 435:
                    assert (await bt.read_coils(coil, count=1, device_id=0)).bits[0] is True
            await write(492, 380.0)
            await write(490, 30.0)
            assert not (await bt.write_coil(405, True, device_id=0)).isError()
            for _ in range(36):
                plant.clock[0] += 1
                raw = (await bt.read_holding_registers(507, count=3, device_id=0)).registers
            assert raw[1] * 90 / 0xCCCC == pytest.approx(30, abs=0.01)
            assert await number(534) == pytest.approx(0.3, rel=1e-3)
            truth = plant.station.truth()
            assert truth["output_on"] is True
            assert truth["charged_ah"] == pytest.approx(await number(534), rel=1e-6)
            assert raw[0] * 500 / 0xCCCC == pytest.approx(plant.station.world.battery_voltage(), abs=0.01)

    async def test_a_silent_socket_is_closed_after_5_s_of_line_time(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*plant.tcp("cycler"))
        for second in range(0, 20, 4):
            plant.clock[0] = float(second)
            writer.write(bytes.fromhex("0001 0000 0006 00 03 0079 0002"))
            assert await reader.readexactly(13) == bytes.fromhex("0001 0000 0007 00 03 04 43FA0000")
        plant.clock[0] = 21.1
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    async def test_its_watchdog_runs_out_when_nobody_talks(self, plant: Plant) -> None:
        host, port = plant.tcp("cycler")
        async with AsyncModbusTcpClient(host, port=port, retries=0, reconnect_delay=0) as bt:
            await bt.write_coil(402, True, device_id=0)
            await bt.write_register(10801, 1, device_id=0)
            await bt.write_coil(405, True, device_id=0)
            assert plant.station.truth()["output_on"] is True
            plant.clock[0] = 4.9
            assert plant.station.truth()["output_on"] is True
            plant.clock[0] = 5.0
            assert plant.station.truth()["output_on"] is False


class TestImpedanceMeter:
    async def test_pyvisa_over_a_socket(self, plant: Plant) -> None:
        def talk() -> list[str]:
            with visa(address(plant, "impedance_meter")) as meter:
                meter.write_termination = meter.read_termination = "\r\n"
                meter.write(":TRIG:SOUR IMM")
                meter.write(":INIT:CONT OFF")
                return [meter.query(question) for question in ("*IDN?", ":READ?")]

        identity, reading = await asyncio.to_thread(talk)
        assert identity == "HIOKI,BT3562A,0,V1.00"
        ohms, volts = map(float, reading.split(","))
        assert ohms == pytest.approx(plant.station.world.ac_resistance(0, 11), rel=1e-3)
        assert volts == pytest.approx(plant.station.world.voltage_between(0, 11), rel=1e-4)


class TestTemperatureScanner:
    async def test_pyvisa_over_vxi11(self, plant: Plant) -> None:
        def talk() -> tuple[str, list[float], int, int]:
            with visa(address(plant, "temperature_scanner")) as daq:
                identity = daq.query("*IDN?")
                daq.write(':SENS:FUNC "TEMP",(@101:116)')
                daq.write(":ROUT:SCAN:CRE (@101:116)")
                daq.write(":INIT")
                degrees = daq.query_ascii_values(':TRAC:DATA? 1,16,"defbuffer1"')
                quiet = daq.read_stb()
                daq.write("BOGUS")
                daq.clear()
                return identity, degrees, quiet, daq.read_stb()

        identity, degrees, quiet, after_error = await asyncio.to_thread(talk)
        assert identity == "KEITHLEY INSTRUMENTS,MODEL DAQ6510,04340543,1.7.12b"
        assert degrees == pytest.approx([25.0] * 16)
        assert (quiet, after_error) == (0, 4)

    async def test_an_unanswered_query_is_a_timeout_and_the_next_answer_its_own(self, plant: Plant) -> None:
        def talk() -> tuple[int, str]:
            with visa(address(plant, "temperature_scanner")) as daq:
                with pytest.raises(pyvisa.VisaIOError) as caught:
                    daq.query("BOGUS?")
                return caught.value.error_code, daq.query("*LANG?")

        code, language = await asyncio.to_thread(talk)
        assert (code, language) == (StatusCode.error_timeout, "SCPI")

    @pytest.mark.parametrize("kind", ["drop", None])
    async def test_it_hangs_up_on_a_fault_and_on_what_is_not_rpc(self, plant: Plant, kind: str | None) -> None:
        host, port = address(plant, "temperature_scanner").split("::")[1].split(",")
        reader, writer = await asyncio.open_connection(host, int(port))
        if kind:
            plant.station.set_fault("temperature_scanner", kind)
        # the null procedure, or what a browser says
        writer.write(NULL_CALL if kind else b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    async def test_it_answers_on_a_bare_socket_too(self, tmp_path: Path) -> None:
        link = {"kind": "visa", "address": "TCPIP::127.0.0.1::15025::SOCKET"}
        simulated = station(second_line(tmp_path, temperature_scanner={"link": link}), [0.0])
        async with simulated.serve(free_ports=True) as links:
            reader, writer = await asyncio.open_connection(*Plant(simulated, links, []).tcp("temperature_scanner"))
            writer.write(b"*LANG?\n")
            assert await reader.readline() == b"SCPI\n"
            writer.close()


class TestConfiguration:
    def test_memory_links(self, tmp_path: Path) -> None:
        devices = station(second_line(tmp_path), [0.0]).devices
        cycler, meter, scanner = (devices[key] for key in INSTRUMENTS)
        assert isinstance(cycler, RegisterPort)
        assert cycler.respond(0, bytes.fromhex("0300790002")) == bytes.fromhex("030443FA0000")
        assert cycler.respond(1, bytes.fromhex("0300790002")) is None
        assert isinstance(meter, TextPort)
        assert meter.receive(b"*IDN?\r\n") == b"HIOKI,BT3562A,0,V1.00\r\n"
        assert isinstance(scanner, TextPort)
        assert scanner.receive(b"*LANG?\n") == b"SCPI\n"

    def test_serial_numbers_are_those_of_the_line_file(self, tmp_path: Path) -> None:
        line = second_line(tmp_path, temperature_scanner={"serial": "04111111"})
        devices = station(line, [0.0]).devices
        scanner, cycler = devices["temperature_scanner"], devices["cycler"]
        assert isinstance(scanner, TextPort)
        assert b",04111111," in scanner.receive(b"*IDN?\n")
        assert isinstance(cycler, RegisterPort)
        assert b"2024110007" in (cycler.respond(0, bytes.fromhex("0300970014")) or b"")

    @pytest.mark.parametrize(
        ("instrument", "change", "message"),
        [
            ("temperature_scanner", {"settings": {"channels": [101, 150]}}, "list of channels"),
            ("temperature_scanner", {"settings": {"channels": [101, 101]}}, "a channel twice"),
            ("temperature_scanner", {"settings": {"channels": []}}, "list of channels"),
        ],
    )
    def test_settings_that_cannot_be_simulated(
        self, tmp_path: Path, instrument: str, change: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(DocumentError, match=message):
            station(second_line(tmp_path, **{instrument: change}), [0.0])

    @pytest.mark.parametrize(
        ("instrument", "address", "message"),
        [
            ("temperature_scanner", "TCPIP::10.0.0.1::inst0::INSTR", "cannot be simulated"),
            ("temperature_scanner", "TCPIP::10.0.0.1,1::hislip0::INSTR", "use .*HOST,PORT::inst0::INSTR"),
            ("cycler", "TCPIP::127.0.0.1,1::inst0::INSTR", "does not speak over a visa link"),
        ],
    )
    async def test_addresses_that_cannot_be_simulated(
        self, tmp_path: Path, instrument: str, address: str, message: str
    ) -> None:
        link = {"kind": "visa", "address": address}
        simulated = station(second_line(tmp_path, **{instrument: {"link": link}}), [0.0])
        with pytest.raises(DocumentError, match=message):
            async with simulated.serve(free_ports=True):
                pass

    @pytest.mark.parametrize(
        ("instrument", "kind"),
        [
            ("cycler", "output_refuses_off"),
            ("cycler", "nan"),
            ("temperature_scanner", "nan"),
            ("temperature_scanner", "wrong_identity"),
            ("temperature_scanner", "late"),
        ],
    )
    def test_faults(self, tmp_path: Path, instrument: str, kind: str) -> None:
        simulated = station(second_line(tmp_path), [0.0])
        simulated.set_fault(instrument, kind)
        assert simulated.devices[instrument].board.active == {kind}

    async def test_the_program_serves_it_and_writes_its_addresses(self, tmp_path: Path) -> None:
        file, written = tmp_path / "line.json", tmp_path / "written.json"
        file.write_text(second_line(tmp_path).model_dump_json(by_alias=True))
        command = (sys.executable, "-m", "simulators", "--config", str(file), "--free-ports")
        process = await asyncio.create_subprocess_exec(
            *command, "--json", "--write-config", str(written), stdin=PIPE, stdout=PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline())
        links = {key: item.link for key, item in load_line(written).stations["st01"].instruments.items()}
        scanner, cycler = links["temperature_scanner"], links["cycler"]
        assert isinstance(scanner, VisaLinkConfig)
        assert isinstance(cycler, ModbusTcpLinkConfig)
        assert scanner.address == ready["addresses"]["st01"]["temperature_scanner"]["address"]
        assert scanner.address.endswith("::inst0::INSTR")
        assert cycler.port == ready["addresses"]["st01"]["cycler"]["port"] != 15502

        def ask() -> str:
            with visa(scanner.address) as daq:
                return str(daq.query("*LANG?"))

        assert await asyncio.to_thread(ask) == "SCPI"
        process.stdin.close()
        assert await process.wait() == 0

    async def test_the_program_says_how_to_reach_them(self, tmp_path: Path) -> None:
        file = tmp_path / "line.json"
        file.write_text(second_line(tmp_path).model_dump_json(by_alias=True))
        command = (sys.executable, "-m", "simulators", "--config", str(file), "--free-ports")
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode() for _ in range(6)]
        process.terminate()
        assert await process.wait() == 0
        assert "-a 0 -0 -t 4" in next(line for line in lines if line.startswith("st01/cycler"))
        assert "pyvisa-shell" in next(line for line in lines if line.startswith("st01/temperature_scanner"))
