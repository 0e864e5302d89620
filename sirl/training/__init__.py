"""Prompts in, a hardened model out, nothing read but the prompts' text.

The method `sirl` stands on TRL's GRPOTrainer. One step: draw G replies to each prompt, recording the entropy
of each token as it is drawn; reward = minus its mean; advantage inside the group; one clipped policy-gradient
update with a KL penalty to the base model. The rollout and the reward are ours, the loop, the loss and the
checkpoints are TRL's.

How this "GRPO" is configured, and where it departs from arXiv 2510.01088:

1.  G replies a prompt, advantage (r - mean r) / (std r + 1e-4) inside the group: as the paper. std is the
    sample standard deviation (G - 1), as in TRL and veRL.
2.  One update a batch (num_iterations 1): the policy that draws is the policy that is updated, so the ratio
    is 1 and the clip at 0.2 never binds. veRL, the paper's engine, by default takes a batch in mini-batches.
3.  Loss "grpo": token mean inside a reply, then the mean over replies, as GRPO was published. veRL's default
    is the mean over all tokens of a batch, which weighs long replies more.
4.  KL by the k3 estimator inside the loss, against the base model, on the drawn tokens.
5.  AdamW at a constant rate with no warm-up, betas (0.9, 0.999), weight decay 0, gradient norm clipped at 1.
    The paper gives AdamW and 1e-6; veRL's own default decay is 0.01.
6.  Entropy in the reward is at temperature 1 whatever the drawing temperature; TRL's ratio and KL are of the
    distribution at the drawing temperature. At the paper's temperature of 1 they are the same.
7.  Dropout is off, so that the policy that draws and the policy that is updated are one function.
8.  Prompts longer than the limit are left out and counted, never cut: a cut prompt is another prompt.
9.  Replies cut at the length limit keep their reward and their gradient, as in veRL.
10. Prompts come in a fresh shuffled order each pass; which prompts a step takes is a function of (seed, step),
    what is drawn of (seed, step, prompt id, place), so a killed run continues as if never stopped.
11. LoRA, off by default, is of the given rank on every linear layer but the head, alpha twice the rank; the
    reference is then the model without it, and the saved model has it merged in.
12. With `gate = "start"`, off by default, the base model's conduct on the plain request decides what is
    rewarded, and with `anchors` a group holds replies of the base that the policy did not draw.
13. With `search`, off by default, some prompts of a step are what an attack has just found against the policy.
14. With budgets, off by default, a run ends where held-out probes say so, and goes back to the last model
    within them; the paper trains about 30 steps.

With `method` distill there is no reward: what the base does with plain requests is carried over to their
disguises, see `sirl.training.distilling`. With another the same prompts and budget go to a baseline that reads
labels: see `sirl.training.baselines`.

This room does not judge replies and opens no attacker: a probe that judges, the gate's judge of refusals, who
knows which replies are good, and the search are handed in.
"""

from sirl.training.disguises import disguise, plainly
from sirl.training.hardening import check, harden, write_hardened
from sirl.training.progress import Hooks, Labeller

__all__ = ["Hooks", "Labeller", "check", "disguise", "harden", "plainly", "write_hardened"]
