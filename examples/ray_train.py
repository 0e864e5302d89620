"""Train over a Ray cluster: Ray reserves the machines, accelerate launches the processes on each.

Not run on a cluster here, and Ray is no dependency: the command that each machine starts is tested, the rest
is a starting point. The run folder must lie on a disk that all machines share.

    python examples/ray_train.py meta-llama/Llama-3.1-8B-Instruct /shared/runs/train --machines 2 --gpus 8
"""

from __future__ import annotations

import argparse
import subprocess

from sirl.config import RECIPES

PORT = 29500


def address() -> str:
    """Return where this machine is reached."""
    import ray

    return str(ray.util.get_node_ip_address())


def command(asked: argparse.Namespace, machine: int, first: str) -> list[str]:
    """Return what one machine runs: its share of the processes."""
    accelerate = [
        *("accelerate", "launch", "--config_file", str(RECIPES / "accelerate" / "fsdp2-nodes.yaml")),
        *("--num_machines", str(asked.machines), "--num_processes", str(asked.machines * asked.gpus)),
        *("--machine_rank", str(machine), "--main_process_ip", first, "--main_process_port", str(PORT)),
    ]
    return [*accelerate, "-m", "sirl", "train", asked.model, "--recipe", asked.recipe, "--out", asked.out]


def launch(asked: argparse.Namespace, machine: int, first: str) -> int:
    """Start one machine's share of the processes and return their exit code."""
    return subprocess.run(command(asked, machine, first), check=False).returncode


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--machines", type=int, default=2)
    parser.add_argument("--gpus", type=int, default=8, help="of each machine")
    return parser.parse_args(words)


def main() -> None:
    """Launch on every machine and end as the launchers end."""
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    asked = arguments()
    ray.init()
    group = placement_group([{"CPU": 1, "GPU": asked.gpus}] * asked.machines, strategy="STRICT_SPREAD")
    ray.get(group.ready())
    places = [PlacementGroupSchedulingStrategy(group, number) for number in range(asked.machines)]
    reached, started = (
        ray.remote(address),
        ray.remote(max_retries=0)(launch),
    )  # a killed run: the same command again
    first = ray.get(reached.options(num_cpus=1, scheduling_strategy=places[0]).remote())
    tasks = [
        started.options(num_cpus=1, num_gpus=asked.gpus, scheduling_strategy=place).remote(
            asked, machine, first
        )
        for machine, place in enumerate(places)
    ]
    raise SystemExit(max(ray.get(tasks)))


if __name__ == "__main__":
    main()
