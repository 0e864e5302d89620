"""Train over a Ray cluster: Ray reserves the machines, accelerate launches the processes on each.

Not run here: a starting point. The run folder must lie on a disk that all machines share.

    python examples/ray_train.py meta-llama/Llama-3.1-8B-Instruct /shared/runs/train --machines 2 --gpus 8
"""

from __future__ import annotations

import argparse
import subprocess

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sirl.config import RECIPES

PORT = 29500


@ray.remote
def address() -> str:
    """Return where this machine is reached."""
    return str(ray.util.get_node_ip_address())


@ray.remote(max_retries=0)  # a killed run is continued by the same command, not by a lone machine
def launch(asked: argparse.Namespace, machine: int, first: str) -> int:
    """Start one machine's share of the processes and return their exit code."""
    accelerate = [
        *("accelerate", "launch", "--config_file", str(RECIPES / "accelerate" / "fsdp2-nodes.yaml")),
        *("--num_machines", str(asked.machines), "--num_processes", str(asked.machines * asked.gpus)),
        *("--machine_rank", str(machine), "--main_process_ip", first, "--main_process_port", str(PORT)),
    ]
    train = ["-m", "sirl", "train", asked.model, "--recipe", asked.recipe, "--out", asked.out]
    return subprocess.run([*accelerate, *train], check=False).returncode


def main() -> None:
    """Launch on every machine and end as the launchers end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--recipe", default="llama-3.1-8b")
    parser.add_argument("--machines", type=int, default=2)
    parser.add_argument("--gpus", type=int, default=8, help="of each machine")
    asked = parser.parse_args()
    ray.init()
    group = placement_group([{"CPU": 1, "GPU": asked.gpus}] * asked.machines, strategy="STRICT_SPREAD")
    ray.get(group.ready())
    places = [PlacementGroupSchedulingStrategy(group, number) for number in range(asked.machines)]
    first = ray.get(address.options(num_cpus=1, scheduling_strategy=places[0]).remote())
    tasks = [
        launch.options(num_cpus=1, num_gpus=asked.gpus, scheduling_strategy=place).remote(asked, machine, first)
        for machine, place in enumerate(places)
    ]
    raise SystemExit(max(ray.get(tasks)))


if __name__ == "__main__":
    main()
