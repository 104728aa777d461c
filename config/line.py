"""What a line is: stations, the instruments they hold, ratings, where the journal and the broker are.

One strict model of the line file. Keys carry their unit, since this is a file's edge.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from config.documents import MAX_LINE_VALUES, Document, FaultyDocumentError, Words, read_document, validation_errors
from config.simulation import SimulationConfig

# what stands beside the stations under the line's topic
RESERVED = ("connection", "orders", "wip", "totals")


class TopicError(ValueError):
    """A name that cannot be a level of a topic."""

    code = "E-TOPIC"

    def __init__(self, name: str, en: str, ko: str) -> None:
        self.text = Words(f"{name!r:.60} cannot be a level of a topic: {en}", f"{name!r:.60} 토픽 이름 오류: {ko}")
        super().__init__(self.text.en)


def _topic_level(name: Any) -> Any:
    if isinstance(name, str) and not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name):
        raise TopicError(name, "use a-z, 0-9, _ and -, 32 at most", "a-z, 0-9, _ 와 - 만, 최대 32자")
    return name


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$"), BeforeValidator(_topic_level)]
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """Unknown keys are errors; values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VisaLinkConfig(Strict):
    """An instrument by VISA address, e.g. `TCPIP::10.0.0.7::5025::SOCKET` or `TCPIP::10.0.0.8::hislip0::INSTR`."""

    kind: Literal["visa"]
    address: Annotated[
        str, Field(description="VISA address: `TCPIP::10.0.0.7::5025::SOCKET`, `TCPIP::10.0.0.7::inst0::INSTR`.")
    ]
    terminator: Annotated[
        Literal["LF", "CRLF", "CR"],
        Field(description="What ends a line sent; answers may end with LF or CR+LF, and with CR alone where it is CR."),
    ] = "LF"
    timeout_s: Annotated[Positive, Field(description="How long an answer may take, s.")] = 2.0
    spacing_s: Annotated[float, Field(ge=0, le=1, description="Pause between two commands, s.")] = 0.0

    @property
    def where(self) -> object:
        """What tells this address from another; None when it is still to be chosen."""
        return self.address


class SerialLinkConfig(Strict):
    """Text instruments on a serial port, 8N1, or behind a `socket://host:port` serial server; several on RS-485."""

    kind: Literal["serial"]
    port: Annotated[str, Field(description="`/dev/ttyUSB0`, or `socket://host:port` of a serial server.")]
    baudrate: Annotated[int, Field(description="Bits per second.")] = 9600
    terminator: Annotated[
        Literal["LF", "CRLF", "CR"], Field(description="What ends a line sent; answers may end with LF or CR+LF.")
    ] = "CRLF"
    timeout_s: Annotated[Positive, Field(description="How long an answer may take, s.")] = 2.0
    spacing_s: Annotated[float, Field(ge=0, le=1, description="Pause between two commands, s.")] = 0.0

    @property
    def where(self) -> object:
        return self.port


class XmlTcpLinkConfig(Strict):
    """A server of XML messages that end with two line feeds, a hash, CR and LF (Neware BTS); for several channels."""

    kind: Literal["xml_tcp"]
    host: Annotated[str, Field(description="Name or address of the server.")]
    port: Annotated[Port, Field(description="Its TCP port.")] = 502
    timeout_s: Annotated[Positive, Field(description="How long an answer may take, s.")] = 2.0

    @property
    def where(self) -> object:
        return (self.host, self.port) if self.port else None


class ModbusTcpLinkConfig(Strict):
    """A Modbus TCP server."""

    kind: Literal["modbus_tcp"]
    host: Annotated[str, Field(description="Name or address of the server.")]
    port: Annotated[Port, Field(description="Its TCP port.")] = 502
    timeout_s: Annotated[Positive, Field(description="How long an answer may take, s.")] = 2.0

    @property
    def where(self) -> object:
        return (self.host, self.port) if self.port else None


