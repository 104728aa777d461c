"""The fourth line's instruments on their wires, met by public clients that know nothing of them."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pyvisa
from pymodbus.client import AsyncModbusTcpClient

from config import DocumentError, LineConfig, load_line, shipped_dut_models
from config.line import VisaLinkConfig
from simulators.ports import RegisterPort, TextPort
from simulators.station import SimulatedStation
from tests.simulators.test_neware_steps import limit, step_file
from tests.simulators.test_servers import Plant

BENCH2 = Path(__file__).parents[2] / "config" / "lines" / "demo_bench2.yaml"
INITIALIZE = struct.pack(">2sBBIQ", b"HS", 0, 0, 0x01004556, 7) + b"hislip0"


def line(tmp_path: Path, **changes: dict[str, Any]) -> LineConfig:
    """The shipped line; `changes` replace keys of an instrument."""
    data = load_line(BENCH2).model_dump(mode="json", by_alias=True)
    for key, change in changes.items():
        data["stations"]["st01"]["instruments"][key] |= change
    return LineConfig.model_validate(data | {"state_dir": str(tmp_path)})


def station(line: LineConfig, clock: list[float]) -> SimulatedStation:
    return SimulatedStation(line, "st01", shipped_dut_models(), lambda: clock[0])


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    clock = [0.0]
    simulated = station(line(tmp_path), clock)
    async with simulated.serve(free_ports=True) as links:
        yield Plant(simulated, links, clock)


@contextlib.contextmanager
def visa(plant: Plant) -> Any:
    link = plant.links["voltmeter"]
    assert isinstance(link, VisaLinkConfig)
    manager = pyvisa.ResourceManager("@py")
    with manager.open_resource(link.address, read_termination="\n", write_termination="\n", timeout=5000) as meter:
        yield meter


def hislip(plant: Plant) -> tuple[str, int]:
    link = plant.links["voltmeter"]
    assert isinstance(link, VisaLinkConfig)
    return "127.0.0.1", int(link.address.split(",")[1].split(":")[0])


class TestMultimeter:
    async def test_pyvisa_by_hislip(self, plant: Plant) -> None:
        def talk() -> list[str]:
            with visa(plant) as meter:
                meter.write("VOLT:RANG 100;:VOLT:NPLC 1")
                return [meter.query(question) for question in ("*IDN?", "VOLT:NPLC?", "READ?", "SYST:ERR?")]

        identity, cycles, reading, error = await asyncio.to_thread(talk)
        assert identity.split(",")[1:3] == ["34461A", "MY53219001"]
        assert (float(cycles), error) == (1.0, '+0,"No error"')
        assert float(reading) == pytest.approx(plant.station.world.battery_voltage(), abs=1e-3)

    async def test_pyvisa_clears_polls_and_times_out(self, plant: Plant) -> None:
        def talk() -> tuple[int, str, int]:
            with visa(plant) as meter:
                meter.query("*IDN?")
                meter.clear()
                meter.timeout = 200
                with pytest.raises(pyvisa.errors.VisaIOError):
                    meter.query("BOGUS?")
                status = meter.read_stb()
                meter.timeout = 5000
                return status, meter.query("SYST:ERR?"), meter.read_stb()

        assert await asyncio.to_thread(talk) == (4, '-113,"Undefined header"', 0)

    async def test_a_long_answer_and_two_clients(self, plant: Plant) -> None:
        def talk() -> tuple[int, str]:
            with visa(plant) as one, visa(plant) as other:
                one.write("SAMP:COUN 10000")
                return len(one.query("READ?").split(",")), other.query("SAMP:COUN?")

        assert await asyncio.to_thread(talk) == (10_000, "+10000")

    async def test_pyvisas_own_client_locks_and_triggers(self, plant: Plant) -> None:
        protocol = pytest.importorskip("pyvisa_py.protocols.hislip", reason="this pyvisa-py has no HiSLIP client")
        host, port = hislip(plant)

        def talk() -> list[object]:
            one, other = (protocol.Instrument(host, port=port) for _ in range(2))
            told = [one.async_lock_request(1), other.async_lock_request(0), other.async_lock_info()]
            told += [one.async_lock_release(), other.async_lock_info()]
            one.send(b"TRIG:SOUR BUS;:INIT\n")
            one.trigger()
            one.send(b"FETC?\n")
            told.append(len(one.receive()))
            one.async_remote_local_control("enableAndGotoRemote")
            one.close()
            other.close()
            return told

        assert await asyncio.to_thread(talk) == ["success", "failure", 1, "success", 0, len("+4.40000000E+01\n")]

    async def test_what_is_not_hislip_hears_why_before_it_is_hung_up_on(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*hislip(plant))
        writer.write(b"*IDN?\n" * 10)
        assert b"Poorly formed message header" in await reader.read()
        writer.close()

    async def test_a_session_ends_on_both_connections(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*hislip(plant))
        writer.write(INITIALIZE)
        answer = await reader.readexactly(16)
        beside, other = await asyncio.open_connection(*hislip(plant))
        other.write(struct.pack(">2sBBIQ", b"HS", 17, 0, answer[7], 0))
        await beside.readexactly(16)
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            assert await beside.read() == b""
        other.close()

    async def test_an_interrupted_answer_is_told_on_the_other_connection(self, plant: Plant) -> None:
        reader, writer = await asyncio.open_connection(*hislip(plant))
        writer.write(INITIALIZE)
        answer = await reader.readexactly(16)
        beside, other = await asyncio.open_connection(*hislip(plant))
        other.write(struct.pack(">2sBBIQ", b"HS", 17, 0, answer[7], 0))
        await beside.readexactly(16)
        for number in (2, 4):
            writer.write(struct.pack(">2sBBIQ", b"HS", 7, 0, number, 5) + b"FUNC?")
        assert await beside.readexactly(16) == struct.pack(">2sBBIQ", b"HS", 14, 0, 4, 0)
        writer.close()
        other.close()


class TestChamber:
    async def test_pymodbus_conditions_the_air(self, plant: Plant) -> None:
        host, port = plant.tcp("chamber")
        async with AsyncModbusTcpClient(host, port=port, retries=0, reconnect_delay=0) as f4t:

            async def number(register: int) -> float:
                words = (await f4t.read_holding_registers(register, count=2, device_id=1)).registers
                value = f4t.convert_from_registers(words, f4t.DATATYPE.FLOAT32, word_order="little")
                assert isinstance(value, float)
                return value

            assert (await f4t.read_holding_registers(0, count=1, device_id=1)).registers == [124]
            assert await number(2820) == 23.0
            words = f4t.convert_to_registers(35.0, f4t.DATATYPE.FLOAT32, word_order="little")
            assert not (await f4t.write_registers(2782, words, device_id=1)).isError()
            assert not (await f4t.write_register(16594, 63, device_id=1)).isError()
            assert not (await f4t.write_register(2730, 10, device_id=1)).isError()
            plant.clock[0] = 300.0
            assert 23 < await number(2820) < 35
            plant.clock[0] = 4 * 3600.0
            assert await number(2820) == 35.0
            assert (await f4t.write_register(2730, 11, device_id=1)).exception_code == 3
            plant.station.set_fault("chamber", "alarm")
            assert (await f4t.read_holding_registers(1356, count=1, device_id=1)).registers == [7]
        assert plant.station.world.cell_temperatures().mean() > 34


class TestConfiguration:
    def test_memory_links(self, tmp_path: Path) -> None:
        devices = station(line(tmp_path), [0.0]).devices
        meter, circulator, chamber = (devices[key] for key in ("voltmeter", "chiller", "chamber"))
        assert isinstance(meter, TextPort)
        assert isinstance(circulator, TextPort)
        assert isinstance(chamber, RegisterPort)
        assert meter.receive(b"FUNC?\n") == b'"VOLT"\n'
        assert circulator.receive(b"STATUS\r") == b"02 REMOTE STOP\r\n"
        assert chamber.respond(1, bytes.fromhex("03 0000 0001")) == bytes.fromhex("03 02 007C")

    def test_models_numbers_and_addresses_are_those_of_the_line_file(self, tmp_path: Path) -> None:
        changed = line(
            tmp_path,
            voltmeter={"serial": "MY00000001"},
            chiller={"model": "CF41", "settings": {"address": 32}},
            chamber={"serial": "123456", "settings": {"unit": 5, "loop": 2}},
        )
        clock = [0.0]
        simulated = station(changed, clock)
        meter, circulator, chamber = (simulated.devices[key] for key in ("voltmeter", "chiller", "chamber"))
        assert isinstance(meter, TextPort)
        assert isinstance(circulator, TextPort)
        assert isinstance(chamber, RegisterPort)
        assert b"MY00000001" in meter.receive(b"*IDN?\n")
        assert circulator.receive(b"A032_VERSION\r") == b"A032_JULABO CRYOCOMPACT CF41 VERSION 5.0\r\n"
        assert chamber.respond(1, bytes.fromhex("03 0000 0001")) is None
        assert chamber.respond(5, bytes.fromhex("03 000C 0002")) == bytes.fromhex("03 04 E240 0001")
        chamber.respond(5, struct.pack(">BHHBHH", 16, 2782 + 160, 2, 4, 0, 0x420C))
        for loop, later, degc in ((0, 3600.0, 23.0), (1, 4 * 3600.0, 35.0)):
            chamber.respond(5, struct.pack(">BHH", 6, 2730 + 160 * loop, 10))
            clock[0] = later
            simulated.truth()
            assert simulated.world.chamber_degc == degc, "the second loop heats, not the first"

    def test_a_battery_of_one_cell_is_on_the_channel_behind_the_contactor(self, tmp_path: Path) -> None:
        data = line(tmp_path).model_dump(mode="json", by_alias=True)
        data["stations"]["st01"]["impedance_probe_cells"] = None
        data["simulation"]["stations"]["st01"]["battery"] = {"model": "nmc_1s_60ah", "code": "PHC01-000001"}
        file = tmp_path / "p.xml"
        file.write_bytes(step_file((2, limit(Curr=30000, Time=1_800_000))))
        clock = [0.0]
        simulated = station(LineConfig.model_validate(data), clock)
        cycler, plc = simulated.devices["cell_cycler"], simulated.devices["interlock"]
        assert isinstance(cycler, TextPort)
        assert isinstance(plc, RegisterPort)
        for pdu in (struct.pack(">BHH", 6, 1, 600), struct.pack(">BHH", 6, 0, 1), bytes.fromhex("050000FF00")):
            plc.respond(1, pdu)
        clock[0] = 0.1
        end = b"\n\n#\r\n"
        login = "<cmd>connect</cmd><username>admin</username><password>neware</password><type>bfgs</type>"
        start = f'<cmd>start</cmd><list><start devid="21" subdevid="1" chlid="4">{file}</start></list>'
        for message in (login, start):
            assert b">ok<" in cycler.receive(f"<bts>{message}</bts>".encode() + end)
        clock[0] = 50.0
        truth = simulated.truth()
        assert truth["current"] == -30.0
        assert truth["discharged_ah"] == pytest.approx(30 * 49.9 / 3600)

    def test_the_servers_own_name_of_the_folder_and_other_credentials(self, tmp_path: Path) -> None:
        settings = {
            "address": "21-2-1",
            "folder": str(tmp_path),
            "bts_folder": r"D:\steps",
            "user": "eva",
            "password": "x",
        }
        simulated = station(line(tmp_path, cell_cycler={"settings": settings}), [0.0])
        (tmp_path / "21-2-1.xml").write_bytes(step_file((4, limit(Time=60_000))))
        cycler = simulated.devices["cell_cycler"]
        assert isinstance(cycler, TextPort)
        end = b"\n\n#\r\n"
        for user, told in (("admin", b"false"), ("eva", b"ok")):
            login = f"<cmd>connect</cmd><username>{user}</username><password>x</password><type>bfgs</type>"
            assert b">" + told + b"<" in cycler.receive(f"<bts>{login}</bts>".encode() + end)
        channel = 'devid="21" subdevid="2" chlid="1"'
        start = rf"<cmd>start</cmd><list><start {channel}>D:\steps\21-2-1.xml</start></list>"
        assert b">ok<" in cycler.receive(f"<bts>{start}</bts>".encode() + end)

    @pytest.mark.parametrize(
        ("instrument", "settings", "message"),
        [
            ("chamber", {"loop": 5}, r"settings\.loop must be a whole number 1\.\.4"),
            ("chamber", {"event": 0}, r"settings\.event must be a whole number 1\.\.8"),
            ("chamber", {"unit": "1"}, r"settings\.unit must be a whole number 1\.\.247"),
            ("chiller", {"address": 128}, r"settings\.address must be a whole number 1\.\.127"),
            ("cell_cycler", {}, "DEVICE-SUBDEVICE-CHANNEL"),
            ("cell_cycler", {"address": "21-1"}, "DEVICE-SUBDEVICE-CHANNEL"),
            ("cell_cycler", {"address": "21-2-5"}, "no cell on channel 5 of sub-device 2: of 12 cells"),
            ("cell_cycler", {"address": "21-1-9"}, "no cell on channel 9"),
        ],
    )
    def test_settings_that_cannot_be_simulated(
        self, tmp_path: Path, instrument: str, settings: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(DocumentError, match=message):
            station(line(tmp_path, **{instrument: {"settings": settings}}), [0.0])

    @pytest.mark.parametrize(
        ("instrument", "kinds"),
        [
            ("voltmeter", {"wrong_identity", "nan"}),
            ("chamber", {"wrong_identity", "nan", "alarm", "word_order", "fahrenheit"}),
            ("chiller", {"wrong_identity", "nan", "alarm", "protected", "fahrenheit"}),
            ("cell_cycler", {"wrong_identity", "nan", "alarm", "output_refuses_off"}),
        ],
    )
    def test_faults(self, tmp_path: Path, instrument: str, kinds: set[str]) -> None:
        simulated = station(line(tmp_path), [0.0])
        for kind in kinds | {"silent", "garbage", "refuse", "drop", "late"}:
            simulated.set_fault(instrument, kind)
            assert kind in simulated.devices[instrument].board.active
        with pytest.raises(DocumentError, match="can have"):
            simulated.set_fault(instrument, "estop")

    async def test_a_hislip_address_without_a_port_is_the_protocols(self, tmp_path: Path) -> None:
        link = {"kind": "visa", "address": "TCPIP0::127.0.0.1::hislip0::INSTR"}
        simulated = station(line(tmp_path, voltmeter={"link": link}), [0.0])
        async with simulated.serve(free_ports=True) as links:
            served = links["voltmeter"]
            assert isinstance(served, VisaLinkConfig)
            assert served.address.startswith("TCPIP::127.0.0.1::hislip0,")

    async def test_the_program_says_how_to_reach_them(self, tmp_path: Path) -> None:
        file = tmp_path / "line.json"
        file.write_text(line(tmp_path).model_dump_json(by_alias=True))
        command = (sys.executable, "-m", "simulators", "--config", str(file), "--free-ports")
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode() for _ in range(9)]
        process.terminate()
        assert await process.wait() == 0
        told = {line.split()[0].removeprefix("st01/"): line for line in lines}
        assert "pyvisa-shell" in told["voltmeter"]
        assert "-a 1 -0 -t 4" in told["chamber"]
        assert "STATUS" in told["chiller"]
        assert "getdevinfo" in told["cell_cycler"]
