"""Payloads: what we write others read, what others write we read, and what is no payload is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.sparkplug.payload import (
    MAX_BYTES,
    MAX_METRICS,
    DataType,
    Metric,
    MetricValue,
    Payload,
    PayloadError,
    Quality,
    decode,
    encode,
)
from tests.independent import node_package, program

U64 = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES: dict[DataType, st.SearchStrategy[Any]] = {
    DataType.INT8: st.integers(-(2**7), 2**7 - 1),
    DataType.INT16: st.integers(-(2**15), 2**15 - 1),
    DataType.INT32: st.integers(-(2**31), 2**31 - 1),
    DataType.INT64: st.integers(-(2**63), 2**63 - 1),
    DataType.UINT8: st.integers(0, 2**8 - 1),
    DataType.UINT16: st.integers(0, 2**16 - 1),
    DataType.UINT32: st.integers(0, 2**32 - 1),
    DataType.UINT64: U64,
    DataType.FLOAT: st.floats(width=32, allow_nan=False),
    DataType.DOUBLE: st.floats(allow_nan=False),
    DataType.BOOLEAN: st.booleans(),
    DataType.STRING: TEXT,
    DataType.DATETIME: U64,
    DataType.TEXT: TEXT,
    DataType.UUID: st.uuids().map(str),
    DataType.BYTES: st.binary(max_size=20),
    DataType.FILE: st.binary(max_size=20),
}


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    datatype = draw(st.sampled_from(DataType))
    return Metric(
        value=draw(st.none() | VALUES[datatype]),
        datatype=datatype,
        name=draw(TEXT),
        alias=draw(st.none() | U64),
        timestamp=draw(st.none() | U64),
        historical=draw(st.booleans()),
        quality=draw(st.none() | st.sampled_from(Quality)),
        unit=draw(TEXT),
    )


payloads = st.builds(Payload, st.none() | U64, st.lists(metrics(), max_size=5).map(tuple), st.none() | U64)


@given(payloads)
def test_what_is_encoded_is_decoded_the_same(payload: Payload) -> None:
    assert decode(encode(payload)) == payload


@given(st.sampled_from(DataType), st.data())
def test_without_data_types_values_of_one_field_are_as_on_the_wire(datatype: DataType, data: st.DataObject) -> None:
    value = data.draw(VALUES[datatype])
    (metric,) = decode(encode(Payload(1, (Metric(value, datatype, alias=1),)), with_datatypes=False)).metrics
    assert metric.datatype is None
    if isinstance(value, int) and value < 0:
        assert isinstance(metric.value, int)
        assert metric.value in (value + 2**32, value + 2**64)
    else:
        assert metric.value == value


@given(st.binary(max_size=300))
def test_any_bytes_are_a_payload_or_refused(data: bytes) -> None:
    try:
        payload = decode(data)
    except PayloadError as error:
        refusal = str(error)
    else:
        assert len(payload.metrics) <= MAX_METRICS
        return
    assert refusal.endswith("[E-SPARKPLUG-PAYLOAD]")
    assert "\n" not in refusal


@given(payloads, st.data())
def test_a_damaged_payload_is_a_payload_or_refused(payload: Payload, data: st.DataObject) -> None:
    """Whatever is still understood can be said again: nothing half-read comes through."""
    encoded = bytearray(encode(payload)) or bytearray(b"\0")
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode(bytes(encoded))
    except PayloadError:
        return
    if all(metric.datatype is not None for metric in read.metrics):
        again = decode(encode(read))
        assert again == read or any(_is_nan(metric.value) for metric in read.metrics)


def _is_nan(value: MetricValue) -> bool:
    return isinstance(value, float) and math.isnan(value)


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (DataType.INT8, 128),
        (DataType.INT8, -129),
        (DataType.UINT8, -1),
        (DataType.UINT16, 2**16),
        (DataType.INT64, 2**63),
        (DataType.DATETIME, -1),
        (DataType.INT32, "7"),
        (DataType.INT32, 1.5),
    ],
)
def test_a_value_beyond_its_type_is_not_sent(datatype: DataType, value: Any) -> None:
    with pytest.raises(ValueError, match=datatype.name):
        encode(Payload(1, (Metric(value, datatype, "x"),)))


def _metric(*fields: bytes) -> bytes:
    inside = b"".join(fields)
    return b"\x12" + bytes([len(inside)]) + inside


TYPE, INT, TEXT_VALUE, NULL = b"\x20", b"\x50", b"\x7a", b"\x38\x01"

REFUSED = {
    "no value": (_metric(TYPE + b"\x03"), "no value"),
    "a DataSet": (_metric(TYPE + b"\x10", b"\x8a\x01\x00"), "data type 16"),
    "a DataSet that claims to be a number": (_metric(TYPE + b"\x03", b"\x8a\x01\x00"), "no value"),
    "a Template": (_metric(TYPE + b"\x13", b"\x92\x01\x00"), "data type 19"),
    "an unknown type": (_metric(TYPE + b"\x63", INT + b"\x01"), "data type 99"),
    "a text that claims to be a number": (_metric(TYPE + b"\x03", TEXT_VALUE + b"\x01a"), "INT32 has a string_value"),
    "a number beyond its type": (_metric(TYPE + b"\x05", INT + b"\xac\x02"), "300 is no UINT8"),
    "text that is not UTF-8": (_metric(TYPE + b"\x0c", TEXT_VALUE + b"\x01\xff"), "not UTF-8"),
    "a name that is not UTF-8": (_metric(NULL, b"\x0a\x01\xff"), "not UTF-8"),
    "keys without values": (_metric(NULL, b"\x4a\x03\x0a\x01k"), "1 keys and 0 values"),
    "cut off": (b"\x12\x05\x0a", "not a Sparkplug B payload"),
    "too many metrics": (_metric(NULL) * (MAX_METRICS + 1), "more than a payload may have"),
    "too long": (b"\0" * (MAX_BYTES + 1), "more than a payload may have"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_payload_is_refused_in_one_line(what: str) -> None:
    data, why = REFUSED[what]
    with pytest.raises(PayloadError, match=why):
        decode(data)


@pytest.mark.parametrize("wire", [b"\xff\x01", b"\xff\xff\xff\xff\x0f"], ids=["of its own width", "of 32 bits"])
def test_a_negative_int8_is_read_in_both_ways_that_others_write_it(wire: bytes) -> None:
    (metric,) = decode(_metric(TYPE + b"\x01", INT + wire)).metrics
    assert metric.value == -1


def test_nothing_of_protobuf_is_loaded_by_a_daemon_without_sparkplug() -> None:
    script = "import sys, controller.daemon; sys.exit('google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# ------------------------------------------------------------------------ an independent implementation of the format

EXAMPLES: dict[DataType, tuple[MetricValue, ...]] = {
    DataType.INT8: (-128, -1, 127),
    DataType.INT16: (-32768, 32767),
    DataType.INT32: (-(2**31), 2**31 - 1),
    DataType.INT64: (-(2**63), 2**63 - 1),
    DataType.UINT8: (0, 255),
    DataType.UINT16: (0, 65535),
    DataType.UINT32: (0, 2**31 - 1),  # sparkplug-payload turns greater ones negative
    DataType.UINT64: (0, 2**64 - 1),
    DataType.FLOAT: (-0.5, 1.5e30),
    DataType.DOUBLE: (-0.1, 1.7e308),
    DataType.BOOLEAN: (True, False),
    DataType.STRING: ("", "배터리 7"),
    DataType.DATETIME: (0, 1_767_225_600_123),
    DataType.TEXT: ("line one\nline two",),
    DataType.UUID: ("123e4567-e89b-12d3-a456-426614174000",),
    DataType.BYTES: (b"", b"\x00\xff"),
    DataType.FILE: (b"%PDF",),
}
MEASURED = (
    Metric(3.7, DataType.DOUBLE, "voltage", 900, 5, quality=Quality.GOOD, unit="V"),
    Metric(None, DataType.DOUBLE, "current", 901, 5, historical=True, quality=Quality.BAD, unit="A"),
)
OF_EVERY_TYPE = tuple(
    Metric(value, datatype, f"{datatype.name}/{n}", 10 * datatype + n, 1_767_225_600_001)
    for datatype, values in EXAMPLES.items()
    for n, value in enumerate((*values, None))
)
ALL_TYPES = Payload(1_767_225_600_000, (*OF_EVERY_TYPE, *MEASURED), seq=255)

# numbers as text, for those of 64 bits are no JavaScript numbers; bytes as hex
_TO_JSON = r"""
const { get } = require("sparkplug-payload"), spb = get("spBv1.0");
const shown = v => v === null || v === undefined ? null : v instanceof Uint8Array ? Buffer.from(v).toString("hex")
  : typeof v === "boolean" || typeof v === "string" ? v : String(v);
