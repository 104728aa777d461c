"""lxi-tools, the LXI clients of the Debian archive, on simulated instruments: raw TCP, and VXI-11 as it finds it.

liblxi asks the portmapper of a host, at port 111, where its VXI-11 core channel is. Instruments have one of their own;
the simulators leave the computer's port 111 alone, so the test has one that knows a single program. lxi ends lines with
LF and sends no CR, so what wants CR+LF, as the Hioki meters do, is not for it.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from config.line import VisaLinkConfig
from tests.independent import program, unavailable
from tests.simulators.independent.conftest import Serve, Shell
from tests.simulators.test_servers import Plant

PORTMAPPER, GETPORT = 100_000, 3
CORE_CHANNEL = 0x0607AF


@pytest.fixture
def lxi() -> str:
    return program("lxi", "lxi-tools")


async def ask(lxi: str, shell: Shell, plant: Plant, instrument: str, line: str) -> str:
    host, port = plant.tcp(instrument)
    return (await shell(lxi, "scpi", "-a", host, "-p", port, "-r", "-t", "5", line)).strip()


async def test_the_cycler_answers_in_volts_and_keeps_its_errors(lxi: str, shell: Shell, serve: Serve) -> None:
    plant = await serve("demo")
    assert "PSB 10500-90" in await ask(lxi, shell, plant, "cycler", "*IDN?")
    assert await ask(lxi, shell, plant, "cycler", "SYST:LOCK ON;VOLT 380.5;VOLT?") == "380.5V"
    assert await ask(lxi, shell, plant, "cycler", "VOLT 900;SYST:ERR?") == '-222,"Data out of range"'


async def test_the_other_cycler_answers_in_plain_numbers(lxi: str, shell: Shell, serve: Serve) -> None:
    plant = await serve("demo_delta")
    assert await ask(lxi, shell, plant, "cycler", "SOURce:VOLtage:MAXimum?") == "500"
    assert await ask(lxi, shell, plant, "cycler", "sour:cur:neg:max?") == "-180"
    assert await ask(lxi, shell, plant, "cycler", "SYSTem:ERRor?") == "0,None"


async def test_a_hundred_requests_on_one_connection(lxi: str, shell: Shell, serve: Serve) -> None:
    host, port = (await serve("demo")).tcp("cycler")
    printed = await shell(lxi, "benchmark", "-a", host, "-p", port, "-r", "-c", "100")
    assert "requests/second" in printed


async def test_a_silent_instrument_is_a_timeout(lxi: str, shell: Shell, serve: Serve) -> None:
    plant = await serve("demo")
    plant.station.set_fault("cycler", "silent")
    host, port = plant.tcp("cycler")
    assert "Timeout" in await shell(lxi, "scpi", "-a", host, "-p", port, "-r", "-t", "1", "*IDN?")


async def test_the_scanner_by_vxi11(lxi: str, shell: Shell, serve: Serve) -> None:
    plant = await serve("demo_bt20000")
    link = plant.links["temperature_scanner"]
    assert isinstance(link, VisaLinkConfig)
    port = int(link.address.split("::")[1].split(",")[1])
    async with portmapper(port):
        identity = await shell(lxi, "scpi", "-a", "127.0.0.1", "-t", "5", "*IDN?")
        language = await shell(lxi, "scpi", "-a", "127.0.0.1", "-t", "5", "*LANG?")
    assert identity.strip() == "KEITHLEY INSTRUMENTS,MODEL DAQ6510,04340543,1.7.12b"
    assert language.strip() == "SCPI"


@asynccontextmanager
async def portmapper(port: int) -> AsyncIterator[None]:
    """RFC 1833, version 2, procedure GETPORT, for the VXI-11 core channel alone; port 111 of 127.0.0.1, UDP and TCP."""

    def answer(call: bytes) -> bytes:
        number, _, _, asked, version, procedure = struct.unpack_from(">6I", call)
        accepted = struct.pack(">5I", number, 1, 0, 0, 0)
        if (asked, version, procedure) != (PORTMAPPER, 2, GETPORT):
            return accepted + struct.pack(">3I", 2, 2, 2)  # another version: 2 to 2 is known
        (wanted,) = struct.unpack_from(">I", call, len(call) - 16)
        return accepted + struct.pack(">2I", 0, port if wanted == CORE_CHANNEL else 0)

    class Datagrams(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            assert isinstance(self.transport, asyncio.DatagramTransport)
            self.transport.sendto(answer(data), addr)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (head,) = struct.unpack(">I", await reader.readexactly(4))
                reply = answer(await reader.readexactly(head & 0x7FFFFFFF))
                writer.write(struct.pack(">I", 0x80000000 | len(reply)) + reply)
        except asyncio.IncompleteReadError:
            writer.close()

    loop = asyncio.get_running_loop()
    try:
        server = await asyncio.start_server(connected, "127.0.0.1", 111)
        datagrams, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 111))
    except OSError as error:
        unavailable(f"port 111 of this computer is not to be had ({error.strerror}): run as root, without rpcbind")
    async with server:
        yield
    datagrams.close()
