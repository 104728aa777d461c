"""Instruments of a line file that share a wire: chambers on RS-485, circulators on a serial server, cell cyclers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import serial

from config import LineConfig, load_line, shipped_dut_models
from config.line import SerialLinkConfig, XmlTcpLinkConfig
from simulators.line import serving_line
from simulators.station import SimulatedStation
from tests.simulators.test_neware_steps import REST, step_file

BENCH = Path(__file__).parents[2] / "config" / "lines" / "demo_bench.yaml"
END = b"\n\n#\r\n"
LOGIN = b"<bts><cmd>connect</cmd><username>admin</username><password>neware</password><type>bfgs</type></bts>"


def line_with(tmp_path: Path, stations: int, **instruments: Callable[[int], dict[str, Any]]) -> LineConfig:
    """Stations with a cycler, an interlock and these instruments, each of which is told its station's number."""
    data = load_line(BENCH).model_dump(mode="json", by_alias=True)
    station, simulated = data["stations"].pop("st01"), data["simulation"]["stations"].pop("st01")
    simulated["battery"] |= {"model": "nmc_12s_60ah", "weak_cell": None}
    for number in range(1, stations + 1):
        kept = {key: {**station["instruments"][key]} for key in ("cycler", "interlock")}
        kept["cycler"]["link"] = {"kind": "visa", "address": f"TCPIP::127.0.0.1::{20000 + number}::SOCKET"}
        kept["interlock"]["link"] = {"kind": "modbus_tcp", "host": "127.0.0.1", "port": 21000 + number}
        kept |= {key: instrument(number) for key, instrument in instruments.items()}
        data["stations"][f"st0{number}"] = station | {"instruments": kept}
        battery = simulated["battery"] | {"code": f"PHM12-00000{number}"}
        data["simulation"]["stations"][f"st0{number}"] = simulated | {"battery": battery}
    return LineConfig.model_validate(data | {"state_dir": str(tmp_path)})


def chamber(number: int) -> dict[str, Any]:
    link = {"kind": "serial", "port": "var/pty/bus", "baudrate": 19200}
    return {"driver": "espec_p300", "link": link, "settings": {"address": number}}


def chiller(number: int) -> dict[str, Any]:
    link = {"kind": "serial", "port": "socket://127.0.0.1:22000", "terminator": "CR"}
    return {"driver": "julabo_cf", "link": link, "settings": {"address": 30 + number}}


def cell_cycler(number: int) -> dict[str, Any]:
    settings = {"address": f"21-1-{number}", "folder": "var/bts"}
    return {
        "driver": "neware_bts",
        "link": {"kind": "xml_tcp", "host": "127.0.0.1", "port": 22001},
        "settings": settings,
    }


class Plant:
    def __init__(self, line: LineConfig) -> None:
        self.time = 0.0
        self.stations = {
            name: SimulatedStation(line, name, shipped_dut_models(), lambda: self.time) for name in line.stations
        }

    def serve(self) -> Any:
        return serving_line([station.wiring for station in self.stations.values()], free_ports=True)


async def on_pty(port: str, lines: bytes, answers: int) -> list[bytes]:
    def talk() -> list[bytes]:
        with serial.Serial(port, 19200, timeout=5, exclusive=True) as bus:
            bus.write(lines)
            return [bus.read_until(b"\n") for _ in range(answers)]

    return await asyncio.to_thread(talk)


class TestRs485:
    async def test_chambers_of_two_stations_share_a_pty(self, tmp_path: Path) -> None:
        plant = Plant(line_with(tmp_path, 2, chamber=chamber))
        async with plant.serve() as links:
            one, other = (links[name]["chamber"] for name in ("st01", "st02"))
            assert one == other
            assert isinstance(one, SerialLinkConfig)
            said = b"2,TEMP, S40.0\r\n2,MODE,CONSTANT\r\n3,MODE?\r\n1,MODE?\r\n2,MODE?\r\n"
            answers = await on_pty(one.port, said, 4)
            assert answers == [b"OK:TEMP, S40.0\r\n", b"OK:MODE,CONSTANT\r\n", b"STANDBY\r\n", b"CONSTANT\r\n"]
            plant.time = 4 * 3600.0
            assert await on_pty(one.port, b"1,MON?\r\n2,MON?\r\n", 2) == [
                b"23.0,,STANDBY,0\r\n",
                b"40.0,,CONSTANT,0\r\n",
            ]
        assert plant.stations["st02"].world.cell_temperatures().mean() > 35

    async def test_a_silent_chamber_leaves_the_bus_to_the_other(self, tmp_path: Path) -> None:
        plant = Plant(line_with(tmp_path, 2, chamber=chamber))
        async with plant.serve() as links:
            plant.stations["st01"].set_fault("chamber", "silent")
            assert await on_pty(links["st01"]["chamber"].port, b"1,MODE?\r\n2,MODE?\r\n", 1) == [b"STANDBY\r\n"]

    async def test_a_late_answer_comes_when_somebody_else_is_asked(self, tmp_path: Path) -> None:
        plant = Plant(line_with(tmp_path, 2, chamber=chamber))
        async with plant.serve() as links:
            plant.stations["st01"].set_fault("chamber", "late")
            answers = await on_pty(links["st01"]["chamber"].port, b"1,TEMP, S30.0\r\n2,MODE?\r\n", 2)
            assert answers == [b"OK:TEMP, S30.0\r\n", b"STANDBY\r\n"]

    async def test_an_unplugged_bus_is_everybodys(self, tmp_path: Path) -> None:
        plant = Plant(line_with(tmp_path, 2, chamber=chamber))
        async with plant.serve() as links:
            path = Path(links["st01"]["chamber"].port)
            plant.stations["st02"].set_fault("chamber", "refuse")
            while await asyncio.to_thread(path.exists):
                pass
            plant.stations["st02"].set_fault("chamber", "refuse", False)
            while not await asyncio.to_thread(path.exists):
                pass
            assert await on_pty(str(path), b"1,MODE?\r\n", 1) == [b"STANDBY\r\n"]

    async def test_the_program_serves_them(self, tmp_path: Path) -> None:
        file = tmp_path / "line.json"
        file.write_text(line_with(tmp_path, 2, chamber=chamber).model_dump_json(by_alias=True))
        command = (sys.executable, "-m", "simulators", "--config", str(file), "--free-ports", "--json")
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        addresses = json.loads(await process.stdout.readline())["addresses"]
        assert addresses["st01"]["chamber"] == addresses["st02"]["chamber"]
        assert len(await on_pty(addresses["st01"]["chamber"]["port"], b"1,TYPE?\r\n2,TYPE?\r\n", 2)) == 2
        process.stdin.close()
        assert await process.wait() == 0


