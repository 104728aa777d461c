"""Plays recipes without an engine: scripted samples and answers go in, and what the program does is looked at.

A player behaves as the engine does where it matters: after a set point it shows a fresh sample at once, a request's
answer comes under its key, and what a program may never do fails the test that plays it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from config import read_document
from sequences import (
    Action,
    Answer,
    Begun,
    Context,
    Counters,
    Drive,
    Dut,
    Finish,
    Moment,
    NoCurrent,
    Program,
    Quality,
    Recipe,
    Request,
    Sample,
    StepRecord,
    Turn,
    Value,
)

STARTED = 1_700_000_000.0  # unix s
LIBRARY = Path(__file__).parents[2] / "sequences" / "library"

Data = dict[str, Any]

SHIPPED: Data = read_document(LIBRARY / "quick_capacity_dcir.yaml").data
FAILS = "1 < 0"  # what a check of this always comes to
HOLDS = "1 > 0"
UNKNOWN = "cell_spread < 1 V and voltage_rate < 1 V/s"  # no rate is known at once
# what a battery in order shows at rest
CALM: dict[str, float | None] = {
    "voltage": 350.0, "cell_min": 3.64, "cell_max": 3.65, "cell_spread": 0.01, "temperature_min": 24.0,
    "temperature_max": 25.0, "temperature_rise": 0.0, "chamber_temperature": 25.0, "insulation": 1e6,
}  # fmt: skip


def document(*steps: Data, **more: Any) -> Data:
    """A recipe's document with the shipped one's envelope and these steps."""
    envelope = {key: SHIPPED[key] for key in ("schema", "version", "title", "author", "references", "applies_to")}
    every_role: Data = {role: {} for role in ("cycler", "battery_monitor")}
    return copy.deepcopy(
        {**envelope, "id": "played", "roles": every_role, "safety": SHIPPED["safety"], "steps": list(steps), **more}
    )


def recipe_of(*steps: Data, library: Mapping[str, Data] | None = None, **more: Any) -> Recipe:
    return Recipe.from_data(document(*steps, **more), library=None if library is None else library.__getitem__)


# steps, as short as they can be; `more` replaces and adds keys


def rest(name: str = "rest", duration: str = "10 s", **more: Any) -> Data:
    return {"step": "rest", "name": name, "duration": duration, **more}


def cc(name: str = "cc", direction: str = "discharge", **more: Any) -> Data:
    voltage = "2.7 V" if direction == "discharge" else "4.2 V"
    step = {"step": "cc", "name": name, "direction": direction, "current": "C/2", "cell_voltage": voltage}
    return {**step, "max_time": "1 h", **more}


def cccv(name: str = "cccv", **more: Any) -> Data:
    step = {"step": "cccv", "name": name, "current": "C/2", "cell_voltage": "4.2 V", "ends": ["current <= C/10"]}
    return {**step, "max_time": "4 h", **more}


def compute(name: str, value: str, into: str, **more: Any) -> Data:
    return {"step": "compute", "name": name, "value": value, "into": into, **more}


def check(name: str, that: str, **more: Any) -> Data:
    return {"step": "check", "name": name, "that": that, "text": {"en": name, "ko": name}, **more}


def prompt(name: str = "prompt", **more: Any) -> Data:
    return {"step": "prompt", "name": name, "text": {"en": "?", "ko": "?"}, "max_time": "10 min", **more}


def repeat(name: str, times: int, *steps: Data, **more: Any) -> Data:
    return {"step": "repeat", "name": name, "times": times, "steps": list(steps), **more}


def parallel(name: str, *branches: list[Data], join: str = "all", **more: Any) -> Data:
    named = [{"name": f"branch{number}", "steps": steps} for number, steps in enumerate(branches, 1)]
    return {"step": "parallel", "name": name, "join": join, "branches": named, **more}


def group(name: str, *steps: Data, last: list[Data] | None = None, **more: Any) -> Data:
    return {"step": "group", "name": name, "steps": list(steps), "finally": last or [], **more}


def call(name: str, recipe: str, **parameters: Any) -> Data:
    return {"step": "call", "name": name, "recipe": recipe, "parameters": parameters}


def acir(name: str = "acir", **more: Any) -> Data:
    return {"step": "acir", "name": name, **more}


def loop(name: str, condition: str, most: int, *steps: Data, **more: Any) -> Data:
    return {"step": "while", "name": name, "condition": condition, "max_rounds": most, "steps": list(steps), **more}


def choice(name: str, condition: str, then: list[Data], otherwise: list[Data] | None = None) -> Data:
    return {"step": "if", "name": name, "condition": condition, "then": then, "else": otherwise or []}


def ends_with(then: str, **more: Any) -> Data:
    """A step that ends at once with this route."""
    return rest("r", ends=[{"when": "step_time >= 0 s", "then": then}], **more)


# whole tests of the standards

CAPACITY: Data = {
    "step": "capacity", "name": "test", "charge_current": "C/3", "charge_cell_voltage": "4.2 V", "cutoff": "C/20",
    "charge_max_time": "5 h", "discharge_current": "C/3", "discharge_cell_voltage": "2.7 V",
    "discharge_max_time": "4 h", "rest_charged": "30 min", "rest_discharged": "30 min", "rounds": 4, "agree": 2,
    "within": "3 %", "into": "capacity_ah",
}  # fmt: skip

HPPC: Data = {
    "step": "hppc", "name": "h", "soc": ["80 %", "50 %"], "current": "C/2", "rest": "10 min",
    "pulses": [{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}],
    "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V", "max_time": "2 h",
}  # fmt: skip


class Player:
    """One run. Signals keep their values until changed, None is a bad one; `current` follows the set point.

    `switching` is how long a set point takes, s.
    """

    def __init__(
        self, dut: Dut, recipe: Recipe, *, soc: float = 0.5, capacity: float = 50.0,
        roles: frozenset[str] = frozenset(), switching: float = 0.0,
    ) -> None:  # fmt: skip
        self.context = Context(dut, capacity, soc, roles)
        self.program = Program(recipe, self.context)
        self.switching = switching
        self.t = 0.0
        self.held = 0.0
        self.moved = 0.0
        self.cells: tuple[float | None, ...] = ()
        self.signals = dict(CALM)
        self.set_point: Drive | NoCurrent = NoCurrent()
        self.actions: list[Action] = []
        self.asked: dict[int, Request] = {}
        self.taken_back: list[Request] = []
        self.began: list[Begun] = []
        self.records: list[StepRecord] = []
        self.open: set[int] = set()  # indexes of what has begun and not ended
        self.finish: Finish | None = None

    # ---- what happens

    def start(self, **signals: float | None) -> Player:
        self.signals |= signals
        return self._follow(self.program.start(self._moment()))

    def after(self, seconds: float, *, moved: float = 0.0, **signals: float | None) -> Player:
        """Time passes, `moved` Ah flow (+ charges), and a sample shows these signals."""
        self.t += seconds
        self.moved += moved
        self.signals |= signals
        return self._follow(self.program.update(self._moment()))

    def hold(self, seconds: float) -> Player:
        """The engine holds the run: no step sees a sample, and the time does not count."""
        self.held += seconds
        return self

    def answer(self, value: Any = None, *, to: type | None = None, error: str = "", code: str = "") -> Player:
        """The oldest request (of a kind) is answered."""
        key = next(key for key, request in self.asked.items() if to is None or isinstance(request, to))
        del self.asked[key]
        return self._follow(self.program.update(self._moment({key: Answer(value, error, code)})))

    def play(
        self, answers: Callable[[Request], Any] | None = None, *, step: float = 1.0, most: int = 10_000, **signals: Any
    ) -> Player:
        """Samples at a fixed period and answers at once, until the recipe ends."""
        if not self.began and self.finish is None:
            self.start(**signals)
        for _ in range(most):
            if self.finish is not None:
                return self
            if self.asked and answers is not None:
                self.answer(answers(next(iter(self.asked.values()))))
            else:
                self.after(step)
        raise AssertionError(f"did not end; at work: {self.at_work}")

    # ---- what is seen

    @property
    def at_work(self) -> list[str]:
        return [leaf.label for leaf in self.program.active]

    @property
    def labels(self) -> list[str]:
        return [begun.label for begun in self.began]

    @property
    def ended(self) -> Finish:
        assert self.finish is not None, f"still at work: {self.at_work}"
        return self.finish

    def record(self, label: str) -> StepRecord:
        return next(record for record in reversed(self.records) if record.label == label)

    # ---- how

    def _moment(self, answers: Mapping[int, Answer] | None = None) -> Moment:
        at = STARTED + self.t + self.held
        current = self.set_point.current if isinstance(self.set_point, Drive) else 0.0
        values = {
            name: Value(value or 0.0, at, Quality.BAD if value is None else Quality.GOOD, "script")
            for name, value in ({"current": current} | self.signals).items()
        }
        counters = Counters(charged_ah=1000.0 + max(self.moved, 0.0), discharged_ah=1000.0 - min(self.moved, 0.0))
        return Moment(Sample(at, values, self.cells, (), counters), self.t, answers or {})

    def _follow(self, turn: Turn) -> Player:
        """Take up a turn and check what must hold after every one."""
        assert self.finish is None, "nothing may happen after the end"
        acted = False
        for event in turn.events:
            if isinstance(event, Begun):
                assert event.index == len(self.began)
                self.began.append(event)
                self.open.add(event.index)
            elif isinstance(event, StepRecord):
                self.open.remove(event.index)  # fails when it has a record already
                self.records.append(event)
        for directive in turn.directives:
            action = directive.action
            if directive.cancel:
                self.taken_back.append(self.asked.pop(directive.key))  # fails when it was answered already
                continue
            self.actions.append(action)
            if isinstance(action, Drive | NoCurrent):
                self.set_point, acted = action, True
            else:
                assert directive.key not in self.asked
                self.asked[directive.key] = action
        self.finish = turn.finish
        drives = [d for d in turn.directives if isinstance(d.action, Drive)]
        assert not (drives and self.finish), "nothing is switched on in the end"
        self._hold_what_must_hold()
        if acted and self.finish is None:
            self.t += self.switching
            return self._follow(self.program.update(self._moment()))
        return self

    def _hold_what_must_hold(self) -> None:
        at_work = self.program.active
        assert {leaf.index for leaf in at_work} == self.open, "active is what has begun and not ended"
        if self.finish is not None:
            assert not at_work
            assert not self.asked, "a request is answered or taken back"
            return
        owners = [leaf for leaf in at_work if leaf.owns_cycler]
        assert len(owners) <= 1
        if isinstance(self.set_point, Drive):
            assert owners, "current flows for a step that may drive"
            assert owners[0].step.drives, "current flows for a step that may drive"


def run(dut: Dut, *steps: Data, **more: Any) -> Player:
    return Player(dut, recipe_of(*steps, **more))
