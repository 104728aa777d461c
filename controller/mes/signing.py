"""Signed results: Ed25519 over the canonical JSON of RFC 8785, so that anybody can check one without our code."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from controller.journal.check import Problem
from controller.journal.format import KEYED, UNREADABLE, read_only
from controller.mes.messages import PublicKey

KEY_FILE = "signing_key.pem"
SIGNING_KEY = "signing key"  # the kind of event that names a key in the journal
SIGNATURE = "signature"


class SigningError(Exception):
    """Why nothing can be signed, in one line; `code` is stable."""

    code = "E-SIGNING"

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} [{self.code}]")


class Signer:
    """Signs with the key of one state directory."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        text = base64.b64encode(raw).decode()
        self.public_key = PublicKey(algorithm="Ed25519", key_id=key_id(raw), public_key=text)

    @classmethod
    def of(cls, state_dir: Path) -> Signer:
        """With the key that lies there, made at the first start, readable by its owner alone; raises SigningError."""
        path = state_dir / KEY_FILE
        try:
            if not path.exists():
                _write_key(path)
            key = load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise SigningError(f"{path}: {getattr(error, 'strerror', None) or 'is no private key'}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningError(f"{path}: is no Ed25519 key")
        return cls(key)

    def sign(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record with its signature; ValueError for what JSON does not carry exactly (NaN, integers over 2^53)."""
        unsigned = {name: value for name, value in record.items() if name != SIGNATURE}
        value = base64.b64encode(self._key.sign(canonical_bytes(unsigned))).decode()
        signature = {
            "algorithm": "Ed25519", "canonicalization": "RFC8785", "key_id": self.public_key.key_id, "value": value,
        }  # fmt: skip
        return {**unsigned, SIGNATURE: signature}


def verified(record: Mapping[str, Any], public_keys: Mapping[str, bytes]) -> str:
    """Why a record's signature is not good by one of these keys (32 bytes each, by id); empty when it is."""
    signature = record.get(SIGNATURE)
    if not isinstance(signature, dict):
        return "it is not signed"
    raw = public_keys.get(str(signature.get("key_id")))
    if raw is None:
        return f"it is signed with a key that is not known here: {signature.get('key_id')}"
    unsigned = {name: value for name, value in record.items() if name != SIGNATURE}
    try:
        value = base64.b64decode(signature["value"], validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(value, canonical_bytes(unsigned))
    except (InvalidSignature, ValueError, TypeError, KeyError):
        return "its signature does not fit its content"
    return ""


def signature_problems(path: Path) -> list[Problem]:
    """Every result of a journal whose signature is not good, by the keys that the journal names. Results from before
    the first key are not expected to be signed. What cannot be read is the chain's to complain of, not ours."""
    problems = []
    with suppress(*UNREADABLE), closing(read_only(path)) as connection:
        named = connection.execute(
            f"SELECT seq, body FROM events WHERE {KEYED} AND kind = ?", (SIGNING_KEY,)
        ).fetchall()
        keys = {body["key"]: base64.b64decode(body["public_key"]) for body in (json.loads(text) for _, text in named)}
        first = min((seq for seq, _ in named), default=None)
        if first is None:
            return []
        for run, text in connection.execute("SELECT run, body FROM results WHERE seq > ? ORDER BY seq", (first,)):
            if why := verified(json.loads(text), keys):
                problems.append(Problem(f"result of run {run}", why))
    return problems


def canonical_bytes(value: Any) -> bytes:
    """RFC 8785; ValueError for what it cannot carry."""
    return rfc8785.dumps(value)


def key_id(public_key: bytes) -> str:
    """The name of a key (32 bytes)."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def _write_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
