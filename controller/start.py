"""May this battery be run with this recipe on this station now? Every reason against it, not just the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from config import DocumentError, DutModel, StationConfig, model_of_code
from controller.instruments import Instruments, capabilities_of
from controller.recipes import FaultyRecipeError, finding_line, load_recipe, tables_of
from controller.run import LOCAL, Job, dut_of
from controller.sampler import Sampler
from drivers.roles import BatteryReading
from sequences import GradeRules, Recipe, Sample, StationLimits
from sequences.check import check, check_rules

# a battery may not arrive with a cell further than this beyond its working window, V
CELL_MARGIN = 0.2
EMPTY_CELLS = "cell undervoltage"  # as battery monitors name it


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Who wants to run which recipe (its text and where it came from) on which battery, why, and with what."""

    recipe_text: str
    recipe_source: str
    code: str
    author: str
    reason: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    job: Job = LOCAL
    recipe_hash: str | None = None  # what its content must be, when somebody cares


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason against a start."""

    code: str
    message: str
    hint: str


class StartRefusedError(Exception):
    """The start is refused for these reasons."""

    def __init__(self, reasons: list[Reason]) -> None:
        self.reasons = reasons
        super().__init__("; ".join(f"{reason.message} [{reason.code}]" for reason in reasons))

    @property
    def codes(self) -> list[str]:
        return [reason.code for reason in self.reasons]

    def as_json(self) -> list[dict[str, str]]:
        return [asdict(reason) for reason in self.reasons]


class RecipeError(Exception):
    """The recipe itself cannot run; one line a finding, each with its place in the file."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


def checked_recipe(request: StartRequest, model: DutModel, limits: StationLimits, rules: GradeRules) -> Recipe:
    """The recipe, checked for this battery, station and grade rules; raises RecipeError with every finding.

    Takes its time with a hostile recipe: call it in a thread."""
    dut = dut_of(model)
    try:
        tables = tables_of(request.tables)
        recipe, document = load_recipe(request.recipe_text, request.recipe_source, request.parameters, tables, dut)
    except FaultyRecipeError as error:
        raise RecipeError([str(fault) for fault in error.faults]) from None
    except DocumentError as error:
        raise RecipeError([str(error)]) from None
    findings = [*check(recipe, dut, limits), *check_rules(recipe, rules)]
    if findings:
        raise RecipeError([finding_line(document, finding) for finding in findings])
    return recipe


def battery_model(code: str, models: dict[str, DutModel]) -> DutModel:
    """The model a scanned code belongs to; raises StartRefusedError."""
    try:
        return model_of_code(code, models)
    except DocumentError as error:
        raise StartRefusedError(
            [Reason(error.code, f"{error.source} {error.message}", "check the label, or add a battery model")]
        ) from None


def rated_limits(config: StationConfig) -> StationLimits:
    """What a station stands by its line file, whatever its instruments answer."""
    ratings = config.ratings
    return StationLimits(
        max_voltage=ratings.max_voltage_v,
        max_charge_current=ratings.max_charge_current_a,
        max_discharge_current=ratings.max_discharge_current_a,
        max_power=ratings.max_power_w,
        capabilities=capabilities_of(config),
    )


def station_limits(config: StationConfig, instruments: Instruments) -> StationLimits:
    """What the station stands: the tighter of its wiring and its cycler, and the roles it has."""
    rated = rated_limits(config)
    if "cycler" not in instruments.identities:
        return rated
    nominal = instruments.cycler.ratings
    return replace(
        rated,
        max_voltage=min(rated.max_voltage, nominal.voltage),
        max_charge_current=min(rated.max_charge_current, nominal.current),
        max_discharge_current=min(rated.max_discharge_current, nominal.current),
        max_power=min(rated.max_power, nominal.power),
    )


def reasons_against(
    request: StartRequest,
    model: DutModel,
    recipe: Recipe,
    config: StationConfig,
    instruments: Instruments,
    sampler: Sampler,
    latest: Sample | None,
    *,
    at_work: bool = False,
) -> list[Reason]:
    """Everything about station and battery, as they are now, that forbids this start.

    `at_work`: a run has closed the contactors and switched the output on, so they are no reasons of their own.
    """
    return [
        *_content(request, recipe),
        *_instruments(recipe, instruments),
        *_interlock(sampler, at_work),
        *_cycler(sampler, at_work),
        *_probes(recipe, model, config, instruments),
        *_battery(request, model, recipe, sampler),
        *_temperature(model, recipe, latest),
    ]


def _content(request: StartRequest, recipe: Recipe) -> Iterator[Reason]:
    if request.recipe_hash not in (None, recipe.content_hash):
        message = f"recipe {recipe.id} has the hash {recipe.content_hash}, the order demands {request.recipe_hash}"
        yield Reason("E-RECIPE-HASH", message, "bring the station and the MES to one version of the recipe")


def _instruments(recipe: Recipe, instruments: Instruments) -> Iterator[Reason]:
    for role in (role for role, need in recipe.roles.items() if not need.optional):
        fault = instruments.faults.get(role)
        if fault is not None:
            yield Reason(fault.code, str(fault), "make it answer; the station keeps trying")
        elif role not in instruments.identities:
            yield Reason("E-NOT-CONNECTED", f"{role}: not connected yet", "wait for its connection")