async def test_circulators_share_a_serial_server(tmp_path: Path) -> None:
    plant = Plant(line_with(tmp_path, 2, chiller=chiller))
    async with plant.serve() as links:
        link = links["st02"]["chiller"]
        assert isinstance(link, SerialLinkConfig)
        host, port = link.port.removeprefix("socket://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"A032_OUT_SP_00 15.5\rA033_STATUS\rSTATUS\rA031_IN_SP_00\rA032_IN_SP_00\r")
        assert await reader.readuntil(b"\n") == b"A031_25.00\r\n"
        assert (await reader.readuntil(b"\n")).lstrip(b"\x11\x13") == b"A032_15.50\r\n"
        writer.close()


class TestCellCyclers:
    async def test_stations_share_a_server_and_each_has_its_channel(self, tmp_path: Path) -> None:
        plant = Plant(line_with(tmp_path, 3, cell_cycler=cell_cycler))
        async with plant.serve() as links:
            assert len({str(links[name]["cell_cycler"]) for name in plant.stations}) == 1
            async with _client(links["st01"]["cell_cycler"]) as ask:
                assert (await ask(b"<bts><cmd>getdevinfo</cmd></bts>")).count(b"<channel") == 8
                file = tmp_path / "21-1-3.xml"
                file.write_bytes(step_file(REST))
                channel = 'devid="21" subdevid="1" chlid="3"'
                assert b">ok<" in await ask(
                    f"<bts><cmd>start</cmd><list><start {channel}>{file}</start></list></bts>".encode()
                )
                inquire = f"<bts><cmd>inquire</cmd><list><inquire {channel}/></list></bts>".encode()
                assert b'workstatus="working"' in await ask(inquire)
                plant.time = 3600.0
                assert b'workstatus="finish"' in await ask(inquire)
                plant.stations["st03"].set_fault("cell_cycler", "nan")
                assert b'voltage="--"' in await ask(inquire)
                assert b'voltage="--"' not in await ask(inquire.replace(b'chlid="3"', b'chlid="2"'))

    async def test_a_cut_cable_is_everybodys(self, tmp_path: Path) -> None:
        plant = Plant(line_with(tmp_path, 2, cell_cycler=cell_cycler))
        async with plant.serve() as links, _client(links["st01"]["cell_cycler"]) as ask:
            plant.stations["st02"].set_fault("cell_cycler", "drop")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await ask(b"<bts><cmd>getdevinfo</cmd></bts>")

    async def test_in_memory_each_has_a_server_of_its_own(self, tmp_path: Path) -> None:
        plant = Plant(line_with(tmp_path, 2, cell_cycler=cell_cycler))
        for number, name in enumerate(plant.stations, 1):
            port: Any = plant.stations[name].devices["cell_cycler"]
            port.receive(LOGIN + END)
            asked = f'<bts><cmd>inquire</cmd><list><inquire devid="21" subdevid="1" chlid="{number}"/></list></bts>'
            assert b'workstatus="finish"' in port.receive(asked.encode() + END)


@contextlib.asynccontextmanager
async def _client(link: object) -> Any:
    assert isinstance(link, XmlTcpLinkConfig)
    reader, writer = await asyncio.open_connection(link.host, link.port)

    async def ask(message: bytes) -> bytes:
        writer.write(message + END)
        return await reader.readuntil(END)

    assert b"ok" in await ask(LOGIN)
    try:
        yield ask
    finally:
        writer.close()
