"""A conversation in Modbus coils and registers: the seven requests and the checks of their answers.

The requests and answers are pymodbus's messages, imported when first used. How a message travels is the business of
the links in `modbus.py` and `memory.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from drivers.errors import AnswerError, RefusedError
from drivers.roles import Identity

if TYPE_CHECKING:
    from pymodbus.pdu.pdu import ModbusPDU

READ_COILS, READ_DISCRETE_INPUTS, READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS = 5, 6, 16

# Modbus application protocol V1.1b3, section 7
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}


class RegisterLink(Protocol):
    """Zero-based protocol addresses; registers are 0..65535.

    Raises LinkError, AnswerError for an answer that does not fit the request, RefusedError for an exception answer.
    """

    @property
    def reopened(self) -> int:
        """How often the connection was opened again by itself."""
        ...

    async def open(self) -> None:
        """Connect; does nothing when already connected."""
        ...

    async def close(self) -> None:
        """Disconnect; a request under way fails at once. Never raises."""
        ...

    async def read_coils(self, unit: int, address: int, count: int) -> list[bool]: ...

    async def read_discrete_inputs(self, unit: int, address: int, count: int) -> list[bool]: ...

    async def read_holding_registers(self, unit: int, address: int, count: int) -> list[int]: ...

    async def read_input_registers(self, unit: int, address: int, count: int) -> list[int]: ...

    async def write_coil(self, unit: int, address: int, value: bool) -> None:
        """Writes are never sent twice; the answer must echo them."""
        ...

    async def write_register(self, unit: int, address: int, value: int) -> None: ...

    async def write_registers(self, unit: int, address: int, values: Sequence[int]) -> None: ...


class RegisterConversation:
    """The requests of RegisterLink over one exchange of messages."""

    @abstractmethod
    async def _exchange(self, request: ModbusPDU, *, repeatable: bool) -> ModbusPDU:
        """Send the request and return the answer, an exception answer too."""

    async def read_coils(self, unit: int, address: int, count: int) -> list[bool]:
        return await self._read_bits(READ_COILS, unit, address, count)

    async def read_discrete_inputs(self, unit: int, address: int, count: int) -> list[bool]:
        return await self._read_bits(READ_DISCRETE_INPUTS, unit, address, count)

    async def read_holding_registers(self, unit: int, address: int, count: int) -> list[int]:
        return await self._read_registers(READ_HOLDING_REGISTERS, unit, address, count)

    async def read_input_registers(self, unit: int, address: int, count: int) -> list[int]:
        return await self._read_registers(READ_INPUT_REGISTERS, unit, address, count)

    async def write_coil(self, unit: int, address: int, value: bool) -> None:
        answer = await self._ask(WRITE_COIL, unit, address, bits=[value])
        _check_echo(answer, address, list(answer.bits), [value])

    async def write_register(self, unit: int, address: int, value: int) -> None:
        answer = await self._ask(WRITE_REGISTER, unit, address, registers=[value])
        _check_echo(answer, address, list(answer.registers), [value])

    async def write_registers(self, unit: int, address: int, values: Sequence[int]) -> None:
        answer = await self._ask(WRITE_REGISTERS, unit, address, registers=list(values))
        _check_echo(answer, address, [answer.count], [len(values)])

    async def read_identification(self, unit: int) -> Identity:
        """Vendor, product code and revision as the device itself tells them, for the few that do; without a serial.

        Function 43/14, basic objects (Modbus application protocol V1.1b3, 6.21). Raises as the other reads.
        """
        from pymodbus.pdu.mei_message import ReadDeviceInformationRequest, ReadDeviceInformationResponse

        request = ReadDeviceInformationRequest(dev_id=unit)
        answer = _accepted(await self._exchange(request, repeatable=True), request)
        objects = answer.information if isinstance(answer, ReadDeviceInformationResponse) else {}
        try:
            vendor, product, revision = (objects[number].decode("ascii") for number in range(3))
        except (KeyError, AttributeError, UnicodeDecodeError):
            raise AnswerError(f"unit {unit}: its identification is not vendor, product code and revision") from None
        return Identity(vendor, product, "", revision)

    async def _read_bits(self, function: int, unit: int, address: int, count: int) -> list[bool]:
        answer = await self._ask(function, unit, address, count=count)
        # answers come in whole bytes; EA's "limited" compliance answers one coil with two, FF 00 or 00 00
        if len(answer.bits) != (count + 7) // 8 * 8 and (count, len(answer.bits)) != (1, 16):
            raise AnswerError(f"unit {unit}: {len(answer.bits)} bits for the {count} asked at address {address}")
        return [bool(bit) for bit in answer.bits[:count]]

    async def _read_registers(self, function: int, unit: int, address: int, count: int) -> list[int]:
        answer = await self._ask(function, unit, address, count=count)
        if len(answer.registers) != count:
            raise AnswerError(f"unit {unit}: {len(answer.registers)} registers for the {count} asked at {address}")
        return list(answer.registers)

    async def _ask(
        self,
        function: int,
        unit: int,
        address: int,
        *,
        count: int = 0,
        bits: Sequence[bool] = (),
        registers: Sequence[int] = (),
    ) -> ModbusPDU:
        request = _messages()[function][0](dev_id=unit, address=address, count=count, bits=bits, registers=registers)
        return _accepted(await self._exchange(request, repeatable=function <= READ_INPUT_REGISTERS), request)


@cache
def _messages() -> Any:
    """Request and answer classes by function code, looked up once: an import statement a request costs more."""
    from pymodbus.pdu import DecodePDU

    return DecodePDU.pdu_table


def _accepted(answer: ModbusPDU, request: ModbusPDU) -> ModbusPDU:
    """The answer; raises RefusedError for an exception, AnswerError for another function's."""
    unit, function = request.dev_id, request.function_code
    if answer.isError():
        name = _EXCEPTIONS.get(answer.exception_code, "unknown exception")
        raise RefusedError(
            f"unit {unit} refused function {function} at address {request.address}: Modbus exception "
            f"{answer.exception_code}, {name}; check model and register map",
            answer.exception_code,
        )
    if answer.function_code != function:
        raise AnswerError(f"unit {unit} answered function {answer.function_code} to function {function}")
    return answer


def _check_echo(answer: ModbusPDU, address: int, echoed: Sequence[int], written: Sequence[int]) -> None:
    if answer.address != address or list(echoed) != list(written):
        raise AnswerError(
            f"wrote {list(written)} at address {address}, the answer confirms {list(echoed)} at {answer.address}"
        )
