"""Sparkplug B payloads: bytes to dataclasses and back.

The messages are described by the table below, from the field numbers of the Sparkplug 3.0 specification, chapter 6, and
built at import; so any protobuf runtime will do and there is no generated code. DataSet, Template and MetaData are left
out: nothing of ours sends them, and a metric that has one counts as a metric without a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

MAX_BYTES = 64 * 1024  # of a payload from outside
MAX_METRICS = 256  # in one payload from outside

_F = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "evaline.sparkplug"
_SCALARS = {
    "uint32": _F.TYPE_UINT32,
    "uint64": _F.TYPE_UINT64,
    "float": _F.TYPE_FLOAT,
    "double": _F.TYPE_DOUBLE,
    "bool": _F.TYPE_BOOL,
    "string": _F.TYPE_STRING,
    "bytes": _F.TYPE_BYTES,
}

# message -> its fields as (number, type, name): `*` before a type repeats it, `?` makes it a case of the one value
_MESSAGES: dict[str, tuple[tuple[int, str, str], ...]] = {
    "Payload": (
        (1, "uint64", "timestamp"),
        (2, "*Metric", "metrics"),
        (3, "uint64", "seq"),
        (4, "string", "uuid"),
        (5, "bytes", "body"),
    ),
    "Metric": (
        (1, "string", "name"),
        (2, "uint64", "alias"),
        (3, "uint64", "timestamp"),
        (4, "uint32", "datatype"),
        (5, "bool", "is_historical"),
        (6, "bool", "is_transient"),
        (7, "bool", "is_null"),
        (9, "PropertySet", "properties"),
        (10, "?uint32", "int_value"),
        (11, "?uint64", "long_value"),
        (12, "?float", "float_value"),
        (13, "?double", "double_value"),
        (14, "?bool", "boolean_value"),
        (15, "?string", "string_value"),
        (16, "?bytes", "bytes_value"),
    ),
    "PropertySet": ((1, "*string", "keys"), (2, "*PropertyValue", "values")),
    "PropertyValue": (
        (1, "uint32", "type"),
        (2, "bool", "is_null"),
        (3, "?uint32", "int_value"),
        (4, "?uint64", "long_value"),
        (5, "?float", "float_value"),
        (6, "?double", "double_value"),
        (7, "?bool", "boolean_value"),
        (8, "?string", "string_value"),
    ),
}


def _payload_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="evaline_sparkplug.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for number, kind, field in fields:
            made = described.field.add(name=field, number=number)
            made.label = _F.LABEL_REPEATED if kind.startswith("*") else _F.LABEL_OPTIONAL
            if kind.startswith("?"):
                made.oneof_index = 0
            kind = kind.lstrip("*?")
            if kind in _SCALARS:
                made.type = _SCALARS[kind]
            else:
                made.type, made.type_name = _F.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
        if any(kind.startswith("?") for _, kind, _ in fields):
            described.oneof_decl.add(name="value")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName(f"{_PACKAGE}.Payload")
    payload_class: type[Any] = message_factory.GetMessageClass(found)
    return payload_class


ProtobufPayload = _payload_class()


class DataType(IntEnum):
    """The specification's numbers of its basic data types."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    BYTES = 17
    FILE = 18


class Quality(IntEnum):
    """The specification's quality codes."""

    BAD = 0
    GOOD = 192
    STALE = 500


# UInt32 goes into the 64-bit field, as the implementations of the Eclipse Foundation have it; read from either
_FIELD = {
    **dict.fromkeys((DataType.INT8, DataType.INT16, DataType.INT32, DataType.UINT8, DataType.UINT16), "int_value"),
    **dict.fromkeys((DataType.INT64, DataType.UINT32, DataType.UINT64, DataType.DATETIME), "long_value"),
    **dict.fromkeys((DataType.STRING, DataType.TEXT, DataType.UUID), "string_value"),
    **dict.fromkeys((DataType.BYTES, DataType.FILE), "bytes_value"),
    DataType.FLOAT: "float_value",
    DataType.DOUBLE: "double_value",
    DataType.BOOLEAN: "boolean_value",
}
_SIGNED_BITS = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_UNSIGNED_BITS = {
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
    DataType.DATETIME: 64,
}
_WIDTH = {"int_value": 32, "long_value": 64}

MetricValue = bool | int | float | str | bytes | None


class PayloadError(ValueError):
    """Bytes that are not a payload we can trust; `code` is stable."""

    code = "E-SPARKPLUG-PAYLOAD"

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.code}]"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Times are ms since the epoch, UTC; a value of None is null; `unit` and `quality` are properties.

    Where a sender left out the data type, it is None and an integer is as it was on the wire: unsigned.
    """

    value: MetricValue
    datatype: DataType | None
    name: str = ""
    alias: int | None = None
    timestamp: int | None = None
    historical: bool = False
    quality: Quality | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload; the timestamp is in ms since the epoch, UTC."""

    timestamp: int | None
    metrics: tuple[Metric, ...]
    seq: int | None = None


