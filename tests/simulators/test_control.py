"""The world and the faults of simulated stations, changed while they run: in words, over a port, by command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from config import LineConfig, load_line, shipped_dut_models
from config.simulation import SimulatedBattery
from controller.cli.app import app
from controller.cli.options import UsageError
from simulators.control import Control, controlled
from simulators.population import Populations, draw
from simulators.station import SimulatedStation
from tests.virtual import LINES


class Desk:
    """Somebody at the control of a station in memory."""

    def __init__(self, file: str = "demo") -> None:
        self.time = 0.0
        line: LineConfig = load_line(LINES / f"{file}.yaml")
        self.station = SimulatedStation(line, "st01", shipped_dut_models(), lambda: self.time)
        instruments = line.stations["st01"].instruments
        links = {"st01": {key: instrument.link for key, instrument in instruments.items()}}
        self.control = Control(line, {"st01": self.station}, links)

    def say(self, words: str) -> dict[str, Any]:
        answer = self.control.obey(words)
        assert answer["event"] != "error", answer
        json.dumps(answer)
        return answer

    def refused(self, words: str) -> str:
        answer = self.control.obey(words)
        assert answer["event"] == "error"
        return str(answer["message"])


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("file", [path.stem for path in LINES.glob("*.yaml") if "simulation:" in path.read_text()])
def test_every_instrument_is_listed_with_a_way_to_reach_it(file: str) -> None:
    desk = Desk(file)
    listed = desk.say("list")["stations"]["st01"]["instruments"]
    assert listed.keys() == desk.station.devices.keys()
    assert all(instrument["reach"] and "silent" in instrument["kinds"] for instrument in listed.values())


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("set st01 ambient_degc 35.5", "ambient_degc", 35.5),
        ("set st01 plugged false", "plugged", False),
        ("set st01 welded 2", "welded", 2),
        ("set st01 soc 0.7", "soc", 0.7),
        ("set st01 insulation_positive_kohm 1", "insulation_ohm", 1000),
    ],
)
def test_the_world_is_set(desk: Desk, words: str, name: str, value: object) -> None:
    before = desk.say("get st01")[name]
    assert before != value
    assert desk.say(words)[name] == pytest.approx(value, rel=0.02)
    assert desk.say("get st01")[name] == pytest.approx(value, rel=0.02)


def test_a_door_is_opened_and_closed(desk: Desk) -> None:
    assert desk.say("set st01 door true")["faults"] == {"interlock": ["door"]}
    assert desk.say("set st01 door false")["faults"] == {}


def test_the_battery_is_replaced_by_one_with_a_defect(desk: Desk) -> None:
    healthy = desk.say("truth st01")
    state = desk.say(
        "battery st01 model=nmc_96s_60ah code=PHE96-000777 soc=0.6 weak_cell.index=7 weak_cell.extra_lli=0.3"
    )
    assert state["battery"] == "PHE96-000777"
    found = desk.say("truth st01")
    assert found["weakest_cell"] == 7
    assert found["capacity_ah"] < healthy["capacity_ah"]
    gateway = desk.station.devices["battery_monitor"]
    assert b"PHE96-000777" in (gateway.respond(1, bytes.fromhex("0400140010")) or b"")  # type: ignore[union-attr]


def test_used_batteries_of_a_population_come_one_after_the_other(desk: Desk) -> None:
    population = draw(7, 200, shipped_dut_models()["nmc_96s_60ah"])
    for expected in population[:3]:
        assert desk.say("battery st01 drawn=7")["battery"] == expected.code
        assert desk.station.battery == expected
    assert desk.say("battery st01 drawn=8")["battery"] == draw(8, 200, shipped_dut_models()["nmc_96s_60ah"])[0].code
    desk.say("battery st01 drawn=7 soc=0.5 open_tap=4")
    assert desk.station.battery == population[3].model_copy(update={"soc": 0.5, "open_tap": 4})
    assert desk.say("get st01")["soc"] == pytest.approx(0.5, abs=0.01)


def test_a_battery_that_could_not_be_put_there_is_still_the_next_one(desk: Desk) -> None:
    first = draw(7, 200, shipped_dut_models()["nmc_96s_60ah"])[0].code
    desk.station.world.set_contactor(True)
    assert "the contactors are closed" in desk.refused("battery st01 drawn=7")
    desk.station.world.set_contactor(False)
    assert "open tap 96" in desk.refused("battery st01 drawn=7 open_tap=96")
    assert desk.say("battery st01 drawn=7")["battery"] == first


def test_after_the_last_battery_of_a_population_comes_the_first_again() -> None:
    dut = shipped_dut_models()["nmc_1s_60ah"]
    wanted, populations = SimulatedBattery(model=dut.id, drawn=3), Populations()
    seen = []
    for _ in range(201):
        seen.append(populations.battery(wanted, dut).code)
        populations.take(wanted)
    assert len(set(seen[:200])) == 200
    assert seen[200] == seen[0]


def test_a_code_of_digits_is_a_code(desk: Desk) -> None:
    assert desk.say("battery st01 model=nmc_96s_60ah code=0042 soc=0.6")["battery"] == "0042"
    assert desk.say("battery st01 model=nmc_96s_60ah code=4711 bms_code=")["battery"] == "4711"


def test_a_battery_of_another_model_has_its_own_cells(desk: Desk) -> None:
    # its impedance probes are set up for a pack
    refusal = desk.refused("battery st01 model=nmc_12s_60ah code=PHM12-000001")
    assert "set up for 96 cells" in refusal
    assert desk.say("get st01")["model"] == "nmc_96s_60ah"


def test_the_cells_of_a_module_taken_apart_are_replaced_too() -> None:
    desk = Desk("demo_bench2")
    port = desk.station.devices["cell_cycler"]
    channel = port.device.channels[port.device.own]  # type: ignore[union-attr]
    before = channel.world.battery_voltage()
    desk.say("set st01 soc 0.9")
    assert channel.world.battery_voltage() > before + 0.1


def test_nobody_takes_a_battery_away_while_the_contactors_are_closed(desk: Desk) -> None:
    desk.station.world.set_contactor(True)
    assert "the contactors are closed" in desk.refused("battery st01 model=nmc_96s_60ah code=PHE96-000777")


def test_sense_leads_of_the_bms_are_part_of_the_battery(desk: Desk) -> None:
    desk.say("battery st01 model=nmc_96s_60ah code=PHE96-1 open_tap=4 swapped_taps=50")
    world = desk.station.world
    cells, taps = world.cell_voltages(), world.tap_voltages()
    assert (taps[4], taps[5]) == (0.0, pytest.approx(cells[4] + cells[5]))
    assert (taps[50], taps[51]) == (pytest.approx(cells[50] + cells[51]), 0.0)
    assert taps[52] == pytest.approx(cells[51] + cells[52])
    assert {"open_tap", "swapped_taps"} <= set(desk.say("truth st01")["defects"])


def test_faults_begin_at_once_later_and_when_something_happens(desk: Desk) -> None:
    assert desk.say("fault st01 cycler drift value=0.01 duration_s=5")["active"]
    assert not desk.say("fault st01 interlock silent at_s=10")["active"]
    assert not desk.say("fault st01 cycler nan on on=discharge nth=2")["active"]
    assert desk.say("get st01")["faults"] == {"cycler": ["drift"]}
    desk.time = 10.0
    assert desk.say("get st01")["faults"] == {"interlock": ["silent"]}
    desk.say("clear st01 interlock")
    assert desk.say("get st01")["faults"] == {}
    assert desk.station.devices["cycler"].board.events() == {"discharge"}
    desk.say("clear st01")
    assert not desk.station.devices["cycler"].board.events()


def test_a_fault_ends(desk: Desk) -> None:
    desk.say("fault st01 cycler nan")
    assert not desk.say("fault st01 cycler nan off")["active"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "not understood"),
        ("launch", "not understood"),
        ("get st09", "no simulated station 'st09'; there are st01"),
        ("set st01 mood good", "'mood' cannot be set; what can is ambient_degc, soc, "),
        ("set st01 ambient_degc warm", "set st01 ambient_degc warm: must be a number [E-SIMULATION]"),
        ("set st01 ambient_degc NaN", "must be within -60 and 100 degC"),
        ("set st01 welded 3", "must be 0, 1 or 2"),
        ("set st01 welded true", "must be 0, 1 or 2"),
        ("set st01 plugged 1", "must be true or false"),
        ("set st01 soc 3", "set st01 soc 3: soc: must be less than or equal to 0.98 [E-SIMULATION]"),
        ("set st01 soc NaN", "soc: must be a finite number"),
        ("set st01 soc true", "must be a number"),
        ("set st01 insulation_positive_kohm Infinity", "insulation_positive_kohm: must be a finite number"),
        ("battery st01 model=unheard_of code=X", "no battery model 'unheard_of'"),
        ("battery st01 code=X", "battery st01 code=X: model: missing key [E-SIMULATION]"),
        ("battery st01 model=nmc_96s_60ah code=X soc=high", "soc: must be a number [E-SIMULATION]"),
        ("battery st01 model=nmc_96s_60ah code=X sooc=0.5", "sooc: unknown key; did you mean 'soc'?"),
        (
            "battery st01 model=x code=X soc=2 weak_cell.index=1.5 weak_cell.extra_li=0.1 label_readable=well",
            "soc: must be less than or equal to 0.98; weak_cell.index: must be a whole number; "
            "weak_cell.extra_lli: missing key; weak_cell.extra_li: unknown key; did you mean 'extra_lli'?; "
            "label_readable: must be true or false [E-SIMULATION]",
        ),
        ("battery st01 model=nmc_96s_60ah", "code: must be given, unless `drawn` is [E-SIMULATION]"),
        ("battery st01 drawn=last", "last: drawn: must be a whole number [E-SIMULATION]"),
        ("battery st01 drawn=-1", "drawn: must be greater than or equal to 0"),
        ("battery st01 drawn=7 model=unheard_of", "no battery model 'unheard_of'"),
        ("battery st01 model", "'model' is not KEY=VALUE"),
        ("battery st01 model=nmc_96s_60ah code=X weak_cell=1 weak_cell.index=2", "is below a value"),
        ("battery st01 model=nmc_96s_60ah code=X open_tap=96", "open tap 96"),
        ("fault st01 oven silent", "no such instrument"),
        ("fault st01 cycler crc", "no fault 'crc' on a visa link"),
        ("fault st01 cycler lazy at_s=1", "no fault 'lazy'; it can have "),
        ("fault st01 cycler nan at_s=-1", "at_s: must be greater than or equal to 0"),
        ("fault st01 cycler nan on=lunch", "on: must be 'query', 'output_on', "),
        ("fault st01 cycler nan kind=silent", "kind is said before the keys"),
        ("fault st01 cycler nan off duration_s=3", "off ends it now: it takes no KEY=VALUE"),
        ("clear st01 oven", "no such instrument"),
        ("get 'st01", "No closing quotation"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(desk: Desk, words: str, why: str) -> None:
    before = desk.say("get st01")
    refusal = desk.refused(words)
    assert why in refusal
    assert "\n" not in refusal
    assert "[E-SIMULATION]" in refusal
    assert desk.say("get st01") == before


async def test_over_a_port_lines_of_words_are_answered_by_lines_of_json(desk: Desk) -> None:
    async with controlled(desk.control.obey, 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write("get st01\nnönsense\n".encode() + b"\xff\n" + b"x" * 200_000 + b"\n")
        events = [json.loads(await reader.readline())["event"] for _ in range(3)]
        assert events == ["state", "error", "error"]
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b"", "a line without end closes the connection"
        writer.close()


def evaline(*words: str) -> Result:
    return CliRunner().invoke(app, ["simulated", *words])


async def test_the_command_line_changes_a_running_line(desk: Desk) -> None:
    async with controlled(desk.control.obey, 0) as port:
        at = ("--control", f"127.0.0.1:{port}")

        async def run(*words: str) -> str:
            return str((await asyncio.to_thread(evaline, *words, *at)).stdout)

        assert "lxi scpi" in await run("list")
        korean = await run("set", "st01", "ambient_degc", "31.5", "--lang", "ko")
        assert "주위 온도" in korean
        assert "31.5 degC" in korean
        assert "-10.0 degC" in await run("set", "st01", "ambient_degc", "-10")
        assert json.loads(await run("fault", "st01", "cycler", "nan", "on", "duration_s=9", "--json"))["active"] is True
        assert "nan of cycler: on" in await run("fault", "st01", "cycler", "nan", "--lang", "en")
        assert "silent of cycler: waits" in await run("fault", "st01", "cycler", "silent", "at_s=5", "--lang", "en")
        assert "cycler의 nan: 해제" in await run("fault", "st01", "cycler", "nan", "off", "--lang", "ko")
        assert "no faults: cycler" in await run("clear", "st01", "cycler", "--lang", "en")
        assert "PHE96-000778" in await run("battery", "st01", "model=nmc_96s_60ah", "code=PHE96-000778")
        assert "insulation_ohm" in await run("truth", "st01")
        refused = (await asyncio.to_thread(evaline, "fault", "st01", "cycler", "crc", *at)).exception
        assert isinstance(refused, UsageError)
        assert "no fault 'crc' on a visa link" in str(refused)


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ("127.0.0.1:1", "no simulators take commands at 127.0.0.1:1: Connection refused; start them with `evaline "),
        ("a..b:8479", "no simulators take commands at a..b:8479: no such host; start them with `evaline simulate "),
        ("nowhere", "--control nowhere: write it like 127.0.0.1:8479 [E-SETTINGS]"),
        ("127.0.0.1:99999", "--control 127.0.0.1:99999: write it like 127.0.0.1:8479 [E-SETTINGS]"),
    ],
)
def test_nobody_there_is_one_line_that_says_what_to_do(control: str, said: str) -> None:
    error = evaline("list", "--control", control).exception
    assert isinstance(error, UsageError)
    assert str(error).startswith(said)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", b"[]\n", b"{}\n", b"\xff\n"])
async def test_whoever_answers_something_else_is_no_simulator(answer: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        control = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error = (await asyncio.to_thread(evaline, "list", "--control", control)).exception
    assert isinstance(error, UsageError)
    assert str(error) == f"what answers at {control} is no simulator; correct --control [E-SIMULATION]"
