"""What a battery model is: ratings and reference values, one YAML file a model in `config/duts/`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from config.documents import DocumentError, FaultyDocumentError, read_document, validation_errors

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DutModel(BaseModel):
    """Ratings of one battery model. `code_pattern` tells which scanned codes belong to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Annotated[
        Literal["evaline/dut/1"], Field(alias="schema", description="What this file is, and which version of that.")
    ]
    id: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Its name; the file is called like it.")
    ]
    title: Annotated[str, Field(description="For people.")]
    code_pattern: Annotated[str, Field(description="Regular expression that its codes match in full.")]
    kind: Annotated[Literal["pack", "module", "cell"], Field(description="Pack, module or cell.")]
    chemistry: Annotated[Literal["NMC", "NCA", "LMO", "LFP"], Field(description="Of the cathode.")]
    series_cells: Annotated[int, Field(ge=1, le=400, description="Cells in series.")]
    cells_per_module: Annotated[int, Field(ge=1, description="Of them in a module.")]
    rated_capacity_ah: Annotated[Positive, Field(description="Ah, of a new one at C/3.")]
    rated_energy_wh: Annotated[Positive, Field(description="Wh, of a new one.")]
    nominal_voltage_v: Annotated[Positive, Field(description="V, of the whole battery.")]
    cell_voltage_min_v: Annotated[Positive, Field(description="V at which a cell is empty.")]
    cell_voltage_max_v: Annotated[Positive, Field(description="V at which a cell is full.")]
    cell_voltage_hard_min_v: Annotated[
        Positive, Field(description="V of a cell below which no safety limit may be set.")
    ]
    cell_voltage_hard_max_v: Annotated[
        Positive, Field(description="V of a cell above which no safety limit may be set.")
    ]
    max_charge_current_a: Annotated[Positive, Field(description="A.")]
    max_discharge_current_a: Annotated[Positive, Field(description="A.")]
    temperature_min_degc: Annotated[float, Field(description="degC at which it may be operated at least.")]
    temperature_max_degc: Annotated[float, Field(description="degC at which it may be operated at most.")]
    initial_dcir_ohm: Annotated[
        Positive, Field(description="ohm of a new one: 10 s discharge pulse at 50 % SOC and 25 degC.")
    ]
    capacity_factor_c2_to_c3: Annotated[
        Positive, Field(description="Capacity at C/3 over capacity at C/2, from the maker's rate map; 1 where unknown.")
    ] = 1.0
    source: Annotated[str, Field(description="Where these numbers come from.")]

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
        raise FaultyDocumentError(validation_errors(document, error, "E-DUT", DutModel)) from None


def shipped_dut_models() -> dict[str, DutModel]:
    """The battery models in `config/duts/`, by id."""
    models = (load_dut_model(path) for path in sorted((Path(__file__).parent / "duts").glob("*.yaml")))
    return {model.id: model for model in models}


def model_of_code(code: str, models: dict[str, DutModel]) -> DutModel:
    """The one model a scanned code belongs to; raises DocumentError (E-DUT-CODE) for none or several."""
    fitting = [model for model in models.values() if re.fullmatch(model.code_pattern, code)]
    if len(fitting) != 1:
        several, known = ", ".join(model.id for model in fitting), ", ".join(sorted(models))
        en = f"several battery models: {several}" if several else "no battery model"
        ko = f"여러 배터리 모델에 해당합니다: {several}" if several else "해당하는 배터리 모델이 없습니다"
        message, korean = f"fits {en}; known are {known}", f"{ko}. 사용할 수 있는 모델: {known}"
        raise DocumentError("E-DUT-CODE", f"code {code!r}", message, ko=korean)
    return fitting[0]
