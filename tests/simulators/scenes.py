"""For each simulated instrument a conversation that shows all of its face: what sets it up, what is asked."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from config import InstrumentConfig, LineConfig, load_line, shipped_dut_models
from simulators.modbus import Request
from simulators.neware_bts import NewareBts
from simulators.neware_steps import parse
from simulators.ports import RegisterPort, TextPort
from simulators.station import SimulatedStation
from tests.simulators.live_world import DISCHARGE_30A
from tests.simulators.test_neware_steps import limit, step_file
from tests.virtual import LINES

Pdu = tuple[int, bytes]  # unit, PDU


def words(function: int, address: int, count: int = 1, unit: int = 1) -> Pdu:
    """A read request, or a write of one word or coil."""
    return unit, struct.pack(">BHH", function, address, count)


BTS = b"\n\n#\r\n"
CHANNEL = 'ip="127.0.0.1" devtype="27" devid="21" subdevid="1" chlid="4"'


def bts(inside: str) -> bytes:
    return f"<bts>{inside}</bts>".encode() + BTS


@dataclass(frozen=True)
class Scene:
    """`ask` is said twice, the second time after a while in which the battery is discharged; then `last`."""

    line: str
    instrument: str
    setup: tuple[Any, ...] = ()
    ask: tuple[Any, ...] = ()
    last: tuple[Any, ...] = ()
    drives: bool = False  # it lets the current flow by itself


SCENES: dict[str, Scene] = {
    "ea_psb10000": Scene(
        "demo", "cycler",
        (b"SYST:LOCK ON\n", b"SINK:CURR 20;SINK:POW 30000\n", b"VOLT 300;OUTP ON\n"),
        (b"*IDN?\n", b"MEAS:ARR?\n", b"SYST:ERR:ALL?\n", b"SYST:LOCK:OWN?\n"),
        (b"OUTP OFF\n", b"OUTP?\n"),
        drives=True,
    ),
    "ea_bt20000": Scene(
        "demo_bt20000", "cycler",
        (words(5, 402, 0xFF00, 0), words(6, 499, 10000, 0), words(6, 498, 52428, 0), words(6, 500, 20000, 0),
         words(5, 405, 0xFF00, 0)),
        (words(3, 151, 20, 0), words(3, 505, 2, 0), words(3, 507, 3, 0), words(3, 511, 2, 0), words(3, 534, 2, 0)),
        (words(5, 405, 0, 0), words(3, 505, 2, 0)),
        drives=True,
    ),
    "delta_sm15k": Scene(
        "demo_delta", "cycler",
        (b"SYST:REM:CV eth\n", b"SYST:REM:CC eth\n", b"SYST:REM:CP eth\n", b"SOUR:VOL 260\n",
         b"SOUR:POW:NEG -20000\n", b"SOUR:CUR:NEG -20\n", b"OUTP 1\n"),
        (b"*IDN?\n", b"MEAS:VOL?\n", b"MEAS:CUR?\n", b"SYST:ERR?\n", b"OUTP?\n"),
        (b"OUTP 0\n", b"OUTP?\n"),
        drives=True,
    ),
    "hioki_bt3562": Scene(
        "demo", "impedance_meter", (b":INIT:CONT OFF\r\n",), (b"*IDN?\r\n", b":READ?\r\n"),
    ),
    "hioki_bt4560": Scene(
        "demo_bench", "spectrum_meter", (b":RANG 0.3;:FREQ 10\r\n",), (b"*IDN?\r\n", b":FETC?\r\n"),
    ),
    "keithley_daq6510": Scene(
        "demo_bt20000", "temperature_scanner",
        (b'SENS:FUNC "TEMP",(@101:104);:ROUT:SCAN (@101:104)\n',),
        (b"*IDN?\n", b'READ?\n', b'TRAC:DATA? 1,4,"defbuffer1"\n', b"SYST:ERR?\n"),
    ),
    "keysight_34461a": Scene(
        "demo_bench2", "voltmeter", (b"VOLT:RANG 100\n",), (b"*IDN?\n", b"READ?\n", b"SYST:ERR?\n"),
    ),
    "gwinstek_gpt9800": Scene(
        "demo_bench", "insulation_tester",
        (b"MANU:EDIT:MODE IR\n", b"MANU:IR:VOLT 0.5\n", b"MANU:IR:TTIM 600\n", b"FUNC:TEST ON\n"),
        (b"*IDN?\n", b"MEAS?\n"),
        (b"FUNC:TEST OFF\n", b"FUNC:TEST?\n"),
    ),
    "espec_p300": Scene(
        "demo_bench", "chamber", (b"1,MODE,CONSTANT\r\n",), (b"1,TYPE?\r\n", b"1,MON?\r\n", b"1,TEMP, S26.0\r\n"),
    ),
    "watlow_f4t": Scene(
        "demo_bench2", "chamber", (words(6, 2730, 10), words(6, 16594, 63)),
        (words(3, 0, 2), words(3, 90), words(3, 6730), words(3, 1356), words(3, 2820, 2), words(3, 2730)),
    ),
    "julabo_cf": Scene(
        "demo_bench2", "chiller", (b"OUT_SP_00 40\r", b"OUT_MODE_05 1\r"), (b"VERSION\r", b"STATUS\r", b"IN_PV_00\r"),
    ),
    "neware_bts": Scene(
        "demo_bench2", "cell_cycler",
        (bts("<cmd>connect</cmd><username>admin</username><password>neware</password><type>bfgs</type>"),),
        (bts("<cmd>getdevinfo</cmd>"),
         bts(f'<cmd>inquire</cmd><list count="1"><inquire {CHANNEL} aux="0" barcode="1">true</inquire></list>')),
        (bts(f'<cmd>stop</cmd><list count="1"><stop {CHANNEL}>true</stop></list>'),
         bts(f'<cmd>inquire</cmd><list count="1"><inquire {CHANNEL} aux="0" barcode="1">true</inquire></list>')),
    ),
    "keyence_sr1000": Scene("demo_bench", "code_reader", (), (b"KEYENCE\r", b"LON\r"), (b"LOFF\r",)),
    "icpdas_tm_th8": Scene(
        "demo", "temperature_scanner", (), (words(3, 0, 8), words(3, 256, 8), words(1, 269)),
    ),
    "plc_interlock": Scene("demo", "interlock", (), (words(2, 0, 8), words(4, 1, 2)), (words(5, 0, 0), words(2, 0, 8))),
    "bms_gateway": Scene("demo", "battery_monitor", (), (words(4, 0, 36), words(4, 100, 96), words(4, 300, 8))),
}  # fmt: skip


def config_of(scene: Scene) -> InstrumentConfig:
    """Its instrument in the line file."""
    return load_line(LINES / f"{scene.line}.yaml").stations["st01"].instruments[scene.instrument]


class Act:
    """One scene on a station of its own, in a time of its own."""

    def __init__(self, scene: Scene, line: LineConfig | None = None) -> None:
        self.scene = scene
        self.time = 0.0
        config = line or load_line(LINES / f"{scene.line}.yaml")
        self.config = config.stations["st01"].instruments[scene.instrument]
        self.station = SimulatedStation(config, "st01", shipped_dut_models(), lambda: self.time)
        self.port = self.station.devices[scene.instrument]
        self._beats = 0
        self._open = self.port.open()
        self._close_contactors()
        for request in scene.setup:
            self.say(request)
        if isinstance(self.port.device, NewareBts):
            charge = step_file((1, limit(Curr=30000, Time=3_600_000)))
            self.port.device.channels[self.port.device.own].start(parse(charge), "CELL")
        if not scene.drives:
            self.station.world.drive(DISCHARGE_30A)
        self.wait(1.0)

    def _close_contactors(self) -> None:
        plc = self.station.devices["interlock"]
        assert isinstance(plc, RegisterPort)
        plc.respond(*words(6, 1, 600))
        self._beat()
        plc.respond(*words(5, 0, 0xFF00))
        self.wait(0.2)
        assert self.station.world.contactor_closed

    def _beat(self) -> None:
        plc = self.station.devices["interlock"]
        if not plc.board.active:
            assert isinstance(plc, RegisterPort)
            self._beats += 1
            plc.respond(*words(6, 0, self._beats))

    def wait(self, seconds: float) -> None:
        """With a host that is alive, and air that gets warmer."""
        for _ in range(max(1, round(seconds / 20))):
            self.time += seconds / max(1, round(seconds / 20))
            self.station._timeline.catch_up()
            self._beat()

    def change(self) -> None:
        """What every reading depends on becomes something else."""
        world = self.station.world
        world.ambient_degc = world.ambient_degc + 15
        world.pack.insulation = type(world.pack.insulation)(3e8, 4e8, 0.0)

    def say(self, request: Any) -> str:
        """Through the memory door."""
        try:
            if isinstance(self.port, TextPort):
                return repr(self.port.receive(request))
            return repr(self.port.respond(*request))
        except ConnectionError as error:
            return type(error).__name__

    def framed(self, request: Any) -> str:
        """As it goes over the wire."""
        try:
            if isinstance(self.port, TextPort):
                return repr(self._open.receive(request))  # type: ignore[union-attr]
            transaction = 7 if self.config.link.kind == "modbus_tcp" else None
            return repr(self._open.answer(Request(*request, transaction)))  # type: ignore[union-attr]
        except ConnectionError as error:
            return type(error).__name__

    def talk(self, *requests: Any) -> list[str]:
        if isinstance(self.port, TextPort):
            return [self.say(request) for request in requests]
        return [answer for request in requests for answer in (self.say(request), self.framed(request))]

    def play(self) -> list[str]:
        """Everything that is answered."""
        first = self.talk(*self.scene.ask)
        self.change()
        self.wait(20.0)
        answers = first + self.talk(*self.scene.ask)
        for request in self.scene.last:
            answers += self.talk(request)
            self.wait(0.2)
        return answers