class ModbusRtuLinkConfig(Strict):
    """A Modbus RTU bus on a serial port; 8N1."""

    kind: Literal["modbus_rtu"]
    port: Annotated[str, Field(description="Serial port of the bus.")]
    baudrate: Annotated[int, Field(description="Bits per second.")] = 9600
    timeout_s: Annotated[Positive, Field(description="How long an answer may take, s.")] = 1.0

    @property
    def where(self) -> object:
        return self.port


LinkConfig = Annotated[
    VisaLinkConfig | SerialLinkConfig | XmlTcpLinkConfig | ModbusTcpLinkConfig | ModbusRtuLinkConfig,
    Field(discriminator="kind"),
]


class Accuracy(Strict):
    """Limits of an instrument's gain errors in % of the reading, from its calibration or its data sheet."""

    voltage_percent: Annotated[float, Field(ge=0, le=10, description="Of voltages.")] = 0.0
    current_percent: Annotated[float, Field(ge=0, le=10, description="Of currents.")] = 0.0


class InstrumentConfig(Strict):
    """One instrument of a station. `model` and `serial` are what it must answer; empty means not checked."""

    driver: Annotated[str, Field(description="The driver that talks to it.")]
    link: Annotated[LinkConfig, Field(description="How it is reached.")]
    model: Annotated[str, Field(description="What its identity must name; not checked when empty.")] = ""
    serial: Annotated[str, Field(description="The serial number it must have; not checked when empty.")] = ""
    scan_period_s: Annotated[
        Positive | None, Field(description="Time between two readings, s, when it is slower than the station.")
    ] = None
    calibration_due: Annotated[
        date | None, Field(description="When its calibration ends, `2027-03-31`; it goes into every result.")
    ] = None
    accuracy: Annotated[
        Accuracy, Field(description="The cycler's is in the uncertainty of every result; 0 is left out of it.")
    ] = Accuracy()
    settings: Annotated[dict[str, Any], Field(description="Settings of its driver.")] = {}

    @property
    def is_shared(self) -> bool:
        """On a bus, where `settings.address` tells it from its neighbours on the same link."""
        is_bus = isinstance(self.link, SerialLinkConfig | XmlTcpLinkConfig)
        return is_bus and bool(self.link.where) and "address" in self.settings


class StationRatings(Strict):
    """What the station's cables, contactors and fuses stand; no recipe may ask for more."""

    max_voltage_v: Annotated[Positive, Field(description="V.")]
    max_charge_current_a: Annotated[Positive, Field(description="A into the battery.")]
    max_discharge_current_a: Annotated[Positive, Field(description="A out of the battery.")]
    max_power_w: Annotated[Positive, Field(description="W, either way.")]


class StationConfig(Strict):
    """One place where a battery is evaluated."""

    scan_period_s: Annotated[Positive, Field(description="Time between two scans of all its instruments, s.")] = 1.0
    ratings: Annotated[StationRatings, Field(description="What it stands; no recipe may ask for more.")]
    watchdog_s: Annotated[
        float,
        Field(
            ge=1,
            le=60,
            description="After so long without a word from the daemon the cycler switches off by itself, s.",
        ),
    ] = 5.0
    impedance_probe_cells: Annotated[
        tuple[int, int] | None,
        Field(description="Cells that the probes of the impedance meter span, first and last, from 1."),
    ] = None
    instruments: Annotated[dict[str, InstrumentConfig], Field(description="Its instruments, by role.")]

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

    enterprise: Annotated[Name, Field(description="First level of the MQTT topics.")]
    site: Annotated[Name, Field(description="Second level.")]
    area: Annotated[Name, Field(description="Third level.")]
    name: Annotated[Name, Field(description="Fourth level: the line.")]


class HttpConfig(Strict):
    """The API for the command line and the operator page. Loopback only."""

    host: Annotated[Literal["127.0.0.1", "::1", "localhost"], Field(description="Loopback only.")] = "127.0.0.1"
    port: Annotated[Port, Field(description="TCP port; 0 for any free one.")] = 8470


