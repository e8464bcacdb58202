"""What the `x-phi-*` answer headers say about a request (`wire/products.md A4`)."""

from msgspec import Struct

from calotype.kernel.generation import DataClass, Region


class Stamp(Struct, frozen=True):
    """How a request was routed and what it cost; on a refusal nothing was tried and nothing is charged.

    `verified` says whether the charge rests on measured usage; None where there is no usage to speak of.
    """

    data_class: DataClass
    routed: str | None = None
    attempts: int = 0
    cost_micro: int = 0
    verified: bool | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers, names in lower case."""
        out = {
            "x-phi-tier": tier_word(self.data_class),
            "x-phi-attempts": str(self.attempts),
            "x-phi-cost-micro": str(self.cost_micro),
        }
        if self.routed is not None:
            out["x-phi-routed"] = self.routed
        if self.verified is not None:
            out["x-phi-usage"] = "verified" if self.verified else "estimated"
        return out


def tier_word(data_class: DataClass) -> str:
    """Return the header's word for a data class."""
    return "phi" if data_class is DataClass.PHI else "non_phi"


def routed(model: str, provider: str, region: Region, data_class: DataClass) -> str:
    """Write the route that served: `openai-gpt-image-2/WORLD/non_phi`."""
    row = model if model.startswith(f"{provider}/") else f"{provider}-{model}"
    return f"{row.replace('/', '-')}/{region}/{tier_word(data_class)}"
