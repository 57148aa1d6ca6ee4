"""What a process of a run has to know of its scheduler, from its environment: who the others are, how to say it was stopped.

JAX finds some of them by itself (`jax.distributed.initialize()` without arguments): SLURM, Open MPI up to 4, Cloud TPU and,
with the package `kubernetes` and rights to read the cluster, Kubernetes. Here it is decided when to ask it, and what to
tell it where it finds nothing or too little. docs/launching.md has the table.
"""

import importlib.util
import os
import pathlib
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

Environment = Mapping[str, str]

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
EXIT = "LEO_PREEMPTED_EXIT"
DEAD_AFTER = "LEO_DEAD_AFTER"
PORT = 8476  # of process 0, where nobody names one
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
TPU_LISTS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
QUOTA = pathlib.Path("/sys/fs/cgroup/cpu.max")  # "max 100000", or microseconds of processor time in each period
METADATA = "http://{}/computeMetadata/v1/instance/attributes/worker-network-endpoints"


class ProcessesError(ValueError):
    """The environment does not say what it has to; the message says what to set."""


def cores() -> int:
    """Processor cores that this process may use: of its affinity mask, and of its container's quota if it has one."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = (QUOTA.read_text() if QUOTA.exists() else "max").partition(" ")
    return own if quota.strip() == "max" else min(own, max(1, round(int(quota) / int(period))))


def installed(package: str) -> bool:
    """Whether `package` can be imported."""
    return importlib.util.find_spec(package) is not None


def joining(
    environment: Environment, *, tpu_hosts: Callable[[], int] = lambda: 1, has: Callable[[str], bool] = installed
) -> dict[str, Any] | None:
    """Arguments for `jax.distributed.initialize`, or None for a process that is alone.

    Args:
        environment: of this process.
        tpu_hosts: how many hosts the TPU slice has that this machine belongs to.
        has: whether a Python package is there.

    Raises:
        ProcessesError: there are others, and this process cannot know where.
    """
    if COUNT in environment:
        return _by_hand(environment)
    own = _own_devices(environment)
    address = {"coordinator_address": environment[ADDRESS]} if ADDRESS in environment else {}
    hosts = [environment[name] for name in TPU_LISTS if name in environment]  # Kubernetes on Google's cloud has them
    if any("," in names for names in hosts) or _number(environment, "MEGASCALE_NUM_SLICES") > 1 or tpu_hosts() > 1:
        return address  # JAX knows the rest, and never divides a TPU host's chips
    if hosts:
        return None
    if _number(environment, "OMPI_COMM_WORLD_SIZE") > 1:
        return _open_mpi(environment, address) | own
    if environment.keys() >= set(SLURM) and _number(environment, "SLURM_NTASKS") > 1:
        return address | own
    if _number(environment, "SKYPILOT_NUM_NODES") > 1:
        head = environment["SKYPILOT_NODE_IPS"].split()[0]
        return _told(
            address.get("coordinator_address", f"{head}:{PORT}"),
            environment,
            "SKYPILOT_NUM_NODES",
            "SKYPILOT_NODE_RANK",
        )
    if {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= environment.keys():
        if has("kubernetes"):
            return address
        raise ProcessesError(
            f"this is pod {environment['JOB_COMPLETION_INDEX']} of an indexed job: set {ADDRESS}, {COUNT} and {INDEX} as "
            f"launch/gke/jobset-gpu.yaml does, or {COUNT}=1 for a job of one pod"
        )
    if address:
        raise ProcessesError(
            f"{ADDRESS} is set, and no scheduler that counts the processes is seen: set {COUNT} and {INDEX} too"
        )
    return None


def _by_hand(environment: Environment) -> dict[str, Any] | None:
    """What JAX_NUM_PROCESSES and its two companions say; schedulers are not asked."""
    if _number(environment, COUNT) == 1:
        return None
    missing = [name for name in (ADDRESS, INDEX) if name not in environment]
    if missing:
        raise ProcessesError(
            f"{COUNT} is {environment[COUNT]}: set {' and '.join(missing)} too, or {COUNT}=1 to run alone"
        )
    return _told(environment[ADDRESS], environment, COUNT, INDEX)


def _told(address: str, environment: Environment, count: str, index: str) -> dict[str, Any]:
    """All that JAX needs to know, the count and the index from the variables of these names."""
    return {
        "coordinator_address": address if ":" in address else f"{address}:{PORT}",
        "num_processes": _number(environment, count),
        "process_id": _number(environment, index),
        "cluster_detection_method": "deactivate",
    }


def _open_mpi(environment: Environment, address: Mapping[str, Any]) -> dict[str, Any]:
    """Open MPI 4 tells JAX where its first process is, 5 does not."""
    if "OMPI_MCA_orte_hnp_uri" in environment:
        return dict(address)
    if not address:
        raise ProcessesError(
            f"this Open MPI does not tell where process 0 is: mpirun -x {ADDRESS}=$(hostname):{PORT} …, on that machine"
        )
    told = _told(address["coordinator_address"], environment, "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
    if _number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE") > 1 and "JAX_LOCAL_DEVICE_IDS" not in environment:
        told["local_device_ids"] = [_number(environment, "OMPI_COMM_WORLD_LOCAL_RANK")]  # as JAX does for Open MPI 4
    return told


def _own_devices(environment: Environment) -> dict[str, list[int]]:
    """The GPUs of a SLURM or Open MPI process, where JAX's rule, the one numbered as the process on its host, is wrong.

    A process that is alone on its host has all of them; one that the scheduler shows a single GPU has that one.
    """
    if "JAX_LOCAL_DEVICE_IDS" in environment:
        return {}  # JAX reads it
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if _processes_here(environment) == 1:
        count = len(visible) or _number(environment, "SLURM_GPUS_ON_NODE", 0)
        return {"local_device_ids": list(range(count))} if count else {}
    return {"local_device_ids": [0]} if len(visible) == 1 else {}


def _processes_here(environment: Environment) -> int | None:
    """How many of the run's processes this host has, if the scheduler says it."""
    if "OMPI_COMM_WORLD_LOCAL_SIZE" in environment:
        return _number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE")
    counts: list[int] = []
    for part in filter(None, environment.get("SLURM_STEP_TASKS_PER_NODE", "").split(",")):  # 8(x3),4
        tasks, _, times = part.partition("(x")
        counts += [int(tasks)] * int(times.rstrip(")") or 1)
    node = _number(environment, "SLURM_NODEID", 0)
    return counts[node] if node < len(counts) else None


