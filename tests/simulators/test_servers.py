"""The simulated station on its wires, met by public clients that know nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pyvisa
import serial
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from config import LineConfig, load_line, shipped_dut_models
from config.line import LinkConfig, ModbusRtuLinkConfig, ModbusTcpLinkConfig, SerialLinkConfig, VisaLinkConfig
from simulators.servers import ListenError
from simulators.station import SimulatedStation

DEMO = Path(__file__).parents[2] / "config" / "lines" / "demo.yaml"


@dataclass
class Plant:
    """The demo's station, served, in a line time that stands still until a test moves it."""

    station: SimulatedStation
    links: dict[str, LinkConfig]
    clock: list[float]

    def tcp(self, instrument: str) -> tuple[str, int]:
        link = self.links[instrument]
        if isinstance(link, VisaLinkConfig):
            _, host, port, _ = link.address.split("::")
            return host, int(port)
        assert isinstance(link, ModbusTcpLinkConfig)
        return link.host, link.port

    def pty(self, instrument: str) -> Path:
        link = self.links[instrument]
        assert isinstance(link, SerialLinkConfig | ModbusRtuLinkConfig)
        return Path(link.port)


def demo_line(tmp_path: Path) -> LineConfig:
    return load_line(DEMO).model_copy(update={"state_dir": str(tmp_path)})


def demo_station(tmp_path: Path, now: Callable[[], float] = lambda: 0.0) -> SimulatedStation:
    return SimulatedStation(demo_line(tmp_path), "st01", shipped_dut_models(), now)


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    clock = [0.0]
    station = demo_station(tmp_path, lambda: clock[0])
    async with station.serve(free_ports=True) as links:
        yield Plant(station, links, clock)


class TestTextOverTcp:
    async def test_pyvisa_reads_and_writes(self, plant: Plant) -> None:
        def talk() -> list[str]:
            manager = pyvisa.ResourceManager("@py")
            link = plant.links["cycler"]
            assert isinstance(link, VisaLinkConfig)
            with manager.open_resource(link.address, read_termination="\n", write_termination="\n") as psb:
                psb.write("SYST:LOCK ON")  # type: ignore[attr-defined]
                psb.write("VOLT 380.5V")  # type: ignore[attr-defined]
                return [psb.query(q) for q in ("*IDN?", "VOLT?", "SYST:ERR?")]  # type: ignore[attr-defined]

        identity, volts, error = await asyncio.to_thread(talk)
        assert "PSB 10500-90" in identity
        assert (volts, error) == ("380.5V", '0,"No error"')

    async def test_two_clients_at_once(self, plant: Plant) -> None:
        readers = [await asyncio.open_connection(*plant.tcp("cycler")) for _ in range(2)]
        for (_, writer), command in zip(readers, (b"OUTP", b"CURR"), strict=True):
            writer.write(command)
        for _, writer in readers:
            writer.write(b"?\n")
        assert [await reader.readline() for reader, _ in readers] == [b"OFF\n", b"0.00A\n"]
        for _, writer in readers:
            writer.close()

    async def test_a_silent_socket_is_closed_after_5_s_of_line_time(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*plant.tcp("cycler"))
        for second in range(0, 40, 4):
            plant.clock[0] = float(second)
            writer.write(b"OUTP?\n")
            assert await reader.readline() == b"OFF\n"
        plant.clock[0] = 41.1
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    async def test_the_silence_allowed_can_be_changed(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*plant.tcp("cycler"))
        writer.write(b"SYST:LOCK ON;SYST:COMM:LAN:TIM 0;SYST:COMM:LAN:TIM?\n")
        assert await reader.readline() == b"0\n"
        plant.clock[0] = 10_000.0
        writer.write(b"OUTP?\n")
        assert await reader.readline() == b"OFF\n"
        writer.close()

    async def test_line_time_acts_on_an_instrument_nobody_talks_to(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*plant.tcp("cycler"))
        commands = b"SYST:LOCK ON\nSYST:COMM:MON:TIM 5\nSYST:COMM:MON:ACT ON\nVOLT 300\nOUTP ON\nOUTP?\n"
        writer.write(commands)
        assert await reader.readline() == b"ON\n"
        plant.clock[0] = 100.0
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        assert plant.station.truth()["output_on"] is False
        writer.close()