def _interlock(sampler: Sampler, at_work: bool) -> Iterator[Reason]:
    chain = sampler.interlock
    if chain is None:
        yield Reason("E-INTERLOCK", "the interlock was not read", "check the PLC")
        return
    inputs = (
        (chain.estop_ok, "the emergency stop is pressed", "release it, then reset"),
        (chain.door_closed, "the door is open", "close it, then reset"),
        (chain.gas_ok, "gas or smoke is detected", "do not approach; follow the site's fire plan"),
        (chain.clamped, "no battery is clamped", "clamp and plug the battery"),
    )
    open_inputs = [Reason("E-INTERLOCK", message, hint) for good, message, hint in inputs if not good]
    yield from open_inputs
    if (chain.contactor_closed and not at_work) or not chain.contactors_agree:
        hint = "isolate the station; check the contactors for welding and their feedback"
        yield Reason("E-CONTACTOR", "a contactor is closed that nobody asked for", hint)
    if not open_inputs and not chain.ready:
        cause = chain.trip_cause or "chain incomplete"
        yield Reason("E-INTERLOCK", f"the interlock is not ready: {cause}", "remove the cause, then reset the station")


def _cycler(sampler: Sampler, at_work: bool) -> Iterator[Reason]:
    cycler = sampler.cycler
    if cycler is not None and cycler.output_on and not at_work:
        yield Reason("E-OUTPUT-ON", "the cycler's output is on already", "run `evaline safe-state`")
    if cycler is not None and cycler.alarms:
        yield Reason("E-CYCLER-ALARM", f"the cycler reports {', '.join(cycler.alarms)}", "clear its alarm")


def _probes(recipe: Recipe, model: DutModel, config: StationConfig, instruments: Instruments) -> Iterator[Reason]:
    meter = instruments.impedance_meter
    if meter is None or "impedance_meter" not in recipe.roles:
        return
    first, last = config.impedance_probe_cells or (1, model.series_cells)
    if last > model.series_cells:
        message = f"the impedance probes reach cells {first} to {last}, {model.id} has {model.series_cells}"
        yield Reason("E-PROBES", message, "correct impedance_probe_cells in the line file")
    volts = (last - first + 1) * model.cell_voltage_max_v
    if "impedance_meter" in instruments.identities and volts > meter.max_voltage:
        message = f"the impedance probes would see {volts:g} V, the meter stands {meter.max_voltage:g} V"
        yield Reason("E-PROBES", message, "probe fewer cells, or use another meter")


def tolerated_faults(recipe: Recipe, battery: BatteryReading | None) -> frozenset[str]:
    """Faults of the BMS that are no reason against this recipe: empty cells where it empties them, and where it lets no
    current flow whatever the battery came with."""
    if not recipe.drives and battery is not None:
        return frozenset(battery.faults)
    return frozenset({EMPTY_CELLS}) if recipe.destructive else frozenset()


def _battery(request: StartRequest, model: DutModel, recipe: Recipe, sampler: Sampler) -> Iterator[Reason]:
    if "battery_monitor" not in recipe.roles:
        return
    battery = sampler.battery
    if battery is None or not battery.alive:
        yield Reason("E-BMS", "the battery's BMS does not answer", "check its plug and its 12 V supply")
        return
    if battery.code and battery.code != request.code:
        message = f"scanned {request.code}, but the BMS says {battery.code}"
        yield Reason("E-DUT-MISMATCH", message, "scan the battery that is on this station")
    if faults := set(battery.faults) - tolerated_faults(recipe, battery):
        yield Reason("E-BMS-FAULT", f"the BMS reports {', '.join(sorted(faults))}", "inspect the battery")
    if len(battery.cell_voltages) != model.series_cells:
        message = f"the BMS reports {len(battery.cell_voltages)} cells, {model.id} has {model.series_cells}"
        yield Reason("E-DUT-CELLS", message, "check the battery model")
    cells = [cell for cell in battery.cell_voltages if cell is not None]
    if len(cells) < len(battery.cell_voltages):
        missing = len(battery.cell_voltages) - len(cells)
        yield Reason("E-CELL-MISSING", f"{missing} cell voltages are not available", "inspect the sense wiring")
    low = 0.0 if recipe.takes_empty else model.cell_voltage_min_v - CELL_MARGIN
    high = model.cell_voltage_max_v
    if cells and not low <= min(cells) <= max(cells) <= high:
        message = f"cells are at {min(cells):.3f} to {max(cells):.3f} V, allowed are {low:g} to {high:g} V"
        yield Reason("E-CELL-VOLTAGE", message, "quarantine the battery")
    needed = recipe.safety.insulation.trip * model.nominal_voltage_v
    if battery.insulation is None or battery.insulation < needed:
        found = "was not measured" if battery.insulation is None else f"is {battery.insulation / 1e3:g} kohm"
        yield Reason(
            "E-INSULATION", f"the insulation {found}, needed are {needed / 1e3:g} kohm", "do not touch the battery"
        )


def _temperature(model: DutModel, recipe: Recipe, latest: Sample | None) -> Iterator[Reason]:
    if "temperature_scanner" not in recipe.roles:
        return
    low = latest.good("temperature_min") if latest else None
    high = latest.good("temperature_max") if latest else None
    if low is None or high is None:
        broken = [str(n) for n, t in enumerate(latest.temperatures, 1) if t is None] if latest else []
        what = f"temperature channel {', '.join(broken)} is open" if broken else "no temperature was measured"
        yield Reason("E-TEMPERATURE", what, "check the sensors on the battery")
    elif not model.temperature_min_degc <= low <= high <= model.temperature_max_degc:
        window = f"{model.temperature_min_degc:g} to {model.temperature_max_degc:g} degC"
        yield Reason(
            "E-TEMPERATURE", f"the battery is at {low:g} to {high:g} degC, allowed are {window}", "let it soak"
        )
