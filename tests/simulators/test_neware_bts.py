"""Neware's BTS: the messages that were recorded from one, and channels that run their step files on simulated cells."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.neware_bts import Address, NewareBts, address_of
from simulators.neware_channel import Channel
from simulators.pack import Pack
from simulators.population import draw
from simulators.timeline import Timeline
from simulators.world import World
from tests.simulators.fake_world import FakeWorld
from tests.simulators.live_world import MODELS
from tests.simulators.test_neware_steps import REST, limit, step_file

END = b"\n\n#\r\n"
CELL = MODELS["nmc_1s_60ah"]
CONNECT = "<cmd>connect</cmd><username>admin</username><password>neware</password><type>bfgs</type>"
FIRST = 'ip="127.0.0.1" devtype="27" devid="21" subdevid="1" chlid="1"'
CHARGE = (1, limit(Curr=30000, Time=600_000))
PROTECT = '<Volt><Upper Value="42500"/><Lower Value="25000"/></Volt>'


class Bench:
    """A server with cells of a population on its channels, and a client of it."""

    def __init__(self, cells: int = 16, files: dict[str, bytes] | None = None) -> None:
        self.time = 0.0
        self.files = files or {}
        self.timeline = Timeline(lambda: self.time)
        batteries = draw(7, cells, CELL, {})
        self.worlds = [World(Pack.used(CELL, battery, 1), self.timeline.now) for battery in batteries]
        for world in self.worlds:
            world.set_contactor(True)
        channels = {(21, 1 + n // 8, 1 + n % 8): Channel(world) for n, world in enumerate(self.worlds)}
        self.server = NewareBts(channels, (21, 1, 1), self.read)
        self.timeline.attach(lambda: None, [self.server])
        self.face = self.server.face()
        assert "ok" in self.text(CONNECT)

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def text(self, inside: str) -> str:
        """The answer to one message, without its end."""
        self.timeline.catch_up()
        start = '<?xml version="1.0" encoding="UTF-8" ?><bts version="1.0">'
        answer = self.face.receive(f"{start}{inside}</bts>".encode() + END)
        assert answer == b"" or answer.endswith(END)
        return answer.removesuffix(END).decode()

    def ask(self, inside: str) -> list[ElementTree.Element]:
        """The list of an answer."""
        found = ElementTree.fromstring(self.text(inside)).find("list")
        assert found is not None
        assert found.get("count") == str(len(found))
        return list(found)

    def inquire(self, channel: str = FIRST) -> dict[str, str]:
        (line,) = self.ask(
            f'<cmd>inquire</cmd><list count = "1"><inquire {channel} aux="0" barcode="1">true</inquire></list>'
        )
        return dict(line.attrib)

    def tell(self, command: str, channel: str = FIRST, text: str = "true") -> str | None:
        (line,) = self.ask(
            f'<cmd>{command}</cmd><list count="1"><{command} {channel} barcode="CELL-1">{text}</{command}></list>'
        )
        return line.text

    def start(self, *steps: tuple[int, str], **options: str) -> None:
        self.files["p.xml"] = step_file(*steps, **options)
        assert self.tell("start", text="p.xml") == "ok"

    def layers(self) -> list[dict[str, str]]:
        asked = '<downloadStepLayer devtype="27" devid="21" subdevid="1" chlid="1" />'
        return [dict(line.attrib) for line in self.ask(f"<cmd>downloadStepLayer</cmd>{asked}")]

    def records(self, first: int = 1, count: int = 1000) -> list[dict[str, str]]:
        asked = f'<download {FIRST} auxid="0" testid="0" startpos="{first}" count="{count}"/>'
        return [dict(line.attrib) for line in self.ask(f"<cmd>download</cmd>{asked}")]

    def at(self, seconds: float) -> None:
        self.time = seconds
        self.timeline.catch_up()


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestMessages:
    def test_connecting(self) -> None:
        face = Bench(1).server.face()
        answer = face.receive(f"<bts>{CONNECT}</bts>".encode() + END)
        assert answer == (
            b'<?xml version="1.0" encoding="UTF-8"?>\r\n<bts version="1.0">\r\n  <cmd>connect_resp</cmd>\r\n'
            b"  <result>ok</result>\r\n</bts>\n\n#\r\n"
        )

    def test_without_connecting_nobody_answers(self) -> None:
        face = Bench(1).server.face()
        assert face.receive(b"<bts><cmd>getdevinfo</cmd></bts>" + END) == b""
        wrong = CONNECT.replace("neware<", "nerawe<")
        assert b"<result>false</result>" in face.receive(f"<bts>{wrong}</bts>".encode() + END)
        assert face.receive(b"<bts><cmd>getdevinfo</cmd></bts>" + END) == b""

    @pytest.mark.parametrize("inside", ["<cmd>goto</cmd>", "<cmd>", "", "<cmd>inquire", "<cmd>download</cmd>"])
    def test_what_is_not_understood_gets_no_answer(self, bench: Bench, inside: str) -> None:
        assert bench.text(inside) == ""
        assert bench.inquire()["workstatus"] == "finish"

    def test_sixteen_channels(self, bench: Bench) -> None:
        text = bench.text("<cmd>getdevinfo</cmd>")
        assert '  <serverip count="1">\r\n    <server ip="127.0.0.1" port="3306" />\r\n  </serverip>\r\n' in text
        channel = '<channel ip="127.0.0.1" devtype="27" devid="21" subdevid="1" Channelid="1">true</channel>'
        assert f'  <middle count="16">\r\n    {channel}\r\n' in text
        assert text.count(">true</channel>") == 16

    def test_a_channel_at_rest_has_no_step(self, bench: Bench) -> None:
        text = bench.text(f"<cmd>inquire</cmd><list><inquire {FIRST}>true</inquire></list>")
        volts = f"{bench.worlds[0].battery_voltage():.4f}".rstrip("0")
        assert text.splitlines()[4] == (
            '    <inquire dev="27-21-1-1-0" cycle_id="1" step_type="--" workstatus="finish" barcode="" current="0" '
            f'voltage="{volts}" capacity="0" energy="0" totaltime="0" relativetime="0" open_or_close="0" '
            'log_code="0" />'
        )

    def test_answers_come_in_the_order_of_the_questions(self, bench: Bench) -> None:
        asked = "".join(
            f'<status ip="127.0.0.1" devtype="27" devid="21" subdevid="{sub}" chlid="{number}">true</status>'
            for sub, number in ((2, 8), (1, 3), (9, 9), (2, 1))
        )
        lines = bench.ask(f"<cmd>getchlstatus</cmd><list>{asked}</list>")
        assert [(line.get("subdevid"), line.get("chlid")) for line in lines] == [("2", "8"), ("1", "3"), ("2", "1")]
        assert {(line.get("reservepause"), line.text) for line in lines} == {("1", "finish")}

    def test_a_channel_never_used_has_no_test(self, bench: Bench) -> None:
        (line,) = bench.ask(f'<cmd>inquiredf</cmd><list><chl {FIRST} testid="0" /></list>')
        assert (line.get("testid"), line.get("count"), line.text) == ("0", "0", "true")
        assert bench.layers() == bench.records() == []

    def test_any_pieces_of_messages(self, bench: Bench) -> None:
        whole = b"<bts><cmd>getdevinfo</cmd></bts>" + END
        answers = [bench.face.receive(bytes([byte])) for byte in whole * 2]
        assert b"".join(answers).count(b"getdevinfo_resp") == 2


class TestCommands:
    def test_start_and_stop(self, bench: Bench) -> None:
        bench.start(CHARGE)
        shown = bench.inquire()
        assert (shown["workstatus"], shown["step_id"], shown["step_type"]) == ("working", "1", "cc")
        assert (shown["barcode"], shown["log_code"]) == ("CELL-1", "102000")
        assert bench.tell("start", text="p.xml") == "false", "it works"
        assert bench.tell("stop") == "ok"
        assert (bench.inquire()["workstatus"], bench.inquire()["current"]) == ("stop", "0")
        assert bench.tell("stop") == "false", "nothing runs"
        assert bench.worlds[0].current == 0

    def test_each_start_is_a_new_test(self, bench: Bench) -> None:
        for number in (1, 2):
            bench.start(CHARGE)
            (line,) = bench.ask(f"<cmd>inquiredf</cmd><list><chl {FIRST} /></list>")
            assert (line.get("testid"), line.text) == (str(number), "false")
            assert len(bench.layers()) == 1
            bench.tell("stop")

    def test_what_cannot_be_started(self, bench: Bench) -> None:
        bench.files["bad.xml"] = b"hello there"
        nobody = FIRST.replace('chlid="1"', 'chlid="9"')
        assert bench.tell("start", text="bad.xml") == "false"
        assert bench.tell("start", text="missing.xml") == "false"
        bench.files["good.xml"] = step_file(REST)
        assert bench.tell("start", nobody, "good.xml") == "false"
        assert bench.tell("start", "", "good.xml") == "false"
        assert bench.inquire()["workstatus"] == "finish"

    def test_channels_know_nothing_of_each_other(self, bench: Bench) -> None:
        bench.start(CHARGE)
        bench.at(60.0)
        second = FIRST.replace('chlid="1"', 'chlid="2"')
        assert bench.inquire(second)["workstatus"] == "finish"
        assert [world.current for world in bench.worlds[:2]] == [30.0, 0.0]

    def test_light_and_flag(self, bench: Bench) -> None:
        assert bench.tell("light") == "ok"
        assert bench.tell("clearflag") == "false"


class TestProgram:
    def test_a_program_of_all_steps(self, bench: Bench) -> None:
        bench.start(
            REST,
            (1, limit(Curr=60000, Stop_Volt=42000)),
            (3, limit(Volt=42000, Curr=60000, Stop_Curr=6000)),
            (4, limit(Time=600_000)),
            (2, limit(Curr=30000, Stop_Volt=27000)),
            (19, limit(Volt=27000, Curr=30000, Stop_Curr=6000)),
            record='<Time Value="60000"/>',
        )
        bench.at(8 * 3600.0)
        assert bench.inquire()["workstatus"] == "finish"
        layers = bench.layers()
        assert [layer["steptype"] for layer in layers] == ["rest", "cc", "cv", "rest", "dc", "dv"]
        assert [layer["stepindex"] for layer in layers] == [layer["stepid"] for layer in layers]
        rest, cc, cv, pause, dc, dv = [{k: float(v) for k, v in layer.items() if k in NUMBERS} for layer in layers]
        assert (rest["steptime"], pause["steptime"]) == (60_000, 600_000)
        assert (cc["endvolt"], cv["endvolt"]) == pytest.approx((4.2, 4.2), abs=5e-4)
        assert (dc["endvolt"], dv["endvolt"]) == pytest.approx((2.7, 2.7), abs=5e-4)
        assert cv["endcurr"] == pytest.approx(6.0, rel=0.02)
        assert dv["endcurr"] == pytest.approx(-6.0, rel=0.02)
        assert cc["cap"] == pytest.approx(60 * cc["steptime"] / 3.6e6, rel=1e-3)
        assert dc["cap"] == pytest.approx(30 * dc["steptime"] / 3.6e6, rel=1e-3)
        world = bench.worlds[0]
        assert cc["cap"] + cv["cap"] == pytest.approx(world.charged_ah, rel=1e-9)
        assert dc["cap"] + dv["cap"] == pytest.approx(world.discharged_ah, rel=1e-9)
        assert dc["eng"] + dv["eng"] == pytest.approx(world.discharged_wh, rel=1e-9)
        assert world.extremes.cell_voltage_max < 4.2 + 1e-3

    def test_time_ends_steps_to_the_moment_however_seldom_one_asks(self) -> None:
        def run(moments: list[float]) -> list[dict[str, str]]:
            bench = Bench(1)
            bench.start(
                (1, limit(Curr=60000, Time=10_000)), (4, limit(Time=40_500)), (2, limit(Curr=60000, Time=10_000))
            )
            for moment in moments:
                bench.at(moment)
            return bench.layers()

        seldom = run([100.0])
        assert [layer["steptime"] for layer in seldom] == ["10000", "40500", "10000"]
        assert [layer["endcurr"] for layer in seldom] == ["60", "0", "-60"]
        often = run([0.37 * n for n in range(1, 280)])
        for one, other in zip(seldom, often, strict=True):
            assert one["steptime"] == other["steptime"]
            assert float(one["endvolt"]) == pytest.approx(float(other["endvolt"]), abs=2e-4)

    def test_what_a_working_channel_shows(self, bench: Bench) -> None:
        bench.start(REST, (2, limit(Curr=30000, Time=3_600_000)))
        bench.at(60.0 + 1234.5)
        shown = bench.inquire()
        assert (shown["step_id"], shown["step_type"], shown["current"]) == ("2", "dc", "-30")
        assert (shown["totaltime"], shown["relativetime"]) == ("1294.5", "1234.5")
        assert float(shown["capacity"]) == pytest.approx(30 * 1234.5 / 3600, abs=1e-4)
        assert float(shown["voltage"]) == pytest.approx(bench.worlds[0].battery_voltage(), abs=5e-5)
        assert re.fullmatch(r"\d\.\d{1,4}", shown["voltage"])

    def test_cycles(self, bench: Bench) -> None:
        loop = '<Limit><Other><Start_Step Value="1"/><Cycle_Count Value="3"/></Other></Limit>'
        bench.start((1, limit(Curr=6000, Time=10_000)), (2, limit(Curr=6000, Time=10_000)), (5, loop), REST)
        bench.at(30.0)
        assert bench.inquire()["cycle_id"] == "2"
        bench.at(1000.0)
        layers = bench.layers()
        assert [layer["stepid"] for layer in layers] == ["1", "2"] * 3 + ["4"]
        assert [layer["cycleid"] for layer in layers] == ["1", "1", "2", "2", "3", "3", "3"]

    def test_records_and_logs(self, bench: Bench) -> None:
        bench.start((1, limit(Curr=30000, Time=65_000)), REST, record='<Time Value="10000"/>')
        bench.at(1000.0)
        records = bench.records()
        assert [record["seqid"] for record in records] == [str(n) for n in range(1, 16)]
        assert [int(r["testtime"]) for r in records[:8]] == [0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 65_000]
        assert (records[0]["atime"], records[7]["atime"]) == ("2026-01-01 00:00:00", "2026-01-01 00:01:05")
        assert bench.records(14, 1000) == records[13:]
        assert bench.records(3, 2) == records[2:4]
        assert bench.records(0, 0) == bench.records(99, 5) == []
        log = bench.ask(f"<cmd>downloadlog</cmd><download {FIRST} testid='0'/>")
        assert [(line.get("log_code"), line.get("atime")) for line in log] == [
            ("100000", "2026-01-01 00:00:00"),
            ("100001", "2026-01-01 00:02:05"),
        ]

    def test_a_cell_that_is_full_already(self, bench: Bench) -> None:
        bench.start((1, limit(Curr=30000, Stop_Volt=30000)), (3, limit(Volt=30000, Curr=30000, Stop_Curr=1000)))
        bench.at(60.0)
        assert bench.inquire()["workstatus"] == "finish"
        assert bench.worlds[0].charged_ah == 0

    def test_an_open_circuit_reaches_its_voltage_at_once(self, bench: Bench) -> None:
        bench.worlds[0].set_contactor(False)
        bench.start((1, limit(Curr=30000, Stop_Volt=42000)), protect="")
        assert bench.inquire()["voltage"] == "4.2"
        bench.at(5.0)
        assert bench.inquire()["workstatus"] == "finish"
        assert bench.inquire()["voltage"] == "0"


class TestProtection:
    def test_a_voltage_beyond_it_ends_the_test(self, bench: Bench) -> None:
        bench.start((1, limit(Curr=60000)), protect=PROTECT)
        bench.at(8 * 3600.0)
        assert bench.inquire()["workstatus"] == "protect"
        assert 4.25 < float(bench.layers()[0]["endvolt"]) < 4.255
        assert bench.worlds[0].current == 0
        assert bench.tell("clearflag") == "ok"
        bench.start(REST)
        assert bench.inquire()["workstatus"] == "working"

    def test_a_current_beyond_it_does_so_too(self, bench: Bench) -> None:
        bench.start(REST, (2, limit(Curr=60000, Time=60_000)), protect='<Curr><Lower Value="-50000"/></Curr>')
        bench.at(60.05)
        assert bench.inquire()["workstatus"] == "working"
        bench.at(62.0)
        assert bench.inquire()["workstatus"] == "protect"
        assert [layer["steptype"] for layer in bench.layers()] == ["rest", "dc"]

    def test_a_cell_that_is_not_there(self, bench: Bench) -> None:
        bench.worlds[0].set_contactor(False)
        bench.start(REST, protect=PROTECT)
        bench.at(100.0)
        assert bench.inquire()["workstatus"] == "protect"


class TestFaults:
    def test_an_overheated_channel_protects_itself(self, bench: Bench) -> None:
        bench.start(CHARGE)
        bench.server.faults = frozenset({"alarm"})
        bench.at(1.0)
        assert (bench.inquire()["workstatus"], bench.worlds[0].current) == ("protect", 0.0)

    def test_a_channel_that_does_not_stop(self, bench: Bench) -> None:
        bench.start(CHARGE)
        bench.server.faults = frozenset({"output_refuses_off"})
        assert bench.tell("stop") == "ok"
        assert (bench.inquire()["workstatus"], bench.worlds[0].current) == ("working", 30.0)

    def test_no_values(self, bench: Bench) -> None:
        bench.server.faults = frozenset({"nan"})
        shown = bench.inquire()
        assert [shown[name] for name in ("current", "voltage", "capacity", "energy")] == ["--"] * 4
        assert bench.inquire(FIRST.replace('chlid="1"', 'chlid="2"'))["voltage"] != "--"

    def test_another_unit(self, bench: Bench) -> None:
        bench.server.faults = frozenset({"wrong_identity"})
        text = bench.text("<cmd>getdevinfo</cmd>")
        assert 'devid="121" subdevid="1" Channelid="1"' in text
        assert 'devid="21" subdevid="1" Channelid="1"' not in text
        assert bench.ask(f"<cmd>inquire</cmd><list><inquire {FIRST}>true</inquire></list>") == []


class TestJoined:
    def test_each_channel_is_its_owners(self) -> None:
        def server(own: Address) -> NewareBts:
            worlds = {(21, 1, n): Channel(FakeWorld()) for n in (1, 2, 3)}  # type: ignore[arg-type]
            return NewareBts(worlds, own)

        first, third = server((21, 1, 1)), server((21, 1, 3))
        joined = NewareBts.joined([third, first])
        assert list(joined.channels) == [(21, 1, 1), (21, 1, 2), (21, 1, 3)]
        assert joined.channels[21, 1, 1] is first.channels[21, 1, 1]
        assert joined.channels[21, 1, 3] is third.channels[21, 1, 3]

    def test_step_files_are_where_any_of_them_finds_them(self) -> None:
        channels = [Bench(1, {name: step_file(REST)}) for name in ("one.xml", "two.xml")]
        face = NewareBts.joined([bench.server for bench in channels]).face()
        face.receive(f"<bts>{CONNECT}</bts>".encode() + END)
        for path, told in (("missing.xml", b"false"), ("two.xml", b"ok")):
            asked = f"<bts><cmd>start</cmd><list><start {FIRST}>{path}</start></list></bts>".encode() + END
            assert b">" + told + b"</start>" in face.receive(asked)


@pytest.mark.parametrize("text", ["", "21", "21-1", "21-1-x", "21-0-1", "21-1-0", "21-1-256", "-1-1-1", "1-2-3-4"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        address_of(text)


NUMBERS = ("steptime", "startvolt", "endvolt", "startcurr", "endcurr", "cap", "eng")

names = st.sampled_from(["start", "stop", "inquire", "inquiredf", "getchlstatus", "download", "downloadlog", "light"])
attributes = st.dictionaries(
    st.sampled_from(["devid", "subdevid", "chlid", "startpos", "count", "barcode"]),
    st.one_of(st.integers().map(str), st.sampled_from(["1", "21", "x", "", "³"])),
)


def a_message(command: str, tag: str, values: dict[str, str]) -> bytes:
    named = " ".join(f'{name}="{value}"' for name, value in values.items())
    return f"<bts><cmd>{command}</cmd><list><{tag} {named}>p</{tag}></list></bts>".encode() + END


pieces = st.builds(a_message, names, st.one_of(names, st.sampled_from(["status", "chl"])), attributes)


def answering() -> Callable[[bytes], bytes]:
    server = NewareBts({(21, 1, 1): Channel(FakeWorld())}, (21, 1, 1), lambda path: b"")  # type: ignore[arg-type]
    face = server.face()
    face.receive(f"<bts>{CONNECT}</bts>".encode() + END)
    return face.receive


@given(st.lists(st.one_of(st.binary(max_size=100), pieces), max_size=10))
def test_any_bytes_are_answered_in_messages_or_not_at_all(parts: list[bytes]) -> None:
    receive = answering()
    for part in parts:
        for answer in receive(part).split(END)[:-1]:
            assert ElementTree.fromstring(answer).findtext("cmd", "").endswith("_resp")
    receive(END)
    assert receive(b"<bts><cmd>getdevinfo</cmd></bts>" + END).count(b"<channel") == 1
