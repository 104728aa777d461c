"""Whatever arrives, an instrument answers in its own form or not at all; nothing upsets it."""

from __future__ import annotations

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from config.dut import shipped_dut_models
from simulators.bms_gateway import BmsGateway
from simulators.bt3562 import Bt3562Instrument
from simulators.bt4560 import FREQUENCIES, Bt4560Instrument
from simulators.bt20000_modbus import BtInstrument
from simulators.daq6510_scpi import DaqInstrument
from simulators.ea_quantities import Quantity
from simulators.espec_p300 import HIGHEST_DEGC, LOWEST_DEGC, P300, P300Bus
from simulators.gpt9800 import GptInstrument
from simulators.plc import PlcInterlock
from simulators.psb10000_scpi import ERRORS, PsbInstrument
from simulators.scpi_interface import ERRORS as SCPI_ERRORS
from simulators.sr1000 import Sr1000
from simulators.tm_th8 import Th8Bus
from simulators.watlow_f4t import F4t
from tests.simulators.fake_world import FakeWorld

MODEL = shipped_dut_models()["nmc_96s_60ah"]

numbers = st.one_of(
    st.floats(allow_nan=False).map(str),
    st.integers().map(str),
    st.sampled_from(["MIN", "1e999", "-1e999", "3k", ".", "e"]),
)
words = st.sampled_from(["ON", "OFF", "ALARM", "IMM", "RV", "?", ",", ""])
psb_headers = st.sampled_from(
    [
        "VOLT",
        "CURR:PROT",
        "SINK:POW",
        "CURR:LIM:LOW",
        "SYST:COMM:MON:TIM",
        "SYST:COMM:LAN:TIM",
        "*ESE",
        "OUTP",
        "*RST",
        "SYST:CONF:UVD",
        "SYST:CONF:UVD:ACT",
        "SYST:LOCK",
        "SYST:ERR?",
        "MEAS:ARR?",
        "STAT:OPER?",
        "*STB?",
    ]
)
bt_headers = st.sampled_from(
    [":RES:RANG", ":VOLT:RANG", ":FUNC", ":INIT:CONT", ":READ?", ":FETC?", ":TRIG:SOUR", "*RST"]
)


daq_headers = st.sampled_from(
    [
        ":SENS:FUNC",
        ":SENS:FUNC?",
        ":ROUT:SCAN:CRE",
        ":ROUT:SCAN:CRE (@101:102);:INIT;",
        ":ROUT:SCAN:COUN:SCAN",
        ":ROUT:CLOS",
        ":READ?",
        ":FETC?",
        ":TRAC:DATA? 1,2,",
        ":TRAC:DATA?",
        ":TEMP:NPLC",
        ":TEMP:TC:TYPE",
        "*ESE",
        "*STB?",
        "SYST:ERR?",
    ]
)


gpt_headers = st.sampled_from(
    [
        "MANU:EDIT:MODE IR\nMANU:IR:VOLT",
        "MANU:IR:RLOS",
        "MANU:IR:TTIM",
        "MANU:IR:REF",
        "MANU:RTIM",
        "MAIN:FUNC",
        "FUNC:TEST",
        "MEAS?",
        "TEST:RET",
        "SYST:ERR?",
    ]
)
p300_headers = st.sampled_from(
    ["TEMP,", "TEMP, S", "TEMP, S20 H", "MODE,", "POWER,", "PRGM,", "TEMP?", "MON?", "ALARM?"]
)
bt4560_headers = st.sampled_from(
    [":FREQ", ":RANG", ":FUNC", ":SAMP:RATE Z,", ":SAMP:RATE", ":CALC:AVER", ":TRIG:SOUR", "*TRG", ":FETC?", "*RST"]
)


def commands(headers: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.builds(lambda *parts: " ".join(parts), headers, st.one_of(numbers, words)), max_size=20)


@given(st.binary(max_size=400))
def test_any_bytes_to_the_text_instruments(data: bytes) -> None:
    psb = PsbInstrument(FakeWorld(), "1")  # type: ignore[arg-type]
    meter = Bt3562Instrument(FakeWorld(), (0, 11), 1)  # type: ignore[arg-type]
    daq = DaqInstrument(FakeWorld(), "1", [101])  # type: ignore[arg-type]
    psb.face().receive(data + b"\n")  # text or frames
    assert daq.face().receive(data + b"\n")[-1:] in (b"", b"\n")
    assert meter.face().receive(data + b"\r\n")[-2:] in (b"", b"\r\n")
    gpt = GptInstrument(FakeWorld(), "1")  # type: ignore[arg-type]
    spectrum_meter = Bt4560Instrument(FakeWorld(), (0, 0), 1)  # type: ignore[arg-type]
    chamber = P300Bus({None: P300(FakeWorld())})  # type: ignore[arg-type]
    for carriage_return in (gpt, spectrum_meter, chamber):
        assert carriage_return.face().receive(data + b"\r\n")[-2:] in (b"", b"\r\n")
    assert Sr1000(FakeWorld()).face().receive(data + b"\r")[-1:] in (b"", b"\r", b"\x03")  # type: ignore[arg-type]


@given(commands(psb_headers))
def test_any_settings_of_the_psb_keep_it_inside_its_ratings(lines: list[str]) -> None:
    world = FakeWorld()
    world.contactor_closed = True
    psb = PsbInstrument(world, "1")  # type: ignore[arg-type]
    face = psb.face()
    face.receive(b"SYST:LOCK ON\n")
    for line in lines:
        face.receive(line.encode() + b"\n")
        for quantity, level in psb.device.levels.items():
            low, high = psb.device.limits[quantity]
            assert low <= level <= high
        assert (world.source is not None) == psb.device.output_on
    assert all(code in ERRORS for code in psb.errors)