def cloud_tpu_hosts(environment: Environment, timeout: float = 5.0) -> int:
    """Hosts of the Cloud TPU slice that this machine belongs to; 1 where there is none.

    Their number stands in no variable, only on the metadata server. To be called after `import jax`, which sets
    TPU_SKIP_MDS_QUERY on machines without TPU chips.
    """
    platforms = environment.get("JAX_PLATFORMS", "")
    if "TPU_SKIP_MDS_QUERY" in environment or (platforms and "tpu" not in platforms) or not installed("libtpu"):
        return 1
    address = METADATA.format(environment.get("GCE_METADATA_IP", "metadata.google.internal"))
    request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.read().decode().count(",") + 1
    except OSError:  # no such attribute, or no such server: a TPU that is lent in another way, on one host
        return 1


def preempted_exit(environment: Environment) -> int:
    """Exit code of a run that was told to stop and has saved: 0, or what LEO_PREEMPTED_EXIT says.

    A scheduler that takes 0 for a finished run is given another number there, on which it runs the same command again. 1
    and 2 are those of errors, and from 126 on they belong to the shell and to signals.

    Raises:
        ProcessesError: the variable is no number from 3 to 125, nor 0.
    """
    text = environment.get(EXIT, "0")
    if text not in map(str, (0, *range(3, 126))):
        raise ProcessesError(f"{EXIT} is {text!r}: it has to be 0 or a number from 3 to 125")
    return int(text)


def dead_after(environment: Environment) -> float:
    """Seconds without a sign of life after which another process of the run is taken for dead: 60, or LEO_DEAD_AFTER.

    Raises:
        ProcessesError: the variable is no number from 5 on.
    """
    text = environment.get(DEAD_AFTER, "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 5 <= seconds < float("inf"):
        raise ProcessesError(f"{DEAD_AFTER} is {text!r}: seconds of silence, at least 5")
    return seconds


def _number(environment: Environment, name: str, default: int = 1) -> int:
    try:
        return int(environment.get(name, default))
    except ValueError:
        raise ProcessesError(f"{name} is {environment[name]!r}: it has to be a whole number") from None
