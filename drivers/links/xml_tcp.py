"""XML messages over TCP as the Neware BTS server speaks them: each ends with two line feeds, a hash, CR and LF."""

from __future__ import annotations

from functools import partial

from drivers.links.stream import MessageSession
from drivers.links.text import ThreadedTextLink

SENT_END = b"\n\n#\r\n"
RECEIVED_END = b"#\r\n"
LONGEST_MESSAGE = 1 << 20  # a list of ten thousand channels


class XmlTcpLink(ThreadedTextLink):
    """A server of XML messages; what is sent is one line, what is received has many."""

    def __init__(self, host: str, port: int, *, timeout: float = 2.0) -> None:
        """timeout of connecting, of each message sent and of each answer, in s."""
        address = f"{host}:{port}"
        super().__init__(address, partial(_Session, address, host, port, timeout), terminator=SENT_END)


class _Session(MessageSession):
    def __init__(self, address: str, host: str, port: int, timeout: float) -> None:
        super().__init__(address, host, port, timeout, RECEIVED_END, LONGEST_MESSAGE)

    def receive(self) -> bytes:
        return super().receive().removesuffix(RECEIVED_END)