class TestModbusTcp:
    async def test_pymodbus_on_the_plc(self, plant: Plant) -> None:
        host, port = plant.tcp("interlock")
        async with AsyncModbusTcpClient(host, port=port, retries=0, reconnect_delay=0) as client:
            await client.write_register(0, 1, device_id=1)
            await client.write_coil(0, True, device_id=1)
            plant.clock[0] = 0.1
            inputs = await client.read_discrete_inputs(0, count=8, device_id=1)
            assert inputs.bits == [True] * 8
            assert (await client.read_input_registers(1, count=1, device_id=1)).registers == [0x0101]
            assert (await client.read_holding_registers(9, count=1, device_id=1)).exception_code == 2
        assert plant.station.truth()["contactor_closed"] is True

    async def test_pymodbus_on_the_bms(self, plant: Plant) -> None:
        host, port = plant.tcp("battery_monitor")
        async with AsyncModbusTcpClient(host, port=port, retries=0, reconnect_delay=0) as client:
            code = (await client.read_input_registers(20, count=16, device_id=1)).registers
            cells = (await client.read_input_registers(100, count=96, device_id=1)).registers
            millivolts = (await client.read_input_registers(5, count=1, device_id=1)).registers[0] * 100
        assert struct.pack(">16H", *code).rstrip(b"\0") == b"PHE96-004711"
        assert sum(cells) == pytest.approx(millivolts, abs=200)
        assert cells == [round(1000 * volts) for volts in plant.station.world.cell_voltages()]

    async def test_what_is_not_modbus_is_hung_up_on(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*plant.tcp("interlock"))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


class TestSerial:
    async def test_pyserial_on_the_impedance_meter(self, plant: Plant) -> None:
        def talk() -> list[bytes]:
            with serial.Serial(str(plant.pty("impedance_meter")), 9600, timeout=5, exclusive=True) as port:
                port.write(b":TRIG:SOUR IMM\r\n:INIT:CONT OFF\r\n*IDN?\r\n:READ?\r\n")
                return [port.readline(), port.readline()]

        for _ in range(2):  # a client may come again
            identity, reading = await asyncio.to_thread(talk)
            assert identity == b"HIOKI,BT3562,0,V1.00\r\n"
            ohms, volts = map(float, reading.split(b","))
            assert ohms == pytest.approx(plant.station.world.ac_resistance(0, 11), rel=1e-3)
            assert volts == pytest.approx(plant.station.world.voltage_between(0, 11), rel=1e-4)

    async def test_another_baud_rate_reads_garbage(self, plant: Plant) -> None:
        def talk() -> bytes:
            with serial.Serial(str(plant.pty("impedance_meter")), 19200, timeout=5) as port:
                port.write(b"*IDN?\r\n")
                return port.read(7)

        answer = await asyncio.to_thread(talk)
        assert len(answer) == 7
        assert b"HIOKI" not in answer

    async def test_pymodbus_on_the_temperature_bus(self, plant: Plant) -> None:
        client = AsyncModbusSerialClient(
            str(plant.pty("temperature_scanner")), baudrate=9600, timeout=0.3, retries=0, reconnect_delay=0
        )
        assert await client.connect()
        for unit in (1, 2):
            answer = await client.read_input_registers(0, count=8, device_id=unit)
            assert answer.registers == [250] * 8
        with pytest.raises(ModbusIOException):
            await client.read_input_registers(0, count=8, device_id=3)
        client.close()

    async def test_a_frame_that_was_begun_does_not_spoil_the_next(self, plant: Plant) -> None:
        frame = bytes.fromhex("0104000000 08 F1CC")

        def talk() -> bytes:
            with serial.Serial(str(plant.pty("temperature_scanner")), 9600, timeout=5) as port:
                port.write(frame[:-1] + b"\0")  # a bad CRC
                port.timeout = 0.1
                assert port.read(1) == b""
                port.timeout = 5
                port.write(frame[:3])
                port.timeout = 0.1
                assert port.read(1) == b""
                port.timeout = 5
                port.write(frame)
                return port.read(21)

        assert (await asyncio.to_thread(talk))[:3] == bytes([1, 4, 16])


