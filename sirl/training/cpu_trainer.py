"""Where TRL's GRPOTrainer is subclassed: log-probs on a CPU.

TRL 1.16 scores tokens through a head fused for GPUs. Its CPU path also projects the prompt's positions onto the
vocabulary, does so again in the backward pass, and computes an entropy for its own log. On a CPU we project
the reply's positions once, a few rows of like length together without the padding they share, and leave the
entropy out: the sampler has recorded it. Same numbers, less work.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from trl import GRPOTrainer

from sirl.entropy import token_logprob
from sirl.lm import LM
from sirl.lm.decoder import places

_TOGETHER = 16  # rows a forward pass: enough to fill a core, few enough to be of like length


class CpuGRPOTrainer(GRPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """GRPOTrainer whose log-probs come from the model's own logits at the reply's positions."""

    def _get_per_token_logps_and_entropies(  # private in TRL: what it returns has changed between versions
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        **_: Any,
    ) -> tuple[Tensor, Tensor, None]:
        """Return log-probs (B, T) at the drawing temperature, zeros for the entropies, no auxiliary loss."""
        order_B = attention_mask.sum(dim=1).argsort()
        rows = [
            self._reply_logprobs(model, input_ids[some], attention_mask[some], logits_to_keep)
            for some in torch.split(order_B, _TOGETHER)
        ]
        logprob_BT = torch.cat(rows)[order_B.argsort()]
        return logprob_BT, torch.zeros_like(logprob_BT), None

    def _reply_logprobs(self, model: Any, ids_BS: Tensor, mask_BS: Tensor, length: int) -> Tensor:
        """Score some rows; what is padding in all of them, on either side, is cut off and comes back as 0.

        TRL pads a step's rows to its longest prompt and its longest reply; a few rows together are shorter.
        """
        used = mask_BS.any(dim=0).nonzero().flatten()
        first, behind = int(used[0]), mask_BS.shape[1] - 1 - int(used[-1])
        last, kept = mask_BS.shape[1] - behind, length - behind
        ids_BS, mask_BS = ids_BS[:, first:last], mask_BS[:, first:last]
        lm = LM(self.accelerator.unwrap_model(model), self.processing_class, "")
        logits_BTV = model(
            input_ids=ids_BS,
            **places(lm, mask_BS, ids_BS.shape[1]),  # TRL leaves positions out, which padding shifts
            use_cache=False,
            logits_to_keep=kept + 1,
        ).logits[:, -kept - 1 : -1]
        return pad(token_logprob(logits_BTV / self.temperature, ids_BS[:, -kept:]), (0, behind))
