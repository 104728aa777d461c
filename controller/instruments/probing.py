"""What answers at an address, and which driver is for it.

Every driver declares where it may be found (`Probe` in its catalogue entry) and recognises its instrument by
identify(); here its questions go out, one link after another, each with a deadline. Nothing is ever written: a link
that probes refuses to.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from config import InstrumentConfig
from controller.instruments.wire import Wires
from drivers import CATALOG, ConfigError, DriverEntry, IdentityError, InstrumentError, LinkError
from drivers.catalog import Probe
from drivers.errors import ADDRESS, PORT, REFUSED, TIMEOUT, NotHereError, RefusedError, SettingError
from drivers.links import RegisterLink, TextLink
from drivers.links.metrics import shown
from drivers.links.registers import RegisterConversation
from drivers.roles import Identity

T = TypeVar("T")

IDENTIFY_WITHIN = 8.0  # wall s for all the questions of one driver

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """A driver that fits, with the link and the settings for the line file; `note` where it does not fit entirely."""

    driver: str
    role: str
    link: Mapping[str, Any]
    settings: Mapping[str, Any]
    identity: Identity | None
    note: str = ""


@dataclass(slots=True)
class Probed:
    """What was found, and what answered to no driver's satisfaction: link, question, answer."""

    findings: list[Finding] = field(default_factory=list)
    answers: list[tuple[str, str, str]] = field(default_factory=list)
    faulty_drivers: list[str] = field(default_factory=list)


async def probe(address: str, timeout: float, units: Sequence[int], progress: Progress) -> Probed:
    """Ask at `host:port`, a serial port, or a VISA address, until a driver fits; on a bus, every one of `units`.

    timeout s of connecting and of each answer. Raises LinkError when nobody listens there and for what is no address.
    """
    probed = Probed()
    if (place := _host_and_port(address)) is not None:
        await _check_listening(*place, timeout)
    elif "::" not in address and not os.path.exists(address):
        forms = "host:port, socket://host:port or TCPIP::host::port::SOCKET"
        raise LinkError(PORT, f"{address!r} is no serial port of this machine; write the path of one, or {forms}")
    for link, asked in _links(address, timeout, _entries(probed)).items():
        await _ask_on(dict(link), asked, units, progress, probed)
        if probed.findings:
            break
    return probed


def _entries(probed: Probed) -> Iterator[DriverEntry]:
    for name in CATALOG:
        try:
            yield CATALOG[name]
        except ConfigError as error:  # another package's, broken: the others are still looked for
            probed.faulty_drivers.append(str(error))


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, colon, port = address.removeprefix("socket://").rpartition(":")
    is_place = colon and port.isdigit() and "::" not in address and not address.startswith("/")
    return (host.strip("[]"), int(port)) if is_place and int(port) < 65536 else None


async def _check_listening(host: str, port: int, timeout: float) -> None:
    """One look before all the rest: a port that refuses would refuse every one of them."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        message = f"{host}:{port} does not answer the connection; check power, network and address"
        raise LinkError(TIMEOUT, message) from None
    except (socket.gaierror, UnicodeError):  # UnicodeError: no name that could be one
        raise LinkError(ADDRESS, f"no host is known by the name {host!r}; check it, or write its number") from None
    except OSError as error:
        reason = errno.errorcode.get(error.errno or 0, "") or str(error)
        words = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise LinkError(REFUSED, f"{host}:{port}: {words} ({reason}); is it on and the port right?") from None
    writer.close()


# ---------------------------------------------------------------------------------------------- what to try

Asked = list[tuple[DriverEntry, Probe]]


def _links(address: str, timeout: float, entries: Iterable[DriverEntry]) -> dict[tuple[tuple[str, Any], ...], Asked]:
    """Every link that some driver may be found on at this address, and who asks on it."""
    links: dict[tuple[tuple[str, Any], ...], Asked] = {}
    for entry in entries:
        for probe in entry.probes:
            if (link := _link_at(address, probe.link)) is not None:
                links.setdefault((*link.items(), ("timeout_s", timeout)), []).append((entry, probe))
    return links


def _link_at(address: str, link: Mapping[str, Any]) -> dict[str, Any] | None:
    """A probe's link with the address in it; None where it cannot be reached that way."""
    kind, place = link["kind"], _host_and_port(address)
    is_visa = "::" in address
    match kind:
        case "visa" if is_visa:
            return {**link, "address": address}
        case "visa" if place is not None and not address.startswith("socket://"):
            return {**link, "address": link["address"].format(host=place[0], port=place[1])}
        case "serial" | "modbus_rtu" if place is not None:  # behind a serial server, which knows its line settings
            server = f"socket://{place[0]}:{place[1]}"
            return {key: value for key, value in link.items() if key != "baudrate"} | {"port": server}
        case "serial" | "modbus_rtu" if not is_visa:
            return {**link, "port": address}
        case "modbus_tcp" | "xml_tcp" if place is not None and not address.startswith("socket://"):
            return {**link, "host": place[0], "port": place[1]}
    return None


# ------------------------------------------------------------------------------------------------- asking


async def _ask_on(link: dict[str, Any], asked: Asked, units: Sequence[int], progress: Progress, probed: Probed) -> None:
    """Put every driver's questions on one link; a question that several have is sent once."""
    config = InstrumentConfig.model_validate({"driver": asked[0][0].name, "link": link})
    name = " ".join(str(value) for key, value in link.items() if key != "timeout_s")
    wire = Wires()("probe", config)
    once: _OnceText | _OnceRegisters
    once = _OnceRegisters(cast(RegisterLink, wire)) if hasattr(wire, "read_coils") else _OnceText(wire)
    try:
        await wire.open()
        progress(name)
        for entry, probe in asked:
            for settings in _settings(entry, probe, units):
                if (finding := await _identified(entry, once, link, settings)) is not None:
                    probed.findings.append(finding)
        if not probed.findings and isinstance(once, _OnceRegisters):
            told = await _own_words(cast(RegisterConversation, wire), once.units())
            probed.answers += [(name, *words) for words in told]
    except LinkError as error:
        if error.code in (PORT, ADDRESS):  # nothing else can open it either
            raise
        progress(f"{name}: {error}")
    finally:
        await wire.close()
    if not probed.findings:
        probed.answers += [(name, question, answer) for question, answer in once.answers()]


