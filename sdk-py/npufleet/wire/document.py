"""The contract as it stands in broker/contract/contract.toml, from the copy that this package carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

DOCUMENT: Final[dict[str, Any]] = json.loads(Path(__file__).with_name("contract.json").read_text("utf-8"))
"""The whole contract, table by table."""
