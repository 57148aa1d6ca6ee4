"""JobSets are valid to the last key, and their numbers and names agree with each other and with what the training reads."""

import copy
import json
import math
import pathlib
import warnings

import jsonschema
import kubernetes_validate
import pytest
import yaml

from leo_jax import processes
from tests.launch.scripts import LAUNCH

SCHEMA = json.loads((pathlib.Path(__file__).parent / "jobset.schema.json").read_text())
NAMES = ["tpu", "gpu"]


def load(name):
    return yaml.safe_load((LAUNCH / "gke" / f"jobset-{name}.yaml").read_text())


def check(jobset):
    """Raises for unknown keys and wrong values in the JobSet, and in its templates as Kubernetes' own schema has them."""
    jsonschema.validate(jobset, SCHEMA)
    for part in jobset["spec"]["replicatedJobs"]:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": part["name"]}, **part["template"]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # jsonschema's, of how the package resolves references
            kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


def parts(name):
    jobset = load(name)
    (part,) = jobset["spec"]["replicatedJobs"]
    job = part["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    return jobset, part, job, pod, container


@pytest.mark.parametrize("name", NAMES)
def test_valid(name):
    check(load(name))


@pytest.mark.parametrize(
    "place",
    [
        ("spec",),
        ("spec", "failurePolicy", "rules", 0),
        ("spec", "replicatedJobs", 0, "template", "spec"),
        ("spec", "replicatedJobs", 0, "template", "spec", "podFailurePolicy", "rules", 0, "onExitCodes"),
        ("spec", "replicatedJobs", 0, "template", "spec", "template", "spec"),
        ("spec", "replicatedJobs", 0, "template", "spec", "template", "spec", "containers", 0),
    ],
    ids=lambda place: str(place[-1]),
)
def test_the_check_sees_unknown_keys(place):
    jobset = copy.deepcopy(load("gpu"))
    inner = jobset
    for key in place:
        inner = inner[key]
    inner["unknown"] = 1
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(jobset)


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_is_started_again_without_limit_and_a_failed_one_with(name):
    jobset, _, job, pod, container = parts(name)
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    code = processes.preempted_exit(env)
    assert code, "a pod that was told to stop would end with 0, and its job would count as done"
    exits, disrupted = job["podFailurePolicy"]["rules"]
    assert exits["action"] == disrupted["action"] == "FailJob"
    assert exits["onExitCodes"]["containerName"] == container["name"]
    assert exits["onExitCodes"]["values"] == [code, 143]
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    policy = jobset["spec"]["failurePolicy"]
    (rule,) = policy["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"], "it is the reason of a Job that its pods' policy failed"
    assert 0 < policy["maxRestarts"] < 10
    assert job["backoffLimit"] == 0, "a pod would be started again alone, while the others wait for the old one"
    assert pod["restartPolicy"] == "Never", "a pod failure policy asks for it"
    assert pod["terminationGracePeriodSeconds"] >= 120


@pytest.mark.parametrize("name", NAMES)
def test_there_is_shared_memory_for_the_workers_that_read(name):
    """64 MB are there by default; four workers of batches of 16 pairs of 256 px died of it."""
    _, _, _, pod, container = parts(name)
    (volume,) = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
    assert {"name": volume, "emptyDir": {"medium": "Memory"}} in pod["volumes"]


@pytest.mark.parametrize("name", NAMES)
def test_the_workdir_is_one_for_all_pods(name):
    _, _, job, pod, container = parts(name)
    assert job["completionMode"] == "Indexed" and job["completions"] == job["parallelism"] > 1
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (claim,) = [volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    (workdir,) = [arg.partition("=")[2] for arg in container["args"] if arg.startswith("--workdir=")]
    assert workdir.startswith(mounts[claim] + "/")
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}


def test_pods_with_gpus_are_told_where_the_others_are():
    jobset, part, job, _, container = parts("gpu")
    env = {entry["name"]: entry.get("value", "1") for entry in container["env"]}  # the index comes from the pod
    index = next(e["valueFrom"]["fieldRef"] for e in container["env"] if e["name"] == "JAX_PROCESS_ID")
    assert index["fieldPath"] == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}
    told = processes.joining(env | pod, has=lambda package: False)
    first = f"{jobset['metadata']['name']}-{part['name']}-0-0.{jobset['metadata']['name']}"  # as JobSet calls it
    host, _, port = told["coordinator_address"].partition(":")
    assert (host, told["num_processes"], told["process_id"]) == (first, job["completions"], 1)
    assert int(port) in [p["containerPort"] for p in container["ports"]]
    assert jobset["spec"]["network"]["enableDNSHostnames"]


def test_pods_with_tpus_make_up_the_slice():
    _, _, job, pod, container = parts("tpu")
    chips = math.prod(map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")))
    assert chips == job["completions"] * container["resources"]["limits"]["google.com/tpu"]
    hosts = ",".join(f"leo-train-0-{i}.leo" for i in range(job["completions"]))  # Google's cloud adds this to the pods
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    pod_env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1", "TPU_WORKER_HOSTNAMES": hosts}
    assert processes.joining(env | pod_env, has=lambda package: False) == {}, "JAX is to take the slice's own list"
