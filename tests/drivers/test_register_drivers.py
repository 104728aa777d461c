"""Transcripts of the Modbus instruments as (unit, request, answer) in bytes, from docs/registers.md and the manual."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from drivers.bms_gateway import BmsGateway
from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.icpdas_tm_th8 import IcpdasTmTh8
from drivers.links import MemoryRegisterLink
from drivers.plc_interlock import PlcInterlock
from drivers.roles import BatteryMonitor, Interlock, InterlockReading, TemperatureScanner, Tower

Exchange = tuple[int, str, str | None]


def memory(*transcript: Exchange) -> MemoryRegisterLink:
    left = list(transcript)

    def respond(unit: int, request: bytes) -> bytes | None:
        assert left, f"nothing more was expected, got {unit}: {request.hex(' ')}"
        expected_unit, expected, answer = left.pop(0)
        assert (unit, request) == (expected_unit, bytes.fromhex(expected))
        return None if answer is None else bytes.fromhex(answer)

    return MemoryRegisterLink(respond)


def words(values: Iterable[int]) -> str:
    return b"".join((value & 0xFFFF).to_bytes(2, "big") for value in values).hex()


def read_inputs(unit: int, address: int, values: list[int]) -> Exchange:
    return unit, f"04 {address:04x} {len(values):04x}", f"04 {2 * len(values):02x} {words(values)}"


# tM-TH8

ENGINEERING = [(1, "01 010c 0001", "01 01 01"), (2, "01 010c 0001", "01 01 01")]


async def test_th8_reads_every_channel_of_every_unit() -> None:
    scanner: TemperatureScanner = IcpdasTmTh8(
        memory(
            *ENGINEERING,
            read_inputs(1, 0, [250, 251, 0, -105, -32768, 32767, 2400, 1]),
            read_inputs(2, 0, [300] * 8),
        ),
        units=[1, 2],
    )
    await scanner.connect()
    assert await scanner.read() == (25.0, 25.1, 0.0, -10.5, None, None, 240.0, 0.1) + (30.0,) * 8
    await scanner.close()


async def test_th8_in_hexadecimal_format_is_refused() -> None:
    with pytest.raises(SettingError, match="unit 2"):
        await IcpdasTmTh8(memory(ENGINEERING[0], (2, "01 010c 0001", "01 01 00")), units=[1, 2]).connect()


@pytest.mark.parametrize("units", [[], [0], [248], [1, 1]])
def test_th8_units_must_make_sense(units: list[int]) -> None:
    with pytest.raises(ConfigError):
        IcpdasTmTh8(memory(), units=units)


async def test_th8_a_missing_module_is_a_timeout() -> None:
    with pytest.raises(LinkError):
        await IcpdasTmTh8(memory(ENGINEERING[0], (2, "01 010c 0001", None)), units=[1, 2]).connect()


# PLC

PLC_VERSION = (1, "04 0001 0001", "04 02 0101")


def plc_read(inputs: str, heartbeat: int = 7, cause: int = 0) -> tuple[Exchange, Exchange]:
    """Discrete inputs as they appear in the answer's byte, input 0 in the lowest bit."""
    return (1, "02 0000 0008", f"02 01 {inputs}"), read_inputs(1, 0, [heartbeat, 0x0101, cause])


async def plc_after(*transcript: Exchange) -> PlcInterlock:
    driver = PlcInterlock(memory(PLC_VERSION, *transcript))
    await driver.connect()
    return driver


@pytest.mark.parametrize(
    ("inputs", "cause", "expected"),
    [
        ("ff", 0, {}),
        ("f3", 0, {"contactor_closed": False}),
        ("f7", 0, {"contactor_closed": False, "contactors_agree": False}),
        ("fb", 0, {"contactor_closed": False, "contactors_agree": False}),
        ("b2", 1, {"estop_ok": False, "contactor_closed": False, "ready": False, "trip_cause": "E-stop"}),
        ("fd", 2, {"door_closed": False, "trip_cause": "door"}),
        ("7f", 3, {"host_alive": False, "trip_cause": "host heartbeat lost"}),
        ("ef", 4, {"gas_ok": False, "trip_cause": "gas or smoke"}),
        ("df", 5, {"clamped": False, "trip_cause": "clamp"}),
    ],
)
async def test_plc_read(inputs: str, cause: int, expected: dict[str, object]) -> None:
    driver: Interlock = await plc_after(*plc_read(inputs, cause=cause))
    all_well: dict[str, object] = {
        "estop_ok": True,
        "door_closed": True,
        "gas_ok": True,
        "clamped": True,
        "ready": True,
        "contactor_closed": True,
        "host_alive": True,
        "heartbeat": 7,
        "trip_cause": "",
    }
    assert await driver.read() == InterlockReading(**{**all_well, **expected})  # type: ignore[arg-type]


async def test_plc_a_trip_cause_outside_the_map() -> None:
    driver = await plc_after(*plc_read("ff", cause=6))
    with pytest.raises(AnswerError):
        await driver.read()


async def test_plc_with_another_map_is_refused() -> None:
    with pytest.raises(IdentityError, match="0x0102"):
        await PlcInterlock(memory((1, "04 0001 0001", "04 02 0102"))).connect()


async def test_plc_beat_and_reset() -> None:
    driver = await plc_after((1, "06 0000 ffff", "06 0000 ffff"), (1, "05 0005 ff00", "05 0005 ff00"))
    await driver.beat(65535)
    await driver.reset()