@given(commands(bt_headers))
def test_any_settings_of_the_meter(lines: list[str]) -> None:
    face = Bt3562Instrument(FakeWorld(), (0, 11), 1).face()  # type: ignore[arg-type]
    for line in lines:
        answer = face.receive(line.encode() + b"\r")
        assert answer == b"" or answer.endswith(b"\r\n")


@given(commands(daq_headers))
def test_any_settings_of_the_scanner(lines: list[str]) -> None:
    daq = DaqInstrument(FakeWorld(), "1", [101, 102])  # type: ignore[arg-type]
    face = daq.face()
    for line in lines:
        answer = face.receive(line.encode() + b"\n")
        assert answer == b"" or answer.endswith(b"\n")
    assert all(code in SCPI_ERRORS for code in daq.errors)


bt_coils = st.builds(
    lambda address, on: struct.pack(">BHH", 5, address, 0xFF00 if on else 0),
    st.sampled_from([402, 405, 411, 425, 431, 435, 541]),
    st.booleans(),
)
bt_words = st.builds(
    lambda address, word: struct.pack(">BHH", 6, address, word),
    st.sampled_from([498, 499, 500, 501, 502, 550, 553, 559, 560, 573, 574, 9000, 9003, 9008, 10800, 10801]),
    st.integers(0, 0xFFFF),
)
bt_floats = st.builds(
    lambda address, raw: struct.pack(">BHHB", 16, address, 2, 4) + raw,
    st.sampled_from([490, 492, 494, 530, 532, 9010, 9012]),
    st.binary(min_size=4, max_size=4) | st.floats(-100, 600, width=32).map(lambda value: struct.pack(">f", value)),
)


@given(st.lists(bt_coils | bt_words | bt_floats, max_size=30))
def test_any_settings_of_the_battery_tester_keep_it_inside_its_ratings(pdus: list[bytes]) -> None:
    world = FakeWorld()
    world.contactor_closed = True
    bt = BtInstrument(world, "1")  # type: ignore[arg-type]
    device = bt.device
    device.take_remote()
    for pdu in pdus:
        answer = bt.respond(0, pdu)
        assert answer is not None
        assert answer[0] == pdu[0] or answer[1] in (3, 4, 7)
        for quantity, level in device.levels.items():
            low, high = device.limits[quantity]
            assert low <= level <= high
        least, most = device.battery_current_limits
        assert -90 <= least <= device.battery_current <= most <= 90
        assert (world.source is not None) == device.output_on
        if world.source is not None:
            highest = Quantity.CURRENT.on_grid(90 * 1.02)
            assert max(world.source.charge_current, world.source.discharge_current) <= highest
            assert 0 <= world.source.voltage <= Quantity.VOLTAGE.on_grid(500 * 1.02)


@given(
    st.lists(
        st.builds(lambda f, d: bytes([f]) + d, st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16]), st.binary(max_size=12))
    )
)
def test_any_request_to_the_register_instruments(pdus: list[bytes]) -> None:
    world = FakeWorld()
    devices = (
        PlcInterlock(world),
        BmsGateway(world, MODEL),
        Th8Bus(world, [1]),
        BtInstrument(world, "1"),
        F4t(world),
    )  # type: ignore[arg-type]
    for device in devices:
        for pdu in pdus:
            answer = device.respond(0 if isinstance(device, BtInstrument) else 1, pdu)
            assert answer is not None
            assert answer[0] in (pdu[0], pdu[0] | 0x80)
            assert len(answer) <= 253


@given(commands(gpt_headers), st.lists(st.floats(0, 2000), min_size=20, max_size=20))
def test_any_settings_of_the_insulation_tester_keep_it_inside_its_ranges(
    lines: list[str], moments: list[float]
) -> None:
    world = FakeWorld()
    gpt = GptInstrument(world, "1")  # type: ignore[arg-type]
    face = gpt.face()
    for line, moment in zip(lines, sorted(moments), strict=False):
        world.time = moment
        gpt.elapse()
        answer = face.receive(line.encode() + b"\n")
        assert answer == b"" or answer.endswith(b"\r\n")
        assert 0.05 <= gpt.device.kilovolts <= 1
        shown = gpt.device.reading()
        assert 0 <= shown.kilovolts <= 1
        assert 0 <= shown.mohm <= 9999


@given(commands(p300_headers))
def test_any_settings_of_the_chamber_keep_the_set_point_inside_its_limits(lines: list[str]) -> None:
    world = FakeWorld()
    chamber = P300(world)  # type: ignore[arg-type]
    face = P300Bus({None: chamber}).face()
    for line in lines:
        assert face.receive(line.encode() + b"\r\n").endswith(b"\r\n"), "every command has an answer"
        assert LOWEST_DEGC <= chamber.low_limit <= chamber.set_point <= chamber.high_limit <= HIGHEST_DEGC
        assert world.set_point == (chamber.set_point if chamber.mode == "CONSTANT" else None)


@given(commands(bt4560_headers), st.lists(st.floats(0, 2000), min_size=20, max_size=20))
def test_any_settings_of_the_spectrum_meter_end_in_numbers(lines: list[str], moments: list[float]) -> None:
    world = FakeWorld()
    meter = Bt4560Instrument(world, (0, 0), 1)  # type: ignore[arg-type]
    face = meter.face()
    for line, moment in zip(lines, sorted(moments), strict=False):
        world.time = moment
        meter.elapse()
        answer = face.receive(line.encode() + b"\r")
        assert answer == b"" or answer.endswith(b"\r\n")
        assert FREQUENCIES[0] <= meter.device.frequency <= FREQUENCIES[1]
        assert all(map(math.isfinite, map(float, face.receive(b":FETC?\r").split(b","))))