def _settings(entry: DriverEntry, probe: Probe, units: Sequence[int]) -> Iterator[dict[str, Any]]:
    """As the driver is made without a number on the bus, and with each of them."""
    if not units or not probe.bus:
        yield dict(probe.settings)
        return
    is_list = entry.settings[probe.bus].kind == "integers"
    for unit in units:
        yield {**probe.settings, probe.bus: [unit] if is_list else unit}


async def _identified(
    entry: DriverEntry, once: _OnceText | _OnceRegisters, link: Mapping[str, Any], settings: dict[str, Any]
) -> Finding | None:
    try:
        driver = entry.make(once, "", "", settings)
        async with asyncio.timeout(IDENTIFY_WITHIN):
            return Finding(entry.name, entry.role, link, settings, await driver.identify())
    except NotHereError as error:
        return Finding(entry.name, entry.role, link, settings, None, str(error))
    except (IdentityError, ConfigError):
        return None
    except SettingError as error:  # recognised, and set in a way that the driver refuses
        return Finding(entry.name, entry.role, link, settings, None, str(error))
    except (InstrumentError, TimeoutError):
        return None


async def _own_words(wire: RegisterConversation, units: Iterable[int]) -> list[tuple[str, str]]:
    """What devices that no driver knows say they are, by the question that Modbus has for it."""
    answers = []
    for unit in units:
        with suppress(InstrumentError):  # few have it; those that refuse have shown already that they are there
            told = await wire.read_identification(unit)
            answers.append((f"unit {unit} identification", shown(f"{told.manufacturer} {told.model} {told.firmware}")))
    return answers


class _Once:
    """A link on which every question is sent once, whoever asks it again, and nothing is written."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Any] = {}

    async def open(self) -> None:
        """It is open, and stays so for the next driver."""

    async def close(self) -> None:
        """As open()."""

    def answers(self) -> list[tuple[str, str]]:
        """Questions that were answered, be it by a refusal, with their answers."""
        return [
            (" ".join(map(str, question)), shown(str(answer)))
            for question, answer in self._known.items()
            if not isinstance(answer, InstrumentError) or isinstance(answer, RefusedError)
        ]

    async def _remembered(self, question: tuple[object, ...], ask: Callable[..., Awaitable[T]], *sent: Any) -> T:
        if question not in self._known:
            try:
                self._known[question] = await ask(*sent)
            except InstrumentError as error:
                self._known[question] = error
        answer = self._known[question]
        if isinstance(answer, InstrumentError):
            raise answer
        return cast(T, answer)


class _OnceText(_Once):
    def __init__(self, link: TextLink) -> None:
        super().__init__()
        self._link = link

    @property
    def reopened(self) -> int:
        return self._link.reopened

    async def write(self, line: str) -> None:
        raise _never(line)

    async def query(self, line: str) -> str:
        return await self._remembered((line,), self._link.query, line)

    async def query_many(self, lines: Sequence[str]) -> list[str]:
        return [await self.query(line) for line in lines]

    async def poll(self) -> str | None:
        return await self._link.poll()

    async def pause(self, seconds: float) -> None:
        await self._link.pause(seconds)


class _OnceRegisters(_Once):
    def __init__(self, link: RegisterLink) -> None:
        super().__init__()
        self._link = link
        self._asked: set[int] = set()
        self._silent: dict[int, LinkError] = {}  # Modbus devices answer whatever they are asked, if only by a refusal

    @property
    def reopened(self) -> int:
        return self._link.reopened

    async def read_coils(self, unit: int, address: int, count: int) -> list[bool]:
        return await self._read("coil", self._link.read_coils, unit, address, count)

    async def read_discrete_inputs(self, unit: int, address: int, count: int) -> list[bool]:
        return await self._read("discrete", self._link.read_discrete_inputs, unit, address, count)

    async def read_holding_registers(self, unit: int, address: int, count: int) -> list[int]:
        return await self._read("holding", self._link.read_holding_registers, unit, address, count)

    async def read_input_registers(self, unit: int, address: int, count: int) -> list[int]:
        return await self._read("input", self._link.read_input_registers, unit, address, count)

    async def write_coil(self, unit: int, address: int, value: bool) -> None:
        raise _never(f"coil {address}")

    async def write_register(self, unit: int, address: int, value: int) -> None:
        raise _never(f"register {address}")

    async def write_registers(self, unit: int, address: int, values: Sequence[int]) -> None:
        raise _never(f"registers {address}")

    def units(self) -> list[int]:
        """Those that answered, be it by a refusal."""
        return sorted(self._asked - self._silent.keys())

    async def _read(
        self, table: str, ask: Callable[[int, int, int], Awaitable[T]], unit: int, address: int, count: int
    ) -> T:
        if unit in self._silent:
            raise self._silent[unit]
        self._asked.add(unit)
        try:
            return await self._remembered((f"unit {unit}", table, address, count), ask, unit, address, count)
        except LinkError as error:
            self._silent[unit] = error
            raise


def _never(what: str) -> ConfigError:
    return ConfigError(f"the driver writes {what} to identify its instrument; probing only asks")