def encode(payload: Payload, *, with_datatypes: bool = True) -> bytes:
    """The bytes of a payload. Every metric needs its data type, even where it is not sent; ValueError for a value
    beyond it."""
    made = ProtobufPayload()
    if payload.timestamp is not None:
        made.timestamp = payload.timestamp
    if payload.seq is not None:
        made.seq = payload.seq
    for metric in payload.metrics:
        _put(made.metrics.add(), metric, with_datatypes)
    return bytes(made.SerializeToString())


def _put(made: Any, metric: Metric, with_datatype: bool) -> None:
    datatype = metric.datatype
    if datatype is None:
        raise ValueError(f"metric {metric.name or metric.alias} has no data type")
    if metric.name:
        made.name = metric.name
    if metric.alias is not None:
        made.alias = metric.alias
    if metric.timestamp is not None:
        made.timestamp = metric.timestamp
    if with_datatype:
        made.datatype = datatype
    if metric.historical:
        made.is_historical = True
    if metric.value is None:
        made.is_null = True
    else:
        setattr(made, _FIELD[datatype], _on_the_wire(metric.value, datatype))
    if metric.quality is not None:
        made.properties.keys.append("Quality")
        made.properties.values.add(type=DataType.INT32, int_value=metric.quality)
    if metric.unit:
        made.properties.keys.append("engUnit")
        made.properties.values.add(type=DataType.STRING, string_value=metric.unit)


def _on_the_wire(value: MetricValue, datatype: DataType) -> MetricValue:
    if datatype in _SIGNED_BITS or datatype in _UNSIGNED_BITS:
        if not isinstance(value, int) or not _fits(value, datatype):
            raise ValueError(f"{value!r} is no {datatype.name}")
        return value % (1 << _WIDTH[_FIELD[datatype]])
    return value


def _fits(value: int, datatype: DataType) -> bool:
    if datatype in _SIGNED_BITS:
        half = 1 << (_SIGNED_BITS[datatype] - 1)
        return -half <= value < half
    return 0 <= value < 1 << _UNSIGNED_BITS[datatype]


def decode(data: bytes) -> Payload:
    """The payload in bytes from outside; raises PayloadError for anything that is not one."""
    if len(data) > MAX_BYTES:
        raise PayloadError(f"{len(data)} bytes are more than a payload may have ({MAX_BYTES})")
    try:
        made = ProtobufPayload.FromString(data)
        if len(made.metrics) > MAX_METRICS:
            raise PayloadError(f"{len(made.metrics)} metrics are more than a payload may have ({MAX_METRICS})")
        metrics = tuple(_get(metric) for metric in made.metrics)
    except message.DecodeError:
        raise PayloadError("not a Sparkplug B payload") from None
    return Payload(_optional(made, "timestamp"), metrics, _optional(made, "seq"))


def _optional(made: Any, field: str) -> int | None:
    return int(getattr(made, field)) if made.HasField(field) else None


def _get(made: Any) -> Metric:
    properties = dict(_properties(made.properties.keys, made.properties.values))
    quality, unit = properties.get("Quality"), properties.get("engUnit")
    datatype = None
    if made.HasField("datatype"):
        try:
            datatype = DataType(made.datatype)
        except ValueError:
            raise PayloadError(f"a metric of data type {made.datatype} is not understood") from None
    return Metric(
        value=None if made.is_null else _value(made, datatype),
        datatype=datatype,
        name=_text(made.name),
        alias=_optional(made, "alias"),
        timestamp=_optional(made, "timestamp"),
        historical=made.is_historical,
        quality=Quality(quality) if isinstance(quality, int) and quality in tuple(Quality) else None,
        unit=unit if isinstance(unit, str) else "",
    )


def _properties(keys: Sequence[str], values: Sequence[Any]) -> Iterator[tuple[str, MetricValue]]:
    if len(keys) != len(values):
        raise PayloadError(f"a property set has {len(keys)} keys and {len(values)} values")
    for key, value in zip(keys, values, strict=True):
        field = value.WhichOneof("value")
        found = None if field is None else getattr(value, field)
        yield _text(key), _text(found) if field == "string_value" else found


def _text(value: Any) -> str:
    """The protobuf runtime hands out text that is not UTF-8 as its bytes."""
    if not isinstance(value, str):
        raise PayloadError("text that is not UTF-8")
    return value


def _value(made: Any, datatype: DataType | None) -> MetricValue:
    field = made.WhichOneof("value")
    if field is None:
        raise PayloadError("a metric has no value that is understood and is not null")
    value: MetricValue = getattr(made, field)
    if field == "string_value":
        value = _text(value)
    if datatype is None:
        return value
    expected = _FIELD[datatype]
    if expected in _WIDTH and field in _WIDTH and isinstance(value, int):
        signed = _signed(value, _SIGNED_BITS.get(datatype), _WIDTH[field])
        if not _fits(signed, datatype):
            raise PayloadError(f"{signed} is no {datatype.name}")
        return signed
    if field != expected:
        raise PayloadError(f"a metric of type {datatype.name} has a {field}")
    return value


def _signed(value: int, bits: int | None, width: int) -> int:
    """A negative number is the two's complement of the field, or of the type itself: senders differ."""
    if bits is None:
        return value
    if value >> (width - 1):
        return value - (1 << width)
    return value - (1 << bits) if 1 << (bits - 1) <= value < 1 << bits else value
