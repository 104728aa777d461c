"""The EA PSB 10000 as its programming guide describes it."""

from __future__ import annotations

import pytest

from simulators.psb10000_scpi import PsbInstrument
from simulators.scpi import MessageFace
from tests.simulators.conftest import Stage
from tests.simulators.fake_world import FakeWorld


class Bench:
    """A PSB on a fake battery, spoken to in lines."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.instrument = PsbInstrument(world, "2023120002")  # type: ignore[arg-type]
        self.device = self.instrument.device
        self.face: MessageFace = self.instrument.face()

    def say(self, *messages: str) -> str:
        """The answer to the last message, without its line feed; "" for none."""
        answers = [self.face.receive(message.encode() + b"\n") for message in messages]
        return answers[-1].decode().removesuffix("\n")

    def errors(self) -> str:
        return self.say("SYST:ERR:ALL?")

    def prepared(self) -> Bench:
        """Remote, contactor closed, 10 A of charge ready to flow into 355.2 V."""
        self.world.contactor_closed = True
        self.say("SYST:LOCK ON", "VOLT 400", "CURR 10", "SINK:CURR 10")
        return self


@pytest.fixture
def bench(world: FakeWorld) -> Bench:
    return Bench(world)


NO_ERROR = '0,"No error"'


def test_identity_and_ratings(bench: Bench) -> None:
    assert bench.say("*IDN?").split(", ")[:3] == ["EA Elektro-Automatik GmbH&Co.KG", "PSB 10500-90", "2023120002"]
    assert bench.say("SYST:NOM:VOLT?") == "500.0V"
    assert bench.say("SYSTem:NOMinal:CURRent?") == "90.00A"
    assert bench.say("syst:nom:pow?") == "30000W"


@pytest.mark.parametrize("header", ["VOLT?", "volt?", ":VOLT?", "VOLTAGE?", "SOUR:VOLT?", "SOURCE:VOLTage?"])
def test_headers_in_every_spelling(bench: Bench, header: str) -> None:
    bench.say("SYST:LOCK ON", "VOLT 380.5")
    assert bench.say(header) == "380.5V"


@pytest.mark.parametrize("header", ["VOLTA?", "SOURC:VOLT?", "SINK:VOLT?", "PROT:VOLT?"])
def test_headers_between_long_and_short_are_none(bench: Bench, header: str) -> None:
    assert bench.say(header) == ""
    assert bench.errors() == '-100,"Command error"'


@pytest.mark.parametrize(
    ("command", "query", "answer"),
    [
        ("POW 3.5kW", "POW?", "3500W"),
        ("POW 3.5 kW", "POW?", "3500W"),
        ("CURR 30A", "CURR?", "30.00A"),
        ("CURR 3.0E1", "CURR?", "30.00A"),
        ("VOLT 0.38kV", "VOLT?", "380.0V"),
        ("VOLT MAX", "VOLT?", "510.0V"),
        ("CURR MIN", "CURR?", "0.00A"),
        ("SINK:CURR 12.5", "SINK:CURR?", "12.50A"),
        ("SINK:POW 2000W", "SINK:POW?", "2000W"),
        ("VOLT:PROT 410", "VOLT:PROT:LEV?", "410.0V"),
        ("SINK:CURR:PROT 33", "SINK:CURR:PROT?", "33.00A"),
        ("CURR:LIM:HIGH 60", "CURR:LIM:HIGH?", "60.00A"),
        ("SYST:CONF:MOD UIP", "SYST:CONF:MOD?", "UIP"),
        ("SYST:COMM:MON:TIM 7", "SYST:COMM:MON:TIM?", "7"),
        ("SYST:COMM:MON:ACT ON", "SYST:COMM:MON:ACT?", "ON"),
        ("SYST:COMM:LAN:TIM 60", "SYST:COMM:LAN:TIM?", "60"),
    ],
)
def test_settings_and_their_queries(bench: Bench, command: str, query: str, answer: str) -> None:
    bench.say("SYST:LOCK ON", command)
    assert bench.say(query) == answer
    assert bench.errors() == NO_ERROR


def test_a_setting_is_held_in_steps_of_the_device(bench: Bench) -> None:
    bench.say("SYST:LOCK ON", "CURR 10")
    level = next(iter(bench.device.levels.values()))
    assert level == 0
    step = 90 / 52428
    assert bench.device.levels[list(bench.device.levels)[1]] == pytest.approx(10, abs=step / 2)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("VOLT 511", -222),  # beyond 102 %
        ("VOLT:PROT 560", -222),  # beyond 110 %
        ("VOLT -1", -222),
        ("CURR 30V", -220),
        ("CURR ten", -220),
        ("OUTP MAYBE", -224),
        ("VOLT", -102),
        ("VOLT 1,2", -108),
        ("VOLT? 1,2", -108),
        ("SYST:COMM:MON:TIM 0", -222),
        ("SYST:COMM:LAN:TIM 3", -222),
        ("NONSENSE", -100),
        ("VOLT 1;VOLT 2;VOLT 3;VOLT 4;VOLT 5;VOLT 6", -223),
        ("VOLT " + 300 * "1", -223),
    ],
)
def test_what_is_refused(bench: Bench, command: str, error: int) -> None:
    bench.say("SYST:LOCK ON")
    assert bench.say(command) == ""
    assert bench.say("SYST:ERR?").startswith(f"{error},")
    assert bench.say("VOLT?") == "0.0V"


@pytest.mark.parametrize("command", ["VOLT 10", "OUTP ON", "VOLT:PROT 100", "SYST:COMM:MON:ACT ON"])
def test_nothing_is_changed_without_remote_control(bench: Bench, command: str) -> None:
    bench.say(command)
    assert bench.say("SYST:ERR?") == '-221,"Settings conflict"'


def test_the_front_panel_keeps_remote_control_out(bench: Bench) -> None:
    bench.device.local = True
    bench.say("SYST:LOCK ON")
    assert bench.say("SYST:LOCK:OWN?") == "LOCAL"
    assert bench.say("SYST:ERR?") == '-201,"Invalid while in local"'


def test_owner_of_the_device(bench: Bench) -> None:
    assert bench.say("SYST:LOCK:OWN?") == "NONE"
    assert bench.say("SYST:LOCK ON", "SYST:LOCK:OWN?") == "REMOTE"
    assert bench.say("SYST:LOCK OFF", "SYST:LOCK:OWNER?") == "NONE"


def test_adjustment_limits_bound_settings_and_not_the_other_way_round(bench: Bench) -> None:
    bench.say("SYST:LOCK ON", "CURR 20", "CURR:LIM:HIGH 30", "CURR 31")
    assert bench.say("SYST:ERR?").startswith("-222")
    assert bench.say("CURR:LIM:HIGH 15", "SYST:ERR?").startswith("-222")
    assert bench.say("CURR?") == "20.00A"


def test_concatenated_queries_answer_in_one_line_and_start_from_the_root(bench: Bench) -> None:
    assert bench.say("VOLT?;CURR?;OUTP?") == "0.0V;0.00A;OFF"
    assert bench.say("VOLT:PROT?;LEV?") == "550.0V"
    assert bench.say("SYST:ERR?").startswith("-100")


def test_a_message_may_come_in_pieces_and_several_at_once(bench: Bench) -> None:
    assert bench.face.receive(b"VO") == b""
    assert bench.face.receive(b"LT?\nCURR?\nOUT") == b"0.0V\n0.00A\n"
    assert bench.face.receive(b"P?\n") == b"OFF\n"


def test_two_connections_do_not_share_half_a_message(bench: Bench) -> None:
    other = bench.instrument.face()
    assert bench.face.receive(b"VOLT") == b""
    assert other.receive(b"CURR?\n") == b"0.00A\n"
    assert bench.face.receive(b"?\n") == b"0.0V\n"


def test_an_answer_longer_than_the_buffer_is_out_of_memory(bench: Bench) -> None:
    assert bench.say("*IDN?;*IDN?;*IDN?;*IDN?") == ""
    assert bench.say("SYST:ERR?") == '-225,"Out of memory"'


def test_the_error_queue_keeps_five(bench: Bench) -> None:
    bench.say(*7 * ["NONSENSE"])
    assert bench.errors().count("-100") == 5
    assert bench.errors() == NO_ERROR


def test_event_status_and_status_byte(bench: Bench) -> None:
    assert bench.say("*ESR?") == "128"  # power on
    bench.say("NONSENSE", "VOLT 1")
    assert bench.say("*STB?") == str(1 << 2)
    assert bench.say("*ESR?") == str(32 | 16)
    bench.say("*CLS")
    assert bench.say("*STB?") == "0"
    assert bench.errors() == NO_ERROR


def test_measured_values_are_signed_and_carry_units(bench: Bench) -> None:
    bench.prepared().say("OUTP ON")
    assert bench.say("MEAS:ARR?") == "357.2V, 10.00A, 3572W"
    bench.say("VOLT 300")
    assert bench.say("MEAS:ARR?") == "353.2V, -10.00A, -3532W"
    assert bench.say("MEAS:VOLT?") == bench.say("MEASURE:SCALAR:VOLTAGE:DC?") == "353.2V"
    assert int(bench.say("STAT:OPER:COND?")) == 1 << 12 | 1 << 9  # sink, CC


def test_no_minus_before_zero(bench: Bench) -> None:
    bench.prepared().say("SINK:CURR 0.003", "VOLT 300", "OUTP ON")
    assert bench.say("MEAS:CURR?") == "0.00A"


def test_remote_and_output_show_in_the_condition(bench: Bench) -> None:
    bench.prepared().say("OUTP ON")
    assert bench.say("STAT:QUES:COND?") == "3072"


def test_an_event_is_latched_until_it_is_read(bench: Bench) -> None:
    bench.say("SYST:LOCK ON", "SYST:LOCK OFF")
    assert bench.say("STAT:QUES:COND?") == "0"
    assert bench.say("STAT:QUES?") == str(1 << 10)
    assert bench.say("STAT:QUES:EVEN?") == "0"


@pytest.mark.parametrize(
    ("protection", "volts", "bit", "counter"),
    [
        ("VOLT:PROT 356", 400, 0, "SYST:ALAR:COUN:OVOL?"),
        ("CURR:PROT 9", 400, 1, "SYST:ALAR:COUN:OCUR?"),
        ("POW:PROT 3000", 400, 2, "SYST:ALAR:COUN:OPOW?"),
        ("SINK:CURR:PROT 9", 300, 1, "SYST:SINK:ALAR:COUN:OCUR?"),
        ("SINK:POW:PROT 3000", 300, 2, "SYST:SINK:ALAR:COUN:OPOW?"),
    ],
)
def test_protections_switch_off_and_stay_until_acknowledged(
    bench: Bench, protection: str, volts: int, bit: int, counter: str
) -> None:
    bench.prepared().say(protection, f"VOLT {volts}", "OUTP ON")
    assert bench.say("OUTP?") == "OFF"
    assert bench.world.source is None
    assert int(bench.say("STAT:QUES:COND?")) & 1 << bit
    assert bench.say(counter) == "1"
    bench.say("OUTP ON")
    assert bench.say("OUTP?") == "OFF", "an alarm must be acknowledged first"
    bench.say("SYST:ERR?")
    assert not int(bench.say("STAT:QUES:COND?")) & 1 << bit


def test_an_alarm_whose_cause_remains_is_not_acknowledged(bench: Bench) -> None:
    bench.prepared().say("VOLT:PROT 350", "OUTP ON", "SYST:ERR:ALL?")
    assert int(bench.say("STAT:QUES:COND?")) & 1, "the battery itself is above 350 V"
    bench.world.contactor_closed = False
    bench.say("SYST:ERR?")
    assert not int(bench.say("STAT:QUES:COND?")) & 1


def test_a_limit_at_its_protection_does_not_trip(bench: Bench) -> None:
    bench.prepared().say("CURR:PROT 10", "OUTP ON")
    assert bench.say("OUTP?") == "ON"


def test_a_protection_trips_while_nobody_asks(stage: Stage) -> None:
    bench = Bench(stage.world).prepared()
    stage.play(bench.instrument)
    bench.say("VOLT:PROT 360", "OUTP ON")
    assert bench.device.output_on
    stage.world.cells += 0.1
    stage.at(3600)
    assert not bench.device.output_on


def test_reset_takes_remote_control_and_switches_off(bench: Bench) -> None:
    bench.prepared().say("OUTP ON", "*RST")
    assert bench.say("OUTP?") == "OFF"
    assert bench.say("SYST:LOCK:OWN?") == "REMOTE"


def test_giving_up_remote_control_switches_off(bench: Bench) -> None:
    bench.prepared().say("OUTP ON", "SYST:LOCK OFF")
    assert bench.say("OUTP?") == "OFF"


@pytest.mark.parametrize(
    ("header", "threshold", "volts", "bit"),
    [
        ("SYST:CONF:OVD", "356V", 400, 4),
        ("SYST:CONF:UVD", "354V", 300, 5),
        ("SYST:CONF:OCD", "9A", 400, 6),
        ("SYST:CONF:UCD", "11A", 400, 7),
        ("SYST:CONF:OPD", "3kW", 400, 8),
        ("SYST:SINK:CONF:OCD", "9A", 300, 6),
        ("SYST:SINK:CONF:UCD", "11A", 300, 7),
        ("SYST:SINK:CONF:OPD", "3kW", 300, 8),
    ],
)
class TestEvents:
    """Thresholds besides the protections, each with an action."""

    def test_a_warning_only_shows(self, bench: Bench, header: str, threshold: str, volts: int, bit: int) -> None:
        bench.prepared().say(f"VOLT {volts}", f"{header} {threshold}", f"{header}:ACT WARN", "OUTP ON")
        assert bench.say("OUTP?") == "ON"
        assert int(bench.say("STAT:QUES:COND?")) & 1 << bit

    def test_an_alarm_switches_off(self, bench: Bench, header: str, threshold: str, volts: int, bit: int) -> None:
        bench.prepared().say(f"VOLT {volts}", f"{header} {threshold}", f"{header}:ACTION ALARM", "OUTP ON")
        assert bench.say("OUTP?") == "OFF"
        assert int(bench.say("STAT:QUES:COND?")) & 1 << bit
        bench.say("SYST:ERR?")
        assert bench.say("STAT:QUES:COND?") == str(1 << 10)

    def test_without_action_nothing_happens(
        self, bench: Bench, header: str, threshold: str, volts: int, bit: int
    ) -> None:
        bench.prepared().say(f"VOLT {volts}", f"{header} {threshold}", "OUTP ON")
        assert bench.say(f"{header}:ACT?") == "NONE"
        assert bench.say("STAT:QUES:COND?") == "3072"


class TestWatchdog:
    """Interface monitoring: silence ends remote control and the output, at the very moment it is due."""

    @pytest.fixture
    def watched(self, stage: Stage) -> Bench:
        bench = Bench(stage.world).prepared()
        stage.play(bench.instrument)
        bench.say("SYST:COMM:MON:TIM 5", "SYST:COMM:MON:ACT ON", "OUTP ON")
        return bench

    def test_traffic_keeps_it_quiet(self, stage: Stage, watched: Bench) -> None:
        for second in range(1, 60, 4):
            stage.at(second)
            assert watched.say("OUTP?") == "ON"

    def test_silence_switches_off(self, stage: Stage, watched: Bench) -> None:
        stage.at(4.99)
        assert watched.device.output_on
        stage.at(5.0)
        assert not watched.device.output_on
        assert watched.say("SYST:LOCK:OWN?") == "NONE"
        assert int(watched.say("STAT:OPER:COND?")) == 1 << 7
        assert int(watched.say("STAT:OPER?")) & 1 << 7

    def test_a_leap_of_line_time_does_not_delay_it(self, stage: Stage, watched: Bench) -> None:
        moments: list[float] = []
        drive = stage.world.drive
        stage.world.drive = lambda source: (moments.append(stage.timeline.now()), drive(source))[1]  # type: ignore
        stage.at(10_000)
        assert moments == [5.0]

    def test_taking_remote_control_again_ends_the_report(self, stage: Stage, watched: Bench) -> None:
        stage.at(6)
        assert watched.say("SYST:LOCK ON", "STAT:OPER:COND?") == "0"
        assert watched.say("OUTP?") == "OFF"

    def test_switched_off_it_does_nothing(self, stage: Stage, watched: Bench) -> None:
        watched.say("SYST:COMM:MON:ACT OFF")
        stage.at(1000)
        assert watched.device.output_on


class TestFaults:
    def test_another_device(self, bench: Bench) -> None:
        bench.instrument.faults = frozenset({"wrong_identity"})
        assert "2023120002" not in bench.say("*IDN?")

    def test_readings_that_are_no_numbers(self, bench: Bench) -> None:
        bench.instrument.faults = frozenset({"nan"})
        assert bench.say("MEAS:ARR?") == "NaNV, NaNA, NaNW"

    def test_an_output_that_does_not_switch_off(self, bench: Bench) -> None:
        bench.prepared().say("OUTP ON")
        bench.instrument.faults = frozenset({"output_refuses_off"})
        bench.say("OUTP OFF")
        assert bench.say("OUTP?") == "ON"
        assert bench.errors() == '-200,"Execution error"'
