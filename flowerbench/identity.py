"""What a config is called: flat keys, a safe name, and the hash of what determines its numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

# What never changes the numbers: where and how a run happens, and what its facts say better (the contents of photos
# and weights, wherever they lie).
NOT_IDENTITY = (
    "tracking",
    "search",
    "device",
    "model.weights",
    "data.name",
    "data.root",
    "data.url",
    "data.sha256",
    "data.bytes",
    "data.paper_photos",
    "data.synthetic",
    "data.workers",
    "data.on_bad_image",
)


def safe_name(overrides: str) -> str:
    """A readable name, safe as a folder on every system: `batch_size=16,epochs=20` gives `batch_size-16_epochs-20`.

    Where characters had to go, a short hash of the original keeps different settings apart.
    """
    readable = overrides.replace("=", "-").replace(",", "_")
    safe = "".join(c for c in readable if c.isascii() and (c.isalnum() or c in "._-+")).strip(".")
    if safe == readable and len(safe) <= 100:
        return safe or "defaults"
    return f"{safe[:90]}_{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


def flat(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The config as one level of dotted keys, interpolations resolved: `{"batch_size": 16, "optim.lr": 0.001, …}`."""

    def walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, Mapping) and value:
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    plain = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg
    return dict(walk(plain, ""))


def identity(cfg: DictConfig, facts: Mapping[str, str]) -> str:
    """The hash (16 hex digits) of all that determines a run's numbers.

    `facts` are what the config only points at: the fingerprints of photos and split, the hash of the weights.
    """
    numbers = {
        key: float(value) if isinstance(value, int) else value  # 1 and 1.0 are one learning rate
        for key, value in flat(cfg).items()
        if not any(key == name or key.startswith(f"{name}.") for name in NOT_IDENTITY)
    }
    text = json.dumps({"config": numbers, "facts": dict(facts)}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
