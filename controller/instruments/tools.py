"""What people may do with one instrument by hand: ask it, and change what its role lets them change.

A question on a text link is its line as it is; on a register link it is `read TABLE ADDRESS [COUNT] [TYPE]`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from config.line import InstrumentConfig, ModbusTcpLinkConfig, VisaLinkConfig, XmlTcpLinkConfig
from controller.instruments import Instruments
from drivers import CATALOG, AnswerError, InstrumentError, words
from drivers.links import WatchedRegisterLink
from drivers.numbers import parse_number, signed
from drivers.roles import (
    CellCycler,
    Chamber,
    Chiller,
    CodeReader,
    Cycler,
    InsulationTester,
    Interlock,
    Protection,
    Tower,
)

Kind = Literal["u16", "i16", "u32", "i32", "float", "text"]

REGISTERS_OF = {"u16": 1, "i16": 1, "text": 1, "u32": 2, "i32": 2, "float": 2}
# first digit of the old reference numbers, 40001 being the first holding register
TABLES = {"coil": 0, "discrete": 1, "input": 3, "holding": 4}
MOST = {"coil": 2000, "discrete": 2000, "input": 125, "holding": 125}
USAGE = "write it like 'read holding 40001 2 float', 'read input 0x10 unit 2' or 'read coil 405'"
LONGEST_QUESTION = 4000
WATCHDOG = 5.0  # s, for the moment in which protections are set by hand

_READ = re.compile(
    r"read (?P<table>coil|discrete|input|holding) (?P<address>0x[0-9a-f]{1,4}|\d{1,5})(?: (?P<count>\d{1,4}))?"
    r"(?: (?P<kind>u16|i16|u32|i32|float|text))?(?: (?P<order>big|little))?(?: unit (?P<unit>\d{1,3}))?",
    re.ASCII,
)


class ToolError(InstrumentError):
    """A question or setting that is none; nothing was sent."""

    code = "E-INSTRUMENT-REQUEST"


class NoInstrumentError(ToolError):
    """No instrument has that name, or several have."""

    code = "E-INSTRUMENT-NAME"


class BusyError(ToolError):
    """A run owns the instrument."""

    code = "E-INSTRUMENT-BUSY"


# ------------------------------------------------------------------------------------------------------- who


def resolve(name: str, stations: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """Station and role of `st01/chamber`, or of `chamber` where only one station has one."""
    everywhere = [(station, role) for station, roles in stations.items() for role in roles]
    found = [(station, role) for station, role in everywhere if name in (role, f"{station}/{role}")]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{station}/{role}" for station, role in found or everywhere)
    raise NoInstrumentError(f"{'several instruments are' if found else 'there is no instrument'} {name!r}: {known}")


def address_of(instrument: InstrumentConfig) -> str:
    """Where an instrument is, as people write it."""
    link = instrument.link
    match link:
        case VisaLinkConfig():
            return link.address
        case XmlTcpLinkConfig() | ModbusTcpLinkConfig():
            return f"{link.host}:{link.port}"
    return link.port


def described(station: str, instruments: Instruments) -> list[dict[str, Any]]:
    """A row an instrument: who and where it is, how it is, and what its link did."""
    rows = []
    for role, config in instruments.config.instruments.items():
        identity, fault, link = instruments.identities.get(role), instruments.faults.get(role), instruments.links[role]
        health = "ok" if identity else "not connected"
        rows.append(
            {
                "station": station,
                "name": role,
                "role": role,
                "driver": config.driver,
                "address": address_of(config),
                "identity": asdict(identity) if identity else None,
                "health": f"{fault} [{fault.code}]" if fault else health,
                "link": link.metrics.as_json(link.reopened),
            }
        )
    return rows


# ------------------------------------------------------------------------------------------------------ asking


@dataclass(frozen=True, slots=True)
class RegisterQuestion:
    """address is zero-based; count is of values, each of one or two registers."""

    table: str
    address: int
    count: int
    kind: Kind
    high_word_first: bool
    unit: int


def parse_question(text: str) -> RegisterQuestion:
    """Read `read holding 40001 2 float little unit 3`; raises ToolError.

    An address is the protocol's, from 0, in decimal or hexadecimal. Five decimal digits that begin with the table's
    own (10001 discrete, 30001 input, 40001 holding) are the old reference numbers, from 1.
    """
    match = _READ.fullmatch(" ".join(text.lower().split()))
    if match is None:
        raise ToolError(f"{text!r} is no question about registers; {USAGE}")
    table, written = match["table"], match["address"]
    address = int(written, 16) if written.startswith("0x") else int(written)
    if not written.startswith(("0", "0x")) and len(written) == 5 and TABLES[table] == int(written[0]):
        address -= TABLES[table] * 10_000 + 1
    count, kind = int(match["count"] or 1), cast(Kind, match["kind"] or "u16")
    if table in ("coil", "discrete") and match["kind"]:
        raise ToolError(f"a {table} is a bit and has no type; {USAGE}")
    size = count * REGISTERS_OF[kind]
    if not (address >= 0 and 1 <= size <= MOST[table] and address + size <= 0x10000):
        raise ToolError(f"{size} of {table} from {address} cannot be read at once; at most {MOST[table]}, up to 65535")
    return RegisterQuestion(table, address, count, kind, match["order"] != "little", int(match["unit"] or -1))


def decode(registers: Sequence[int], kind: Kind, high_word_first: bool) -> list[Any]:
    """Values of a type from registers; raises AnswerError for a float that is none, and for text that is not ASCII."""
    if kind == "text":
        return [words.text(registers, "text")]
    if REGISTERS_OF[kind] == 1:
        return [signed(register) if kind == "i16" else register for register in registers]
    pairs = [list(registers[i : i + 2]) for i in range(0, len(registers), 2)]
    ordered = [pair if high_word_first else pair[::-1] for pair in pairs]
    if kind == "float":
        return [words.number(pair) for pair in ordered]
    integers = [words.integer(pair) for pair in ordered]
    return [value - (1 << 32) if kind == "i32" and value >> 31 else value for value in integers]


async def ask(instruments: Instruments, role: str, text: str) -> dict[str, Any]:
    """Put one question to an instrument: `answer` is a line, or the values of registers.

    Raises ToolError for what is no question, InstrumentError as the link does.
    """
    link = instruments.links[role]
    if not isinstance(link, WatchedRegisterLink):
        if not text.isascii() or not text.isprintable() or not text.strip() or len(text) > LONGEST_QUESTION:
            raise ToolError(f"{text[:40]!r} is no line of at most {LONGEST_QUESTION} printable ASCII characters")
        return {"question": text, "answer": await instruments.use(role, link.query, text)}
    question = parse_question(text)
    unit = question.unit if question.unit >= 0 else _unit_of(instruments.config.instruments[role])
    read: dict[str, Callable[[int, int, int], Awaitable[list[Any]]]] = {
        "coil": link.read_coils,
        "discrete": link.read_discrete_inputs,
        "input": link.read_input_registers,
        "holding": link.read_holding_registers,
    }
    size = question.count * REGISTERS_OF[question.kind]
    values = await instruments.use(role, read[question.table], unit, question.address, size)
    if question.table in ("input", "holding"):
        values = decode(values, question.kind, question.high_word_first)
    return {"question": f"unit {unit} {question.table} {question.address}", "answer": values}


def _unit_of(config: InstrumentConfig) -> int:
    """The unit that the line file names, the first of several; without one the driver's own."""
    unit = config.settings.get("unit", config.settings.get("units", CATALOG[config.driver].unit))
    return int(unit[0] if isinstance(unit, list | tuple) else unit)


