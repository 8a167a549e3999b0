"""What every group of rules is made of: a frozen, closed pydantic model whose fields carry unit, formula and reason."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Rules(BaseModel):
    """A group of rules. Unknown keys, NaN, infinities and values of another type are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def rule(default: Any, reason: str, *, unit: str = "", formula: str = "", **bounds: Any) -> Any:
    """Declare one rule: its default value, why it is so, its unit, its formula, and the bounds (`ge`, `gt`, `le`,
    `lt`).
    """
    return Field(default, description=reason, json_schema_extra={"unit": unit, "formula": formula}, **bounds)
