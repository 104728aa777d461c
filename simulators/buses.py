"""Several text instruments on one wire. Still no sockets and no asyncio.

On a serial bus each hears everything and answers when it is addressed. Behind one server they are one instrument, whose
wire has the faults of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from simulators.faults import Wire
from simulators.neware_bts import NewareBts
from simulators.ports import Conversation, TextPort


class Bus:
    """What a server needs to know of a wire with these instruments on it."""

    def __init__(self, ports: Sequence[TextPort]) -> None:
        self.ports = ports

    @property
    def refused(self) -> bool:
        return any(port.refused for port in self.ports)

    @property
    def restarting(self) -> bool:
        """Nobody alone takes a bus down."""
        return all(port.restarting for port in self.ports)

    @property
    def moved(self) -> bool:
        return any(port.moved for port in self.ports)

    @property
    def delay_s(self) -> float:
        return max(port.delay_s for port in self.ports)

    @property
    def starts(self) -> int:
        """The wire outlives every restart of what is on it."""
        return 0

    @property
    def idle_timeout_s(self) -> float:
        return min(filter(None, (port.idle_timeout_s for port in self.ports)), default=0.0)

    def now(self) -> float:
        return max(port.now() for port in self.ports)

    @property
    def present(self) -> float:
        return max(port.present for port in self.ports)

    def open(self) -> Conversation:
        return BusConversation([port.open() for port in self.ports])


class BusConversation:
    """One connection to all of them."""

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self._conversations = conversations

    def receive(self, data: bytes) -> bytes:
        """What everybody answers, line by line; raises HangupError when one of them takes the wire down."""
        lines = data.splitlines(keepends=True)
        return b"".join([conversation.receive(line) for line in lines for conversation in self._conversations])

    def unasked(self) -> bytes:
        return b"".join([conversation.unasked() for conversation in self._conversations])


class CommonServer(Bus):
    """Instruments that are one server on their wire."""

    def __init__(self, ports: Sequence[TextPort], server: NewareBts) -> None:
        super().__init__(ports)
        self._server = server

    def open(self) -> Conversation:
        return ServerConversation(self.ports, self._server)


class ServerConversation:
    """One connection to the server; each port's wire is a part of the wire."""

    def __init__(self, ports: Sequence[TextPort], server: NewareBts) -> None:
        self._ports, self._terminator, self._face = ports, server.terminator, server.face()
        self._wires = [Wire(port.board) for port in ports]

    def receive(self, data: bytes) -> bytes:
        for port in self._ports:
            port.timeline.catch_up()
            port.board.queried()
        answer: Callable[[], bytes] = partial(self._face.receive, data)
        for wire in self._wires:
            answer = partial(wire.exchange, answer, self._terminator)
        return answer()

    def unasked(self) -> bytes:
        """It says nothing by itself."""
        return b""


def on_one_wire(ports: Sequence[TextPort]) -> Bus:
    """The bus, or the server, that these instruments share."""
    servers = [port.device for port in ports if isinstance(port.device, NewareBts)]
    return CommonServer(ports, NewareBts.joined(servers)) if len(servers) == len(ports) else Bus(ports)
