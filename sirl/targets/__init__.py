"""The model under test, as attacks and evaluation see it: it replies, and it scores a reply's beginning.

Brings samplers and scorers together behind `records.Target`, so that neither knows the other and a test can put
a fake in the model's place. A model behind an address is one more target; it needs no torch and has a room of
its own, `sirl.endpoint`.
"""

from __future__ import annotations

from sirl.targets.local import LocalTarget
from sirl.targets.vllm import VLLMTarget, open_vllm

__all__ = ["LocalTarget", "VLLMTarget", "open_vllm"]
