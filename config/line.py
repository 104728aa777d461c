"""What a line is: stations, the instruments they hold, ratings, where the journal and the broker are.

One strict model of the line file. Keys carry their unit, since this is a file's edge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from config.documents import Document, first_validation_error, read_document
from config.simulation import SimulationConfig

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """Unknown keys are errors; values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VisaLinkConfig(Strict):
    """An instrument by VISA address, e.g. `TCPIP::10.0.0.7::5025::SOCKET` or `TCPIP::10.0.0.8::hislip0::INSTR`."""

    kind: Literal["visa"]
    address: str
    # what ends a line sent; answers may end with LF or CR+LF, and with CR alone where it is CR
    terminator: Literal["LF", "CRLF", "CR"] = "LF"
    timeout_s: Positive = 2.0
    spacing_s: Annotated[float, Field(ge=0, le=1)] = 0.0

    @property
    def where(self) -> object:
        """What tells this address from another; None when it is still to be chosen."""
        return self.address


class SerialLinkConfig(Strict):
    """Text instruments on a serial port, 8N1, or behind a `socket://host:port` serial server; several on RS-485."""

    kind: Literal["serial"]
    port: str
    baudrate: int = 9600
    # what ends a line sent; answers may end with LF or CR+LF
    terminator: Literal["LF", "CRLF", "CR"] = "CRLF"
    timeout_s: Positive = 2.0
    spacing_s: Annotated[float, Field(ge=0, le=1)] = 0.0

    @property
    def where(self) -> object:
        return self.port


class XmlTcpLinkConfig(Strict):
    """A server of XML messages that end with two line feeds, a hash, CR and LF (Neware BTS); for several channels."""

    kind: Literal["xml_tcp"]
    host: str
    port: Port = 502
    timeout_s: Positive = 2.0

    @property
    def where(self) -> object:
        return (self.host, self.port) if self.port else None


class ModbusTcpLinkConfig(Strict):
    """A Modbus TCP server."""

    kind: Literal["modbus_tcp"]
    host: str
    port: Port = 502
    timeout_s: Positive = 2.0

    @property
    def where(self) -> object:
        return (self.host, self.port) if self.port else None


class ModbusRtuLinkConfig(Strict):
    """A Modbus RTU bus on a serial port; 8N1."""

    kind: Literal["modbus_rtu"]
    port: str
    baudrate: int = 9600
    timeout_s: Positive = 1.0

    @property
    def where(self) -> object:
        return self.port


LinkConfig = Annotated[
    VisaLinkConfig | SerialLinkConfig | XmlTcpLinkConfig | ModbusTcpLinkConfig | ModbusRtuLinkConfig,
    Field(discriminator="kind"),
]


class InstrumentConfig(Strict):
    """One instrument of a station. `model` and `serial` are what it must answer; empty means not checked."""

    driver: str
    link: LinkConfig
    model: str = ""
    serial: str = ""
    scan_period_s: Positive | None = None
    settings: dict[str, Any] = {}

    @property
    def is_shared(self) -> bool:
        """On a bus, where `settings.address` tells it from its neighbours on the same link."""
        is_bus = isinstance(self.link, SerialLinkConfig | XmlTcpLinkConfig)
        return is_bus and bool(self.link.where) and "address" in self.settings


class StationRatings(Strict):
    """What the station's cables, contactors and fuses stand; no recipe may ask for more."""

    max_voltage_v: Positive
    max_charge_current_a: Positive
    max_discharge_current_a: Positive
    max_power_w: Positive


