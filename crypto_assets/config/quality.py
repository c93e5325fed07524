"""What collection.yaml says about scores: their weights, and the total from which a day is good."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class WeightsConfig(BaseModel):
    """Weight of each score in the total of a day (docs/concepts/quality.md); default if left out, 0 excludes the score."""

    model_config = ConfigDict(extra="forbid")

    completeness: float = Field(default=0.4, ge=0, allow_inf_nan=False, description="stored data / expected data")
    accuracy: float = Field(default=0.3, ge=0, allow_inf_nan=False, description="rows without wrong values / rows")
    agreement: float = Field(default=0.2, ge=0, allow_inf_nan=False, description="rows equal to another source / rows")
    timeliness: float = Field(default=0.1, ge=0, allow_inf_nan=False, description="allowed time / time it took")

    @model_validator(mode="after")
    def _some(self) -> WeightsConfig:
        if not any(self.model_dump().values()):
            raise ValueError(
                "expected at least one weight above 0, found 0 for all; leave out a weight to keep its default"
            )
        return self


class QualityConfig(BaseModel):
    """The total from which a day is good, and the weights of the total. Scores are from 0 to 1."""

    model_config = ConfigDict(extra="forbid")

    threshold: float = Field(default=0.999, ge=0, le=1, description="a total below this is bad")
    weights: WeightsConfig = Field(
        default=WeightsConfig(), description="weight of each score in the total; 0 excludes it"
    )