class ResultDelivery(Strict):
    """When a result is delivered: no broker can promise that the MES has what was published."""

    closed_by: Annotated[
        Literal["ack", "puback"],
        Field(
            description="`ack`: the MES says on `<station>/result/ack` that it has stored it; until then it is sent "
            "again. `puback`: the broker has it. What a broker loses is then lost: for a MES that cannot answer."
        ),
    ] = "ack"
    ack_within_s: Annotated[
        float,
        Field(ge=0.1, le=60, description="Time the MES has to answer before a result is sent again, s; doubles to 60."),
    ] = 5.0


class OutboxConfig(Strict):
    """How much may wait for broker and MES. At the bound new runs are refused; nothing is ever thrown away."""

    max_messages: Annotated[int, Field(ge=1, description="Messages: results, events, replies.")] = 50_000
    max_mb: Annotated[Positive, Field(description="Their size, MB.")] = 500.0
    alarm_after_s: Annotated[Positive, Field(description="Age of the oldest one that raises an alarm, s.")] = 300.0


class Delivery(Strict):
    """What holds for every broker."""

    results: Annotated[ResultDelivery, Field(description="When a result is delivered.")] = ResultDelivery()
    outbox: Annotated[OutboxConfig, Field(description="How much may wait.")] = OutboxConfig()


class EmbeddedBroker(Delivery):
    """The NATS server Evaline starts itself, on loopback only."""

    kind: Annotated[Literal["embedded"], Field(description="The server Evaline starts.")] = "embedded"
    port: Annotated[Port, Field(description="TCP port on loopback; 0 for any free one.")] = 18830


BrokerUrl = Annotated[
    str, StringConstraints(pattern=r"^mqtts?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?$", max_length=300)
]


class ExternalBroker(Delivery):
    """Any MQTT broker, MQTT 5 or 3.1.1."""

    kind: Annotated[Literal["external"], Field(description="May be left out.")] = "external"
    url: Annotated[
        BrokerUrl | Annotated[list[BrokerUrl], Field(min_length=1, max_length=16)],
        Field(description="`mqtts://broker.plant.example:8883`, or a list of the cluster's nodes, tried in turn."),
    ]
    username: Annotated[str | None, Field(description="For its login.")] = None
    password_file: Annotated[str | None, Field(description="A file that holds the password alone.")] = None
    ca_file: Annotated[
        str | None, Field(description="PEM file of the authority that signed the broker's certificate.")
    ] = None
    cert_file: Annotated[str | None, Field(description="PEM file of the line's own certificate.")] = None
    key_file: Annotated[str | None, Field(description="PEM file of its key.")] = None
    insecure: Annotated[
        bool,
        Field(description="Allow what anybody on the network can read, change or forge: no login, or no TLS."),
    ] = False

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.url,) if isinstance(self.url, str) else tuple(self.url)

    @model_validator(mode="after")
    def who_we_are(self) -> ExternalBroker:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together")
        has_tls = all(url.startswith("mqtts://") for url in self.urls)
        if not has_tls and (self.cert_file or self.ca_file):
            raise ValueError("certificates need mqtts://")
        if self.insecure:
            return self
        if self.username is None and self.cert_file is None:
            raise ValueError(
                "anonymous: give username and password_file, or cert_file and key_file; or say `insecure: true`"
            )
        local = ("mqtt://127.0.0.1", "mqtt://localhost", "mqtt://[::1]", "mqtts://")
        if not all(url.startswith(local) for url in self.urls):
            raise ValueError("the password would cross the network in the clear: use mqtts://; or say `insecure: true`")
        return self


class NoBroker(Strict):
    """Publish nothing; results wait in the outbox, without a bound."""

    kind: Annotated[Literal["none"], Field(description="No broker.")]


def _with_kind(value: Any) -> Any:
    """A `url` alone says that it is somebody else's broker."""
    return {"kind": "external", **value} if isinstance(value, dict) and "url" in value else value


BrokerConfig = Annotated[
    Annotated[EmbeddedBroker | ExternalBroker | NoBroker, Field(discriminator="kind")], BeforeValidator(_with_kind)
]