class TestFaultsOnTheWire:
    async def test_refused_connections_and_recovery(self, plant: Plant) -> None:
        plant.station.set_fault("cycler", "refuse")
        reader, writer = await asyncio.open_connection(*plant.tcp("cycler"))
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        plant.station.set_fault("cycler", "refuse", False)
        reader, writer = await asyncio.open_connection(*plant.tcp("cycler"))
        writer.write(b"OUTP?\n")
        assert await reader.readline() == b"OFF\n"
        writer.close()

    async def test_a_dropped_connection(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*plant.tcp("interlock"))
        plant.station.set_fault("interlock", "drop")
        writer.write(bytes.fromhex("000100000006010200000008"))
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    async def test_an_unplugged_serial_port(self, plant: Plant) -> None:
        path = plant.pty("impedance_meter")
        with serial.Serial(str(path), 9600, timeout=20) as port:
            plant.station.set_fault("impedance_meter", "refuse")
            with pytest.raises(serial.SerialException):
                await asyncio.to_thread(port.read)
        assert not path.is_symlink()
        plant.station.set_fault("impedance_meter", "refuse", False)
        while not await asyncio.to_thread(path.exists):
            pass

    async def test_a_serial_port_that_is_pulled_out_at_every_request(self, plant: Plant) -> None:
        path = plant.pty("temperature_scanner")
        plant.station.set_fault("temperature_scanner", "drop")
        with serial.Serial(str(path), 9600, timeout=20) as port:
            port.write(bytes.fromhex("0104000000 08 F1CC"))
            with pytest.raises(serial.SerialException):
                await asyncio.to_thread(port.read)
        while not await asyncio.to_thread(path.exists):
            pass

    async def test_a_fault_the_instrument_cannot_have(self, plant: Plant) -> None:
        with pytest.raises(Exception, match="no fault 'door'; it can have"):
            plant.station.set_fault("cycler", "door")


class TestLifecycle:
    async def test_nothing_is_left_behind(self, tmp_path: Path) -> None:
        station = demo_station(tmp_path)
        before, tasks = open_descriptors(), asyncio.all_tasks()
        async with station.serve(free_ports=True) as links:
            host, port = Plant(station, links, []).tcp("cycler")
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"OUTP?\n")
            await reader.readline()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()
        assert asyncio.all_tasks() == tasks
        assert open_descriptors() == before
        assert [path for path in tmp_path.rglob("*") if path.is_symlink()] == []

    async def test_a_stale_serial_port_is_replaced(self, tmp_path: Path) -> None:
        stale = tmp_path / "pty" / "st01" / "impedance_meter"
        stale.parent.mkdir(parents=True)
        stale.symlink_to("/dev/pts/does-not-exist")
        async with demo_station(tmp_path).serve(free_ports=True):
            assert stale.exists()

    async def test_a_file_in_the_way_of_a_serial_port_is_kept(self, tmp_path: Path) -> None:
        precious = tmp_path / "pty" / "st01" / "impedance_meter"
        precious.parent.mkdir(parents=True)
        precious.write_text("precious")
        with pytest.raises(ListenError, match=r"st01/impedance_meter: .* Remove it"):
            async with demo_station(tmp_path).serve(free_ports=True):
                pass
        assert precious.read_text() == "precious"

    async def test_a_port_in_use_is_one_clear_line(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as occupant:
            port = occupant.getsockname()[1]
            line = with_cycler_at(demo_line(tmp_path), f"TCPIP::127.0.0.1::{port}::SOCKET")
            station = SimulatedStation(line, "st01", shipped_dut_models(), lambda: 0.0)
            with pytest.raises(ListenError, match=f"^st01/cycler: cannot listen on 127.0.0.1:{port}: .*--free-ports$"):
                async with station.serve():
                    pass


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def with_cycler_at(line: LineConfig, address: str) -> LineConfig:
    data = line.model_dump(by_alias=True)
    data["stations"]["st01"]["instruments"]["cycler"]["link"]["address"] = address
    return LineConfig.model_validate(data)