class StationConfig(Strict):
    """One place where a battery is evaluated."""

    scan_period_s: Positive = 1.0
    ratings: StationRatings
    watchdog_s: Annotated[float, Field(ge=1, le=60)] = 5.0
    # cells of the battery that the impedance meter's probes span, first and last, from 1
    impedance_probe_cells: tuple[int, int] | None = None
    instruments: dict[str, InstrumentConfig]

    @model_validator(mode="after")
    def roles_present(self) -> StationConfig:
        missing = [role for role in ("cycler", "interlock") if role not in self.instruments]
        if missing:
            raise ValueError(f"a station needs the instruments {missing}: nothing can be switched off without them")
        return self

    @model_validator(mode="after")
    def consistent(self) -> StationConfig:
        first, last = self.impedance_probe_cells or (1, 1)
        if not 1 <= first <= last:
            raise ValueError(f"impedance_probe_cells go from the first to the last cell, not {first} to {last}")
        if self.scan_period_s > self.watchdog_s / 2:
            raise ValueError(
                f"a scan every {self.scan_period_s:g} s would trip the cycler's watchdog of {self.watchdog_s:g} s"
            )
        return self


class LineIdentity(Strict):
    """Where the line stands; these words are the first levels of its MQTT topics."""

    enterprise: Name
    site: Name
    area: Name
    name: Name


class HttpConfig(Strict):
    """The API for the command line and the operator page. Loopback only."""

    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    port: Port = 8470


class EmbeddedBroker(Strict):
    """The NATS server Evaline starts itself, on loopback only."""

    kind: Literal["embedded"] = "embedded"
    port: Port = 18830


class ExternalBroker(Strict):
    """Any MQTT broker."""

    kind: Literal["external"]
    host: str
    port: Port = 1883
    username: str | None = None
    password_file: str | None = None


class NoBroker(Strict):
    """Publish nothing; results wait in the outbox."""

    kind: Literal["none"]


BrokerConfig = Annotated[EmbeddedBroker | ExternalBroker | NoBroker, Field(discriminator="kind")]


class LineConfig(Strict):
    """A whole line file."""

    schema_version: Literal["evaline/line/1"] = Field(alias="schema")
    line: LineIdentity
    state_dir: str = "var"
    http: HttpConfig = HttpConfig()
    broker: BrokerConfig = EmbeddedBroker()
    grade_rules: str = "default"
    stations: dict[Name, StationConfig]
    simulation: SimulationConfig | None = None

    @model_validator(mode="after")
    def at_least_one_station(self) -> LineConfig:
        if not self.stations:
            raise ValueError("a line needs at least one station")
        return self

    @model_validator(mode="after")
    def one_owner_each(self) -> LineConfig:
        owners: dict[object, dict[str, InstrumentConfig]] = {}
        for station_name, station in self.stations.items():
            for key, instrument in station.instruments.items():
                if instrument.link.where:
                    others = owners.setdefault(instrument.link.where, {})
                    name = f"{station_name}/{key}"
                    for owner, other in others.items():
                        _check_bus(name, instrument, owner, other)
                    others[name] = instrument
        return self


def _check_bus(name: str, instrument: InstrumentConfig, owner: str, other: InstrumentConfig) -> None:
    """Raise ValueError unless two instruments at one place are neighbours on a bus."""
    if not (instrument.is_shared and other.is_shared and type(instrument.link) is type(other.link)):
        raise ValueError(
            f"{name} and {owner} have one address: no two sessions own an instrument "
            "(on a serial or xml_tcp link several can share it, each with a settings.address of its own)"
        )
    if instrument.settings["address"] == other.settings["address"]:
        raise ValueError(f"{name} and {owner} have one address {instrument.settings['address']} on one bus")
    ours, theirs = instrument.link.model_dump(), other.link.model_dump()
    for field in ours:
        if ours[field] != theirs[field]:
            raise ValueError(
                f"{name} and {owner} share one bus: {field} cannot be {ours[field]} for one and {theirs[field]} for "
                "the other"
            )


def load_line(path: Path) -> LineConfig:
    """Read and validate a line file; raises DocumentError (code E-CONFIG) with line and column."""
    return validate_line(read_document(path))


def validate_line(document: Document) -> LineConfig:
    """Validate a parsed line file; raises DocumentError."""
    try:
        return LineConfig.model_validate(document.data)
    except ValidationError as error:
        raise first_validation_error(document, error, "E-CONFIG") from None
