"""Who may say and hear what at a broker, declared once, and written down for Mosquitto and NATS.

Every client has a certificate of its own, whose common name is its user: nobody is let in without one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from config.line import LineIdentity, SparkplugConfig

Kind = Literal["mosquitto", "nats"]

VALID_DAYS = 365


@dataclass(frozen=True, slots=True)
class Client:
    """A user, and the topic filters it may publish to and subscribe to."""

    user: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def clients(line: LineIdentity, sparkplug: SparkplugConfig | None = None) -> tuple[Client, ...]:
    """The line itself, the MES, somebody who only looks, and with Sparkplug its host application."""
    root = f"{line.enterprise}/{line.site}/{line.area}/{line.name}"
    stations = f"{line.enterprise}/+/+/+/+"
    own = ("connection", "orders", "wip", "totals")
    said = ("connection", "info", "state", "event/+", "result", "cmd/reply", "telemetry")
    publish = tuple(f"{root}/{name}" for name in own) + tuple(f"{root}/+/{name}" for name in said)
    hear: tuple[str, ...] = (f"{root}/+/cmd", f"{root}/+/result/ack")
    others: tuple[Client, ...] = (
        Client("mes", (f"{stations}/cmd", f"{stations}/result/ack"), (f"{line.enterprise}/#",)),
        Client("viewer", (), (f"{line.enterprise}/#",)),
    )
    if sparkplug is not None:
        group, node = f"spBv1.0/{sparkplug.group_id}", sparkplug.edge_node_id
        publish += tuple(f"{group}/{kind}/{node}" for kind in ("NBIRTH", "NDATA", "NDEATH"))
        publish += tuple(f"{group}/{kind}/{node}/+" for kind in ("DBIRTH", "DDATA", "DDEATH"))
        states = f"spBv1.0/STATE/{sparkplug.primary_host or '+'}"
        hear += (f"{group}/NCMD/{node}", f"{group}/DCMD/{node}/+", states)
        others += (Client("sparkplug-host", (f"{group}/NCMD/+", f"{group}/DCMD/+/+", states), ("spBv1.0/#",)),)
    return (Client(f"line-{line.name}", publish, hear), *others)


def write_example(
    kind: Kind, directory: Path, line: LineIdentity, host: str, port: int, now: float,
    sparkplug: SparkplugConfig | None = None,
) -> list[Path]:  # fmt: skip
    """A broker's configuration for this line, with a certificate authority to try it out; returns the files written.

    `host` is the broker's name or address, as its clients call it; `now` (unix seconds) begins the certificates.
    Raises OSError; FileExistsError when the directory is there already.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True)
    people = clients(line, sparkplug)
    written = _certificates(directory, host, [client.user for client in people], now)
    texts = _mosquitto(directory, port, people) if kind == "mosquitto" else _nats(directory, host, port, people)
    url = f"mqtts://{host}:{port}"
    user = people[0].user
    texts["line-file.yaml"] = (
        "# for the line file\n"
        f"broker:\n  url: {url}\n  ca_file: {directory / 'ca.pem'}\n"
        f"  cert_file: {directory / f'{user}.pem'}\n  key_file: {directory / f'{user}.key'}\n"
    )
    for name, text in texts.items():
        _write(directory / name, text.encode())
        written.append(directory / name)
    return written


def _mosquitto(directory: Path, port: int, people: tuple[Client, ...]) -> dict[str, str]:
    conf = f"""\
# Mosquitto 2 for an Evaline line: mosquitto -c {directory}/mosquitto.conf
listener {port}
cafile {directory}/ca.pem
certfile {directory}/server.pem
keyfile {directory}/server.key
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file {directory}/acl

# or every command and every result waits 40 ms for a delayed TCP acknowledgement
set_tcp_nodelay true
# what the line and the MES are told while they are away; a killed broker loses up to autosave_interval seconds of it,
# which costs no result: the line sends each again until the MES has stored it
persistence true
persistence_location {directory}/
autosave_interval 10
max_queued_messages 100000
# bytes: the longest payload that the line sends, and more than any packet of it
message_size_limit 8388608
max_packet_size 9437184
"""
    acl = "".join(
        f"user {client.user}\n"
        + "".join(f"topic write {topic}\n" for topic in client.publish)
        + "".join(f"topic read {topic}\n" for topic in client.subscribe)
        + "\n"
        for client in people
    )
    return {"mosquitto.conf": conf, "acl": acl}


def _nats(directory: Path, host: str, port: int, people: tuple[Client, ...]) -> dict[str, str]:
    def listed(subjects: list[str]) -> str:
        return "[" + ", ".join(f'"{subject}"' for subject in subjects) + "]"

    users = "".join(
        f"""\
    {{ user: "CN={client.user}", permissions: {{
        publish: {listed([s for topic in client.publish for s in _subjects(topic)] or ["evaline.nothing"])}
        subscribe: {listed(["$MQTT.sub.>", *(s for topic in client.subscribe for s in _subjects(topic))])} }} }}
"""
        for client in people
    )
    conf = f"""\
# NATS 2.12 or newer for an Evaline line: nats-server -c {directory}/nats.conf
server_name: evaline-{host.replace(".", "-")}
# NATS's own protocol: nobody here speaks it
listen: "127.0.0.1:-1"
max_payload: 8MB
# sync_interval: what a power cut may cost; a killed server loses nothing
jetstream {{ store_dir: "{directory}/store", sync_interval: "1s" }}
mqtt {{
  listen: "0.0.0.0:{port}"
  ack_wait: "2s"
  max_ack_pending: 100
  tls {{
    ca_file: "{directory}/ca.pem", cert_file: "{directory}/server.pem", key_file: "{directory}/server.key"
    # the common name of the client's certificate is its user below
    verify_and_map: true
  }}
}}
authorization {{
  users: [
{users}  ]
}}
"""
    return {"nats.conf": conf}


def _subjects(topic: str) -> list[str]:
    """NATS's names for an MQTT topic filter: a dot in a level becomes `//`, and `#` takes the level above as well."""
    subject = topic.replace(".", "//").replace("/", ".").replace("..", "//").replace("+", "*")
    return [subject.removesuffix(".#"), subject.removesuffix("#") + ">"] if topic.endswith("/#") else [subject]


def _certificates(directory: Path, host: str, users: list[str], now: float) -> list[Path]:
    """An authority that signs one certificate for the broker and one for each user; its own key is not kept."""
    begin = datetime.fromtimestamp(now, UTC) - timedelta(minutes=5)
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Evaline example authority")])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())

    def signed(name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=VALID_DAYS))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca = signed(
        issuer, authority, (x509.BasicConstraints(ca=True, path_length=0), True), (usage, True), (identifier, False)
    )
    _write(directory / "ca.pem", ca)
    written = [directory / "ca.pem"]
    for user in ("server", *users):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host if user == "server" else user)])
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if user == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
        alternative = x509.SubjectAlternativeName([_general_name(host)] if user == "server" else [x509.DNSName(user)])
        by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        extensions = ((x509.ExtendedKeyUsage([purpose]), False), (alternative, False), (by, False))
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for suffix, data in ((".pem", signed(name, key, *extensions)), (".key", encoded)):
            _write(directory / f"{user}{suffix}", data)
            written.append(directory / f"{user}{suffix}")
    return written


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, data: bytes) -> None:
    """Readable by its owner alone: some of these files are keys."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