# what every broker takes as a level of a topic; the specification forbids `/`, `+` and `#` only
SparkplugId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class SparkplugConfig(Strict):
    """A Sparkplug B edge node beside the topics for the MES: live telemetry and state of every station."""

    group_id: Annotated[SparkplugId, Field(description="First part of its name in the plant.")]
    edge_node_id: Annotated[SparkplugId, Field(description="Second part; no other node of the group may have it.")]
    primary_host: Annotated[
        SparkplugId | None,
        Field(description="The host without which data is stored instead of sent; none is waited for when empty."),
    ] = None
    datatype_in_data: Annotated[
        bool, Field(description="Name the data type in every message, for hosts that do not remember it from births.")
    ] = False
    stored_values: Annotated[
        int, Field(ge=0, le=1_000_000, description="How many values of each station wait for the host at most.")
    ] = 10_000
    broker: Annotated[
        ExternalBroker | None, Field(description="Another broker than the one that results are published to.")
    ] = None

    @model_validator(mode="after")
    def delivers_no_results(self) -> SparkplugConfig:
        if self.broker is not None and self.broker.model_fields_set & Delivery.model_fields.keys():
            raise ValueError("results and outbox belong to the line's own broker")
        return self


MesCommand = Literal[
    "store", "start", "store_and_start", "hold", "resume", "suspend", "abort", "stop", "cancel", "acknowledge",
    "reset", "clear",
]  # fmt: skip


class MesConfig(Strict):
    """What the MES may do, beside what the broker lets through."""

    actors: Annotated[
        dict[str, list[MesCommand]],
        Field(description="Which `actor` may give which commands; empty: all whom the broker lets publish."),
    ] = {}
    recipes: Annotated[
        str | None, Field(description="Directory with recipes that work orders can name besides the library's.")
    ] = None
    clock_skew_s: Annotated[
        float, Field(ge=0, le=3600, description="How far the clocks of MES and line may be apart, s.")
    ] = 30.0


class LineConfig(Strict):
    """A whole line file."""

    schema_version: Annotated[
        Literal["evaline/line/1"], Field(alias="schema", description="What this file is, and which version of that.")
    ]
    line: Annotated[LineIdentity, Field(description="Where the line stands.")]
    state_dir: Annotated[str, Field(description="Where journal, data and reports go.")] = "var"
    http: Annotated[HttpConfig, Field(description="The API of the daemon.")] = HttpConfig()
    broker: Annotated[BrokerConfig, Field(description="Where results are published.")] = EmbeddedBroker()
    sparkplug: Annotated[
        SparkplugConfig | None, Field(description="Live data for Sparkplug B hosts; none when empty.")
    ] = None
    mes: Annotated[MesConfig, Field(description="Who may command the line from outside.")] = MesConfig()
    grade_rules: Annotated[str, Field(description="Which rules give the grades.")] = "default"
    grade_parameters: Annotated[
        dict[str, str | int | bool], Field(description="Thresholds of this site, in place of the rules' own.")
    ] = {}
    stations: Annotated[dict[Name, StationConfig], Field(description="The stations, by name.")]
    simulation: Annotated[
        SimulationConfig | None, Field(description="What is simulated; for a line without hardware.")
    ] = None

    @model_validator(mode="after")
    def at_least_one_station(self) -> LineConfig:
        if not self.stations:
            raise ValueError("a line needs at least one station")
        return self

    @model_validator(mode="after")
    def sparkplug_has_a_broker(self) -> LineConfig:
        if self.sparkplug is not None and self.sparkplug.broker is None and isinstance(self.broker, NoBroker):
            raise ValueError("sparkplug needs a broker: the line's, or one of its own")
        return self

    @model_validator(mode="after")
    def topics_apart(self) -> LineConfig:
        for name in self.stations:
            if name in RESERVED:
                raise TopicError(name, "the line's own topics have that name", "라인의 토픽 이름입니다")
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
    return validate_line(read_document(path, MAX_LINE_VALUES))


def validate_line(document: Document) -> LineConfig:
    """Validate a parsed line file; raises FaultyDocumentError."""
    try:
        return LineConfig.model_validate(document.data)
    except ValidationError as error:
        raise FaultyDocumentError(validation_errors(document, error, "E-CONFIG", LineConfig)) from None
