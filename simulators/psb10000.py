"""EA Elektro-Automatik PSB 10500-90: a bidirectional DC supply of 500 V, 90 A, 30 kW. The device, without its protocol.

Source: EA programming guide for the 10000 and 20000 series and the register list of PSB 10000 KE3.10+, as collected in
the project's instrument notes.
"""

from __future__ import annotations

from simulators.ea_events import Event, present
from simulators.ea_supply import Alarm, EaSupply
from simulators.world import World

MODEL = "PSB 10500-90"

# bits of the condition registers
QUES_BITS = {Alarm.OVERVOLTAGE: 0, Alarm.OVERCURRENT: 1, Alarm.OVERPOWER: 2}
QUES_BITS |= {Alarm.SINK_OVERCURRENT: 1, Alarm.SINK_OVERPOWER: 2}
QUES_LOCAL, QUES_REMOTE, QUES_OUTPUT = 9, 10, 11
OPER_CTO, OPER_SINK = 7, 12
OPER_REGULATION = {"CV": 8, "CC": 9, "CP": 10}


class Psb10000(EaSupply):
    """The supply with SCPI's status registers."""

    def __init__(self, world: World, serial: str) -> None:
        super().__init__(world, serial)
        self._conditions = (0, 0)
        self.events = [0, 0]

    def reset(self) -> None:
        """*RST: remote control, output off, alarms acknowledged."""
        self.take_remote()
        self.switch_output(False)
        self.acknowledge()

    def questionable(self) -> int:
        shown = set(self.alarms)
        if self.output_on:
            shown |= present(self.watches, self.world.terminal())
        bits = {cause.bit for cause in shown if isinstance(cause, Event)}
        bits |= {QUES_BITS[cause] for cause in shown if isinstance(cause, Alarm)}
        states = ((QUES_LOCAL, self.local), (QUES_REMOTE, self.remote), (QUES_OUTPUT, self.output_on))
        return sum(1 << bit for bit in bits | {bit for bit, on in states if on})

    def operation(self) -> int:
        condition = self.timed_out << OPER_CTO
        if self.output_on:
            at = self.world.terminal()
            condition |= (at.current < 0) << OPER_SINK
            if at.regulation in OPER_REGULATION:
                condition |= 1 << OPER_REGULATION[at.regulation]
        return condition

    def _observe(self) -> None:
        """Latch every condition bit that has come up into its event register."""
        conditions = (self.questionable(), self.operation())
        for index, (now, before) in enumerate(zip(conditions, self._conditions, strict=True)):
            self.events[index] |= now & ~before
        self._conditions = conditions

    def take_events(self, index: int) -> int:
        """Read and clear an event register: 0 questionable, 1 operation."""
        events, self.events[index] = self.events[index], 0
        return events
