"""A BT 20000 on a fake battery, spoken to in Modbus PDUs."""

from __future__ import annotations

import struct

from simulators.bt20000_modbus import BtInstrument
from tests.simulators.conftest import Stage

DENIED, ADDRESS, VALUE, EXECUTION = 0x07, 0x02, 0x03, 0x04


class Bench:
    """A BT on a fake battery, spoken to in PDUs, on a timeline of its own."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.world = stage.world
        self.instrument = BtInstrument(stage.world, "2023120002")  # type: ignore[arg-type]
        self.device = self.instrument.device
        stage.play(self.instrument)

    def call(self, pdu: bytes) -> bytes:
        self.stage.timeline.catch_up()
        answer = self.instrument.respond(0, pdu)
        assert answer is not None
        return answer

    def read(self, address: int, count: int = 1) -> list[int]:
        answer = self.call(struct.pack(">BHH", 3, address, count))
        assert answer[0] == 3, answer.hex()
        return list(struct.unpack(f">{count}H", answer[2:]))

    def text(self, address: int) -> str:
        return struct.pack(">20H", *self.read(address, 20)).rstrip(b"\0").decode()

    def number(self, address: int) -> float:
        value: float = struct.unpack(">f", struct.pack(">2H", *self.read(address, 2)))[0]
        return value

    def state(self, address: int = 505) -> int:
        high, low = self.read(address, 2)
        return high << 16 | low

    def bit(self, number: int, address: int = 505) -> bool:
        return bool(self.state(address) >> number & 1)

    def error(self, pdu: bytes) -> int:
        """The exception code of a refusal, 0 for none."""
        answer = self.call(pdu)
        return answer[1] if answer[0] & 0x80 else 0

    def coil(self, address: int, on: bool = True) -> int:
        return self.error(struct.pack(">BHH", 5, address, 0xFF00 if on else 0))

    def coil_reads(self, address: int) -> bool:
        answer = self.call(struct.pack(">BHH", 1, address, 1))
        assert answer[0] == 1
        return answer[2] != 0

    def write(self, address: int, word: int) -> int:
        return self.error(struct.pack(">BHH", 6, address, word))

    def write_float(self, address: int, value: float) -> int:
        return self.error(struct.pack(">BHHBf", 16, address, 2, 4, value))

    def volts(self, address: int, value: float) -> int:
        return self.write(address, round(value / 500 * 0xCCCC))

    def amperes(self, address: int, value: float) -> int:
        return self.write(address, round(value / 90 * 0xCCCC))

    def supplying(self) -> Bench:
        """A power supply in remote, contactor closed, 10 A of charge ready to flow into 355.2 V."""
        self.world.contactor_closed = True
        assert self.coil(402) == self.volts(500, 400) == self.amperes(501, 10) == self.amperes(499, 10) == 0
        return self

    def testing(self, amperes: float = 30.0) -> Bench:
        """A battery tester in remote, contactor closed, between 300 V and 400 V."""
        self.world.contactor_closed = True
        assert self.coil(402) == self.coil(431) == 0
        assert self.write_float(490, amperes) == self.write_float(492, 400) == self.write_float(494, 300) == 0
        return self
