"""What a battery model is: ratings and reference values, one YAML file a model in `config/duts/`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from config.documents import DocumentError, first_validation_error, read_document

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DutModel(BaseModel):
    """Ratings of one battery model. `code_pattern` tells which scanned codes belong to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal["evaline/dut/1"] = Field(alias="schema")
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    title: str
    code_pattern: str
    kind: Literal["pack", "module", "cell"]
    chemistry: Literal["NMC", "NCA", "LMO", "LFP"]
    series_cells: Annotated[int, Field(ge=1, le=400)]
    cells_per_module: Annotated[int, Field(ge=1)]
    rated_capacity_ah: Positive
    rated_energy_wh: Positive
    nominal_voltage_v: Positive
    cell_voltage_min_v: Positive
    cell_voltage_max_v: Positive
    # no safety limit may be set beyond these
    cell_voltage_hard_min_v: Positive
    cell_voltage_hard_max_v: Positive
    max_charge_current_a: Positive
    max_discharge_current_a: Positive
    temperature_min_degc: float
    temperature_max_degc: float
    # DC resistance of a new battery: 10 s discharge pulse at 50 % SOC and 25 degC
    initial_dcir_ohm: Positive
    # capacity at C/3 over capacity at C/2, from the maker's rate map; 1 where unknown
    capacity_factor_c2_to_c3: Positive = 1.0
    source: str

    @field_validator("code_pattern")
    @classmethod
    def compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


def load_dut_model(path: Path) -> DutModel:
    """Read one battery model; raises DocumentError (code E-DUT)."""
    document = read_document(path)
    try:
        return DutModel.model_validate(document.data)
    except ValidationError as error:
        raise first_validation_error(document, error, "E-DUT") from None


def shipped_dut_models() -> dict[str, DutModel]:
    """The battery models in `config/duts/`, by id."""
    models = (load_dut_model(path) for path in sorted((Path(__file__).parent / "duts").glob("*.yaml")))
    return {model.id: model for model in models}


def model_of_code(code: str, models: dict[str, DutModel]) -> DutModel:
    """The one model a scanned code belongs to; raises DocumentError (E-DUT-CODE) for none or several."""
    fitting = [model for model in models.values() if re.fullmatch(model.code_pattern, code)]
    if len(fitting) != 1:
        what = "no battery model" if not fitting else "several battery models: " + ", ".join(m.id for m in fitting)
        raise DocumentError("E-DUT-CODE", f"code {code!r}", f"fits {what}; known are {', '.join(sorted(models))}")
    return fitting[0]
