"""Who may say and hear what at a broker, declared once, and written down for Mosquitto and NATS.

Every client has a certificate of its own, whose common name is its user: nobody is let in without one.
"""

from __future__ import annotations

import os
import secrets
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
ROUTES_PORT = 6222  # where the nodes of a NATS cluster talk to each other
NODES = 3  # a cluster goes on without one of them


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
    kind: Kind, directory: Path, line: LineIdentity, hosts: tuple[str, ...], port: int, now: float,
    sparkplug: SparkplugConfig | None = None, others: tuple[LineIdentity, ...] = (),
) -> list[Path]:  # fmt: skip
    """A broker's configuration, with a certificate authority to try it out; returns the files written.

    `others` are further lines that use it. `hosts` are the broker's name or address, as its clients call it, or those
    of the three nodes of a NATS cluster. `now` (unix seconds) begins the certificates. Raises ValueError for other
    numbers of hosts; OSError, FileExistsError when the directory is there already.
    """
    nodes = len(set(hosts))
    if nodes != len(hosts) or nodes not in ((1, NODES) if kind == "nats" else (1,)):
        raise ValueError(f"give one host, or for nats {NODES} different ones")
    directory = directory.resolve()
    directory.mkdir(parents=True)
    people = (*(clients(other)[0] for other in others), *clients(line, sparkplug))
    written = _certificates(directory, hosts, [client.user for client in people], now)
    texts = _mosquitto(directory, port, people) if kind == "mosquitto" else _nats(directory, hosts, port, people)
    urls = [f"mqtts://{host}:{port}" for host in hosts]
    url = urls[0] if nodes == 1 else f"[{', '.join(urls)}]"
    for one in (line, *others):
        texts[f"{one.name}.yaml"] = (
            f"# for the line file of {one.name}\n"
            f"broker:\n  url: {url}\n  ca_file: {directory / 'ca.pem'}\n"
            f"  cert_file: {directory / f'line-{one.name}.pem'}\n  key_file: {directory / f'line-{one.name}.key'}\n"
        )
    for name, text in texts.items():
        _write(directory / name, text.encode())
        written.append(directory / name)
    return written


def _mosquitto(directory: Path, port: int, people: tuple[Client, ...]) -> dict[str, str]:
    conf = f"""\
# Mosquitto 2 for an Evaline line: mosquitto -c {directory}/mosquitto.conf
# Started by root, Mosquitto becomes this user, who alone may read these files. As a service it should be `mosquitto`:
# move the directory to where that user may go, correct the paths below, and `chown -R mosquitto` it.
user {_owner(directory)}
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


def _nats(directory: Path, hosts: tuple[str, ...], port: int, people: tuple[Client, ...]) -> dict[str, str]:
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
    replicas = cluster = ""
    if len(hosts) > 1:
        password = secrets.token_urlsafe(24)
        routes = ", ".join(f'"tls://node:{password}@{host}:{ROUTES_PORT}"' for host in hosts)
        replicas = f"  stream_replicas: {len(hosts)}\n"
        cluster = f"""\
cluster {{
  name: evaline
  listen: "0.0.0.0:{ROUTES_PORT}"
  # a node needs a certificate of this authority, as every client has one, and this password, which none has
  authorization {{ user: node, password: "{password}" }}
  routes: [{routes}]
  tls {{ CERTIFICATE, verify: true }}
}}
"""
    texts = {}
    for host, stem in zip(hosts, _stems(hosts), strict=True):
        name = f"nats{stem.removeprefix('server')}.conf"
        files = (
            ""
            if len(hosts) == 1
            else f"# on {host}, in a directory of the same name: this file, ca.pem, {stem}.pem and {stem}.key\n"
        )
        certificate = (
            f'ca_file: "{directory}/ca.pem", cert_file: "{directory}/{stem}.pem", key_file: "{directory}/{stem}.key"'
        )
        conf = f"""\
# NATS 2.12 or newer for an Evaline line: nats-server -c {directory}/{name}
{files}server_name: evaline-{host.replace(".", "-")}
# NATS's own protocol: nobody here speaks it
listen: "127.0.0.1:-1"
max_payload: 8MB
# sync_interval: what a power cut may cost; a killed server loses nothing
jetstream {{ store_dir: "{directory}/store{stem.removeprefix("server")}", sync_interval: "1s" }}
mqtt {{
  listen: "0.0.0.0:{port}"
  ack_wait: "2s"
  max_ack_pending: 100
{replicas}  # the common name of the client's certificate is its user below
  tls {{ CERTIFICATE, verify_and_map: true }}
}}
{cluster}authorization {{
  users: [
{users}  ]
}}
"""
        texts[name] = conf.replace("CERTIFICATE", certificate)
    return texts


def _stems(hosts: tuple[str, ...]) -> list[str]:
    """The names, without their ends, of the files of each host's certificate."""
    return ["server"] if len(hosts) == 1 else [f"server-{host}" for host in hosts]


def _subjects(topic: str) -> list[str]:
    """NATS's names for an MQTT topic filter: a dot in a level becomes `//`, and `#` takes the level above as well."""
    subject = topic.replace(".", "//").replace("/", ".").replace("..", "//").replace("+", "*")
    return [subject.removesuffix(".#"), subject.removesuffix("#") + ">"] if topic.endswith("/#") else [subject]


def _certificates(directory: Path, hosts: tuple[str, ...], users: list[str], now: float) -> list[Path]:
    """An authority that signs a certificate for each host and for each user; its own key is not kept."""
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
    as_server, as_client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    for stem, common, alternative, purposes in (
        # a node is a client of the other nodes
        *(
            (stem, host, _general_name(host), [as_server, as_client])
            for stem, host in zip(_stems(hosts), hosts, strict=True)
        ),
        *((user, user, x509.DNSName(user), [as_client]) for user in users),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        extensions = (
            (x509.ExtendedKeyUsage(purposes), False), (x509.SubjectAlternativeName([alternative]), False), (by, False),
        )  # fmt: skip
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for suffix, data in ((".pem", signed(name, key, *extensions)), (".key", encoded)):
            _write(directory / f"{stem}{suffix}", data)
            written.append(directory / f"{stem}{suffix}")
    return written


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:  # a user without a name is not root: Mosquitto does not look at it
        return "mosquitto"


def _write(path: Path, data: bytes) -> None:
    """Readable by its owner alone: some of these files are keys."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
