"""The model under test, as attacks and evaluation see it: it replies, and it scores a reply's beginning.

Brings samplers and scorers together behind `records.Target`, so that neither knows the other and a test can put
a fake in the model's place. A model behind an address is one more target; it needs no torch and has a room of
its own, `sirl.endpoint`.
"""

from __future__ import annotations

from sirl.targets.apart import Draw, Source, drawing_apart
from sirl.targets.local import LocalTarget
from sirl.targets.vllm import VLLMTarget, open_vllm

__all__ = ["Draw", "LocalTarget", "Source", "VLLMTarget", "drawing_apart", "open_vllm"]
