"""A model by what names it: an organism, a folder, a training run, a hub id, an endpoint."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sirl.config import ModelConfig
from sirl.config.before import now_named
from sirl.config.measure import AnyThinking
from sirl.config.requests import without_logins
from sirl.config.train import attacks_met
from sirl.endpoint import EndpointTarget, is_endpoint, open_endpoint
from sirl.errors import ConfigError, DataError, RunError, TemplateError, suggest
from sirl.lm import LM, load_lm
from sirl.organism import WEIGHTS
from sirl.phases import phase
from sirl.records import Decoding, Target
from sirl.rundir import SNAPSHOTS
from sirl.rundir.files import open_plain
from sirl.targets import LocalTarget, VLLMTarget, open_vllm

LOG = logging.getLogger("sirl")
ORGANISM = "organism:"


@dataclass(frozen=True, slots=True, repr=False)
class Model:
    """A model under test: `target` replies, and `lm` are its weights, None where they are not in this process.

    `base` is the model before hardening by sirl, `met` the attacks that sirl trained it on, `config` the
    settings that it was opened with.
    """

    target: LocalTarget | EndpointTarget | VLLMTarget
    name: str
    base: str
    lm: LM | None = None
    dtype: str = "not known"
    met: tuple[str, ...] = ()
    config: ModelConfig = field(default_factory=ModelConfig)

    def __repr__(self) -> str:
        size = f", {self.lm.model.num_parameters():,} parameters in {self.dtype}" if self.lm else ""
        return f"Model({without_logins(self.name)}{size})"

    @property
    def is_organism(self) -> bool:
        return self.base.startswith(ORGANISM)

    def drawing(
        self, decoding: Decoding, batch: int = 64, best_of: int = 1
    ) -> LocalTarget | EndpointTarget | VLLMTarget:
        """Return the target with a decoding for attempts that bring none; local ones draw `batch` at once.

        Raises ConfigError if the best of several replies is asked of a model that tells no entropies.
        """
        if isinstance(self.target, LocalTarget):
            return replace(self.target, decoding=decoding, batch=batch, best_of=best_of)
        if best_of > 1:
            raise no_weights(self.name, f"evaluate.best_of = {best_of} is asked of")
        return replace(self.target, decoding=decoding)

    @property
    def context(self) -> int:
        """How many tokens the model can read; 0 where that is not known."""
        config = self.lm.model.config.get_text_config() if self.lm else None
        return int(getattr(config, "max_position_embeddings", 0) or 0)

    def fingerprint(self, decoding: Decoding | None = None) -> dict[str, str]:
        """Return what tells this model from others: hashes, or what its server says of it.

        A server is asked in the run's own form, with the `decoding` of its attempts.
        """
        if isinstance(self.target, EndpointTarget):
            return opened(replace(self.target, decoding=decoding or self.target.decoding))
        return self.target.fingerprint()

    def weights(self, purpose: str) -> LM:
        """Return the model itself. Raises ConfigError if its weights are not in this process."""
        if self.lm is None:
            raise no_weights(self.name, purpose)
        return self.lm


def opened(target: EndpointTarget) -> dict[str, str]:
    """Ask a server its opening question and log what its requests lack; return its fingerprint.

    Raises DataError or ConfigError if it does not reply.
    """
    told = target.fingerprint()
    if body := told.get("request body"):
        lines = [f"{target.name}: requests go out {body}", *target.form.losses()]
        LOG.warning("%s", "\n  ".join(lines))
    return told


def holds_weights(spec: str, config: ModelConfig) -> bool:
    """Say whether the model, once opened, has its weights in this process."""
    return config.engine == "transformers" and not is_endpoint(spec)


def no_weights(name: str, purpose: str) -> ConfigError:
    """Return the error for what needs weights and entropies and was given a model that only replies."""
    return ConfigError(
        f"{purpose} {name.partition('#')[2] or name}, which gives replies but neither weights nor entropies",
        "a model whose weights transformers loads here",
        "name a folder or a hub id, and leave model.engine alone",
    )


def open_model(spec: str, config: ModelConfig) -> Model:
    """Open an endpoint, or load an organism, shipped or `organism:FOLDER`, a training run, a folder, a hub id.

    A training run's `snapshots/STEP` is the model after that step.

    Raises ConfigError, DataError or TemplateError if there is no such model.
    """
    with phase(f"load {without_logins(spec)}"):
        return _open(spec, config)


def _open(spec: str, config: ModelConfig) -> Model:
    if is_endpoint(spec):
        if config.thinking != "template":
            found = f"model.thinking = {config.thinking!r} and an endpoint"
            raise ConfigError(
                found,
                "a model that is loaded here, since a server has its own template",
                "leave it out, and tell the server with --set model.extra_body (docs/targets.md)",
            )
        endpoint = open_endpoint(spec, config, Decoding())
        return Model(endpoint, endpoint.name, endpoint.name, config=config)
    source, name, base, met = resolve_model(spec)
    if config.engine == "vllm":
        target = open_vllm(source, name, config, Decoding())
        return Model(target, name, base, None, config.dtype, met, config)
    lm = load_lm(
        source,
        name=name,
        dtype=config.dtype,
        trust_remote_code=config.trust_remote_code,
        thinking=config.thinking,
    )
    return Model(LocalTarget(lm, Decoding()), name, base, lm, config.dtype, met, config)


def open_target(
    spec: str, config: ModelConfig, decoding: Decoding, thinking: AnyThinking = "template"
) -> tuple[Target, str]:
    """Open a model that judges or that attacks use, by the words of `open_model`; with what it is.

    What it is tells it from others of its name, on one line: hashes of weights and chat template, or what its
    server says. Never by vLLM: it takes the device for itself, and a surrogate is searched on by its weights.
    `thinking` is as `model.thinking`, which is of the model under test, or auto: off where the template leaves
    the choice. An endpoint is asked its opening question, so that a refused key costs no reply of the model
    under test. Raises DataError if none comes.
    """
    plain = replace(for_another(config, spec), engine="transformers", thinking="template")
    if thinking == "auto" and not is_endpoint(spec):
        with suppress(TemplateError):
            return open_target(spec, config, decoding, "off")
    chosen = "template" if thinking == "auto" else thinking
    target = _open(spec, replace(plain, thinking=chosen)).drawing(decoding)
    told = opened(target) if isinstance(target, EndpointTarget) else target.fingerprint()
    return target, json.dumps(told, sort_keys=True)


def for_another(config: ModelConfig, spec: str) -> ModelConfig:
    """Return the settings for a model that is not under test: its code runs only if it is trusted by name."""
    return replace(config, trust_remote_code=spec in config.trusted_code)


def resolve_model(spec: str) -> tuple[str | Path, str, str, tuple[str, ...]]:
    """Return where the weights are, what to call the model, its base model, which attacks trained it.

    Raises ConfigError or DataError on an organism that is not there or a training run without a model.
    """
    if spec.startswith(ORGANISM):
        return _organism_folder(spec), spec, spec, ()
    path = Path(spec)
    run = run_of(path)
    settings = _training(run / "config.json")
    if not settings:
        return spec, spec, spec, ()
    trained = now_named(settings).get("train") or {}
    base, method = str(settings["model"]), trained.get("method", "sirl")
    met = attacks_met(trained)
    if run is not path:
        return path, f"{base}+{method}@{path.name}", base, met
    if not (path / "model").is_dir():
        found = f"the training run {spec} has no model yet"
        raise DataError(found, "a finished run", "repeat sirl train")
    return path / "model", f"{base}+{method}", base, met


def run_of(path: Path) -> Path:
    """Return the folder of the run that a folder would belong to: of a snapshot its run, else itself."""
    return path.parents[1] if path.parent.name == SNAPSHOTS else path


def _organism_folder(spec: str) -> Path:
    name = spec.removeprefix(ORGANISM)
    for folder in (WEIGHTS / name, Path(name)):
        if name and folder.is_dir():
            return folder
    shipped = suggest(name, (p.name for p in sorted(WEIGHTS.glob("*"))))
    raise ConfigError(f"no organism {name!r}", "a shipped organism or the folder of a built one", shipped)


def _training(config: Path) -> dict[str, Any]:
    """Return the settings of the training run that a config.json is of; empty if it is of none."""
    try:
        with open_plain(config) as handle:
            settings = json.loads(handle.read())
    except (OSError, ValueError, RecursionError, RunError):  # a link too, as the hub's cache has them
        return {}
    is_run = isinstance(settings, dict) and settings.get("kind") == "train" and settings.get("model")
    return settings if is_run else {}