async def test_plc_the_contactor_request_is_read_back() -> None:
    close, open_ = (1, "05 0000 ff00", "05 0000 ff00"), (1, "05 0000 0000", "05 0000 0000")
    driver = await plc_after(
        *(close, (1, "01 0000 0001", "01 01 01")),
        *(open_, (1, "01 0000 0001", "01 01 00")),
        *(close, (1, "01 0000 0001", "01 01 00")),
    )
    await driver.request_contactor(True)
    await driver.request_contactor(False)
    with pytest.raises(SettingError, match="close the contactors"):
        await driver.request_contactor(True)


async def test_plc_tower() -> None:
    lights = [(1, f"05 {coil:04x} {value}", f"05 {coil:04x} {value}") for coil, value in
              [(1, "ff00"), (2, "0000"), (3, "0000"), (4, "ff00")]]  # fmt: skip
    driver = await plc_after(*lights, (1, "01 0001 0004", "01 01 09"), *lights, (1, "01 0001 0004", "01 01 08"))
    await driver.set_tower(Tower(red=True, buzzer=True))
    with pytest.raises(SettingError, match="tower"):
        await driver.set_tower(Tower(red=True, buzzer=True))


async def test_plc_heartbeat_timeout_is_written_when_given() -> None:
    written, echo = "06 0001 0014", "06 0001 0014"
    good = memory(PLC_VERSION, (1, written, echo), (1, "03 0001 0001", "03 02 0014"))
    await PlcInterlock(good, heartbeat_timeout=2.0).connect()
    bad = memory(PLC_VERSION, (1, written, echo), (1, "03 0001 0001", "03 02 001e"))
    with pytest.raises(SettingError, match=r"wrote 2.0 s, reads back 3.0 s"):
        await PlcInterlock(bad, heartbeat_timeout=2.0).connect()
    with pytest.raises(ConfigError):
        PlcInterlock(memory(), heartbeat_timeout=0.4)


# BMS gateway

BMS_VERSION = (1, "04 0000 0001", "04 02 0101")


def bms_head(cells: int = 3, sensors: int = 2, **changed: int) -> list[int]:
    code = b"PHE96-004711".ljust(32, b"\0")
    head = [0x0101, cells, sensors, 0b101, 20, 3521, -125, 352, 850, 5100, 1234, 0, 4000, 80, 0, 0b100000]
    head += [3650, 3701, 2, 0]
    head += [int.from_bytes(code[at : at + 2], "big") for at in range(0, 32, 2)]
    for register, value in changed.items():
        head[int(register.removeprefix("at"))] = value
    return head


async def bms_after(*transcript: Exchange) -> BmsGateway:
    driver = BmsGateway(memory(BMS_VERSION, *transcript))
    await driver.connect()
    return driver


async def test_bms_read() -> None:
    driver: BatteryMonitor = await bms_after(
        read_inputs(1, 0, bms_head()),
        read_inputs(1, 100, [3701, 65535, 3650]),
        read_inputs(1, 300, [251, -32768]),
    )
    reading = await driver.read()
    assert reading.alive
    assert reading.cell_voltages == (3.701, None, 3.65)
    assert reading.temperatures == (25.1, None)
    assert (reading.voltage, reading.current) == (352.1, -12.5)
    assert (reading.soc, reading.soh, reading.full_charge_capacity) == (0.352, 0.85, 51.0)
    assert reading.insulation == 1_234_000.0
    assert reading.faults == ("insulation",)
    assert reading.code == "PHE96-004711"


async def test_bms_values_that_are_not_there() -> None:
    head = bms_head(sensors=0, at3=0, at10=65535, at14=0x8000, at15=0x0201)
    driver = await bms_after(read_inputs(1, 0, head), read_inputs(1, 100, [1, 2, 3]))
    reading = await driver.read()
    assert not reading.alive
    assert reading.insulation is None
    assert reading.temperatures == ()
    assert reading.faults == ("cell overvoltage", "internal error", "fault 31")


async def test_bms_the_largest_battery_is_read_in_bounded_requests() -> None:
    driver = await bms_after(
        read_inputs(1, 0, bms_head(cells=128, sensors=32)),
        read_inputs(1, 100, [3700] * 125),
        read_inputs(1, 225, [3600] * 3),
        read_inputs(1, 300, [250] * 32),
    )
    reading = await driver.read()
    assert reading.cell_voltages == (3.7,) * 125 + (3.6,) * 3
    assert len(reading.temperatures) == 32


@pytest.mark.parametrize("head", [bms_head(cells=0), bms_head(cells=129), bms_head(sensors=33)])
async def test_bms_counts_outside_the_map(head: list[int]) -> None:
    with pytest.raises(AnswerError):
        await (await bms_after(read_inputs(1, 0, head))).read()


async def test_bms_a_code_that_is_no_text() -> None:
    driver = await bms_after(read_inputs(1, 0, bms_head(sensors=0, at20=0x0107)), read_inputs(1, 100, [1, 2, 3]))
    with pytest.raises(AnswerError, match="code"):
        await driver.read()


async def test_bms_with_another_map_is_refused() -> None:
    with pytest.raises(IdentityError):
        await BmsGateway(memory((1, "04 0000 0001", "04 02 0200"))).connect()


async def test_bms_an_exception_answer() -> None:
    with pytest.raises(DeviceError, match="illegal data address"):
        await BmsGateway(memory((1, "04 0000 0001", "84 02"))).connect()


@pytest.mark.parametrize("make", [PlcInterlock, BmsGateway])
async def test_an_expected_serial_that_nobody_can_tell(make: Callable[..., BmsGateway | PlcInterlock]) -> None:
    version = PLC_VERSION if make is PlcInterlock else BMS_VERSION
    with pytest.raises(IdentityError, match="expected serial 'X1'"):
        await make(memory(version), "", "X1").connect()