const chunks = [];
process.stdin.on("data", c => chunks.push(c)).on("end", () => {
  const p = spb.decodePayload(Buffer.concat(chunks));
  console.log(JSON.stringify({ timestamp: shown(p.timestamp), seq: shown(p.seq), metrics: p.metrics.map(m => ({
    name: m.name, alias: shown(m.alias), type: m.type, timestamp: shown(m.timestamp), value: shown(m.value),
    historical: m.isHistorical === true, properties: m.properties ?? null })) }));
});
"""
_FROM_JSON = r"""
const { get } = require("sparkplug-payload"), spb = get("spBv1.0");
const Long = require("long");
const chunks = [];
process.stdin.on("data", c => chunks.push(c)).on("end", () => {
  const p = JSON.parse(Buffer.concat(chunks));
  for (const m of p.metrics) {
    if (["Int64", "UInt64", "DateTime"].includes(m.type)) m.value = Long.fromString(m.value, m.type !== "Int64");
    if (["Bytes", "File"].includes(m.type)) m.value = Buffer.from(m.value, "hex");
  }
  process.stdout.write(spb.encodePayload(p));
});
"""
NPM_NAME = {
    **{datatype: datatype.name.capitalize() for datatype in DataType},
    DataType.UINT8: "UInt8",
    DataType.UINT16: "UInt16",
    DataType.UINT32: "UInt32",
    DataType.UINT64: "UInt64",
    DataType.DATETIME: "DateTime",
    DataType.UUID: "UUID",
}


def javascript(script: str, data: bytes) -> bytes:
    folder = node_package("sparkplug-payload")
    command = [program("node", "nodejs"), "-e", script]
    return subprocess.run(command, cwd=folder, input=data, stdout=subprocess.PIPE, check=True, timeout=30).stdout


def _shown(value: MetricValue) -> str | bool | None:
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, str | bool) else str(value)


def test_sparkplug_payload_of_npm_decodes_every_data_type_of_ours() -> None:
    read = json.loads(javascript(_TO_JSON, encode(ALL_TYPES)))
    assert (read["timestamp"], read["seq"]) == ("1767225600000", "255")
    assert len(read["metrics"]) == len(ALL_TYPES.metrics)
    for metric, theirs in zip(ALL_TYPES.metrics, read["metrics"], strict=True):
        assert metric.datatype is not None
        assert (theirs["name"], theirs["type"]) == (metric.name, NPM_NAME[metric.datatype])
        assert (theirs["alias"], theirs["timestamp"]) == (str(metric.alias), str(metric.timestamp))
        assert theirs["historical"] == metric.historical
        if isinstance(metric.value, float):
            assert float(theirs["value"]) == pytest.approx(metric.value)
        else:
            assert theirs["value"] == _shown(metric.value)
    properties = read["metrics"][-2]["properties"]
    assert properties["Quality"] == {"type": "Int32", "value": 192}
    assert properties["engUnit"] == {"type": "String", "value": "V"}


def test_we_decode_every_data_type_of_sparkplug_payload_of_npm() -> None:
    sent = [
        {"name": f"m/{datatype.value}", "type": NPM_NAME[datatype], "value": value, "timestamp": 7, "alias": alias}
        for alias, (datatype, value) in enumerate((d, v) for d, values in EXAMPLES.items() for v in values)
    ]
    for metric in sent:
        if metric["type"] in ("Int64", "UInt64", "DateTime"):
            metric["value"] = str(metric["value"])
        elif isinstance(metric["value"], bytes):
            metric["value"] = metric["value"].hex()
    payload = decode(javascript(_FROM_JSON, json.dumps({"timestamp": 5, "seq": 3, "metrics": sent}).encode()))
    assert (payload.timestamp, payload.seq) == (5, 3)
    expected = [(d, v) for d, values in EXAMPLES.items() for v in values]
    for (datatype, value), metric in zip(expected, payload.metrics, strict=True):
        assert metric.datatype is datatype
        assert metric.value == (pytest.approx(value) if isinstance(value, float) else value)
        assert (metric.name, metric.timestamp) == (f"m/{datatype.value}", 7)
