"""A station in memory: no wires, virtual line time, the real battery."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from config import DocumentError, LineConfig, load_line, shipped_dut_models
from config.line import LineConfig as Line
from simulators.population import draw
from simulators.ports import RegisterPort, TextPort
from simulators.station import SimulatedStation

DEMO = Path(__file__).parents[2] / "config" / "lines" / "demo.yaml"


class Bench:
    def __init__(self, line: LineConfig) -> None:
        self.time = 0.0
        self.station = SimulatedStation(line, "st01", shipped_dut_models(), lambda: self.time)

    def psb(self, message: str) -> str:
        port = self.station.devices["cycler"]
        assert isinstance(port, TextPort)
        return port.receive(message.encode() + b"\n").decode().strip()

    def plc(self, pdu: bytes) -> bytes:
        return self.respond("interlock", pdu)

    def respond(self, instrument: str, pdu: bytes) -> bytes:
        port = self.station.devices[instrument]
        assert isinstance(port, RegisterPort)
        answer = port.respond(1, pdu)
        assert answer is not None
        return answer

    def bms(self, address: int, kind: str = "H") -> int:
        value: int = struct.unpack(f">{kind}", self.respond("battery_monitor", struct.pack(">BHH", 4, address, 1))[2:])[
            0
        ]
        return value

    def close_contactors(self) -> None:
        self.plc(struct.pack(">BHH", 6, 1, 600))
        self.plc(struct.pack(">BHH", 6, 0, 1))
        self.plc(bytes.fromhex("050000FF00"))
        self.time += 0.1

    def discharge(self, amperes: float, down_to: float = 300.0) -> None:
        self.close_contactors()
        self.psb("SYST:LOCK ON")
        self.psb(f"SINK:CURR {amperes}")
        self.psb(f"VOLT {down_to};OUTP ON")


@pytest.fixture
def bench() -> Bench:
    return Bench(load_line(DEMO))


def changed(path: str, value: object) -> Line:
    """The demo line with one key of a station or of its simulation replaced."""
    data = load_line(DEMO).model_dump(by_alias=True)
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = place[key]
    place[last] = value
    return LineConfig.model_validate(data)


def test_every_instrument_sees_the_same_battery(bench: Bench) -> None:
    bench.discharge(20)
    bench.time += 10
    volts, amperes, _ = (float(field.strip()[:-1]) for field in bench.psb("MEAS:ARR?").split(","))
    assert amperes == pytest.approx(-20, abs=0.01)
    assert bench.bms(6, "h") == -200
    assert bench.bms(5) / 10 == pytest.approx(volts, abs=0.1)


def test_charge_is_counted(bench: Bench) -> None:
    bench.discharge(20)
    for _ in range(36):
        bench.time += 1
        bench.psb("OUTP?")
    truth = bench.station.truth()
    assert truth["discharged_ah"] == pytest.approx(0.2, rel=1e-3)
    assert (truth["output_on"], truth["contactor_closed"], truth["hot_openings"]) == (True, True, 0)


def test_an_emergency_stop_opens_the_contactors_hot(bench: Bench) -> None:
    bench.discharge(20)
    bench.time += 10
    bench.station.set_fault("interlock", "estop")
    truth = bench.station.truth()
    assert (truth["contactor_closed"], truth["hot_openings"], truth["current"]) == (False, 1, 0.0)


def test_a_fault_of_the_line_file_starts_in_line_time() -> None:
    fault = {"instrument": "cycler", "kind": "silent", "at_s": 5.0}
    bench = Bench(changed("simulation.stations.st01.faults", [fault]))
    assert bench.psb("OUTP?") == "OFF"
    bench.time = 5.0
    assert bench.psb("OUTP?") == ""


def test_the_same_seed_replays_the_same_run_byte_for_byte() -> None:
    def run() -> list[str]:
        bench = Bench(load_line(DEMO))
        bench.discharge(30)
        answers = []
        for _ in range(20):
            bench.time += 1
            answers.append(bench.psb("MEAS:ARR?"))
            answers.append(bench.respond("battery_monitor", bytes.fromhex("0400640060")).hex())
        return answers

    assert run() == run()


def with_battery(model: str, code: str, probes: list[int], **battery: object) -> Line:
    """The demo line with another battery plugged in."""
    data = load_line(DEMO).model_dump(by_alias=True)
    data["stations"]["st01"]["impedance_probe_cells"] = probes
    data["simulation"]["stations"]["st01"]["battery"] = {"model": model, "code": code, **battery}
    return LineConfig.model_validate(data)


@pytest.mark.parametrize(
    ("model", "code", "cells", "sensors", "volts"),
    [
        ("nmc_12s_60ah", "PHM12-000001", 12, 1, 44.0),
        ("nmc_1s_60ah", "PHC01-000001", 1, 1, 3.67),
        ("lfp_100s_72ah", "PHL100-000001", 100, 10, 325.0),
        ("lmo_96s_66ah", "PHO96-000001", 96, 8, 372.0),
    ],
)
def test_other_batteries_than_the_demos_can_be_plugged_in(
    model: str, code: str, cells: int, sensors: int, volts: float
) -> None:
    bench = Bench(with_battery(model, code, [1, min(12, cells)]))
    assert (bench.bms(1), bench.bms(2)) == (cells, sensors)
    bench.discharge(20, down_to=0.8 * volts)
    bench.time += 10
    measured, amperes, _ = (float(field.strip()[:-1]) for field in bench.psb("MEAS:ARR?").split(","))
    assert amperes == pytest.approx(-20, abs=0.01)
    assert measured == pytest.approx(volts, rel=0.03)
    assert bench.bms(5) / 10 == pytest.approx(measured, abs=0.1)
    assert bench.bms(100 + cells - 1) > 3000
    assert bench.bms(100 + cells) == 0xFFFF


def test_probes_of_the_pack_do_not_fit_a_cell() -> None:
    with pytest.raises(DocumentError, match=r"impedance_probe_cells \[1, 12\] are not cells 1\.\.1"):
        Bench(with_battery("nmc_1s_60ah", "PHC01-000001", [1, 12]))


def test_a_drawn_battery_can_be_plugged_in_and_has_its_truth() -> None:
    (battery,) = draw(1, 1, shipped_dut_models()["nmc_12s_60ah"], {"soft_short": 1.0})
    station = Bench(with_battery(probes=[1, 12], **battery.model_dump())).station
    truth = station.truth()
    assert truth["defects"] == ["imbalance", "soft_short"]
    assert truth["leaking_cell"] == battery.soft_short.index
    assert json.loads(json.dumps(truth)) == truth


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("simulation.stations", {}, "no simulation of it"),
        ("simulation.stations.st01.battery.model", "unknown", "no battery model 'unknown'"),
        ("simulation.stations.st01.faults", [{"instrument": "oven", "kind": "nan"}], "a fault of 'oven'"),
        ("simulation.stations.st01.faults", [{"instrument": "cycler", "kind": "estop"}], "no fault 'estop'"),
        ("stations.st01.impedance_probe_cells", [90, 97], "not cells 1..96"),
        (
            "simulation.stations.st01.battery.soft_short",
            {"index": 96, "ohm": 50},
            "soft short 96 of",
        ),
        ("stations.st01.instruments.cycler.driver", "abacus", "no simulator for 'abacus'"),
        ("stations.st01.instruments.temperature_scanner.settings", {"units": [1, 1]}, "an address twice"),
        ("stations.st01.instruments.temperature_scanner.settings", {"units": "all"}, "list of addresses"),
    ],
)
def test_what_cannot_be_simulated_is_said_at_once(path: str, value: object, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        Bench(changed(path, value))


@pytest.mark.parametrize(
    ("instrument", "link", "message"),
    [
        ("cycler", {"kind": "visa", "address": "GPIB0::5::INSTR"}, "cannot be simulated"),
        ("cycler", {"kind": "modbus_tcp", "host": "127.0.0.1"}, "does not speak over a modbus_tcp link"),
        ("interlock", {"kind": "serial", "port": "var/pty/plc"}, "does not speak over a serial link"),
        ("impedance_meter", {"kind": "serial", "port": "rfc2217://h:1"}, "cannot be simulated"),
        ("impedance_meter", {"kind": "serial", "port": "var/p", "baudrate": 9601}, "not a baud rate"),
    ],
)
async def test_links_that_cannot_be_simulated(
    instrument: str, link: dict[str, object], message: str, tmp_path: Path
) -> None:
    line = changed(f"stations.st01.instruments.{instrument}.link", link)
    line = line.model_copy(update={"state_dir": str(tmp_path)})
    with pytest.raises(DocumentError, match=message):
        async with Bench(line).station.serve(free_ports=True):
            pass