# ----------------------------------------------------------------------------------------------------- setting

Apply = Callable[[Any, str], Awaitable[object]]


def _word(expected: str, action: Callable[[Any], Awaitable[object]]) -> Apply:
    async def apply(driver: Any, value: str) -> None:
        if value != expected:
            raise ToolError(f"it takes {expected!r} alone, not {value!r}: the rest is for a run, which is watched")
        await action(driver)

    return apply


def _number(value: str) -> float:
    try:
        return parse_number(value.removesuffix("degC").strip())
    except AnswerError:
        raise ToolError(f"{value!r} is no temperature; write it like 25 or '25 degC'") from None


async def _protection(cycler: Cycler, value: str) -> None:
    parts = dict(part.strip().partition("=")[::2] for part in value.split(","))
    if set(parts) != {"voltage", "charge", "discharge", "power"}:
        raise ToolError("write it like voltage=420,charge=50,discharge=50,power=20000 (V, A, A, W)")
    try:
        levels = {name: parse_number(level) for name, level in parts.items()}
    except AnswerError as error:
        raise ToolError(f"protection: {error}") from None
    if (await cycler.read()).output_on:
        raise BusyError("its output is on; switch it off first")
    protection = Protection(levels["voltage"], levels["charge"], levels["discharge"], levels["power"])
    try:
        await cycler.arm(protection, WATCHDOG)
    finally:
        await cycler.release()


async def _tower(interlock: Interlock, value: str) -> None:
    lights = set() if value == "off" else set(value.split("+"))
    if not lights <= {"red", "yellow", "green", "buzzer"}:
        raise ToolError(f"{value!r}: name lights like red+buzzer, of red, yellow, green, buzzer, or off")
    await interlock.set_tower(Tower(**dict.fromkeys(lights, True)))


async def _trigger(reader: CodeReader, value: str) -> None:
    if value not in ("on", "off"):
        raise ToolError(f"{value!r}: it takes on or off")
    await (reader.trigger() if value == "on" else reader.stop())


def _conditioning() -> dict[str, Apply]:
    async def condition(driver: Chamber | Chiller, value: str) -> None:
        await driver.condition(_number(value))

    return {"temperature": condition, "conditioning": _word("off", lambda driver: driver.stop())}


async def _output_off(cycler: Cycler) -> None:
    await cycler.output(False)


async def _stop(driver: CellCycler | InsulationTester) -> None:
    await driver.stop()


async def _open(interlock: Interlock) -> None:
    await interlock.request_contactor(False)


# Nothing here puts energy anywhere: current, test voltages and closed contactors are for runs, under their limits.
SETTINGS: Mapping[str, Mapping[str, Apply]] = {
    "cycler": {"protection": _protection, "output": _word("off", _output_off)},
    "cell_cycler": {"program": _word("off", _stop)},
    "insulation_tester": {"test": _word("off", _stop)},
    "chamber": _conditioning(),
    "chiller": _conditioning(),
    "interlock": {
        "contactor": _word("open", _open),
        "trip": _word("reset", lambda driver: driver.reset()),
        "tower": _tower,
    },
    "code_reader": {"trigger": _trigger},
}


async def set_by_hand(instruments: Instruments, role: str, setting: str, value: str) -> dict[str, Any]:
    """Change one setting through the driver, which reads it back; returns what the instrument reads afterwards."""
    known = SETTINGS.get(role, {})
    if setting not in known:
        have = f"what can be set by hand is {', '.join(known)}" if known else "nothing of it can be set by hand"
        raise ToolError(f"the {role} has no setting {setting!r}; {have}")
    driver = instruments.driver(role)
    await instruments.use(role, known[setting], driver, value.strip())
    reading = await instruments.use(role, driver.read) if hasattr(driver, "read") else None
    return {"setting": setting, "value": value.strip(), "reading": asdict(reading) if reading is not None else None}
