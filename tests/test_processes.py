"""A run's processes find each other wherever they are started; what JAX's own detection makes of it is asked of JAX."""

import contextlib
import http.server
import os
import subprocess
import sys
import threading

import jax
import pytest

from leo_jax import processes
from leo_jax.processes import ProcessesError, joining

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_NODELIST": "node[003-004]",
    "SLURM_NTASKS": "16",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
}
PER_NODE = SLURM | {
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}
MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
MPI_4 = MPI | {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"}
SKY = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8"}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}
HAND = {"JAX_COORDINATOR_ADDRESS": "leo-0:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}


def told(address, count, index, **more):
    return {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": index,
        "cluster_detection_method": "deactivate",
        **more,
    }


@pytest.mark.parametrize(
    ("environment", "arguments"),
    [
        ({}, None),
        (HAND, told("leo-0:1234", 2, 1)),
        (HAND | SLURM | POD, told("leo-0:1234", 2, 1)),
        (HAND | {"JAX_COORDINATOR_ADDRESS": "leo-0"}, told("leo-0:8476", 2, 1)),
        ({"JAX_NUM_PROCESSES": "1"} | POD, None),
        (SLURM, {}),
        (SLURM | {"JAX_COORDINATOR_ADDRESS": "ib3:1234"}, {"coordinator_address": "ib3:1234"}),
        (SLURM | {"SLURM_NTASKS": "1"}, None),
        ({"SLURM_NTASKS": "8"}, None),  # a shell of salloc
        (
            {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
            None,
        ),  # sbatch, no srun
        (SLURM | {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, {}),  # JAX takes the one of the task's number
        (SLURM | {"CUDA_VISIBLE_DEVICES": "5"}, {"local_device_ids": [0]}),  # each task is shown its own only
        (PER_NODE, {}),
        (PER_NODE | {"SLURM_GPUS_ON_NODE": "4"}, {"local_device_ids": [0, 1, 2, 3]}),
        (PER_NODE | {"CUDA_VISIBLE_DEVICES": "2,3"}, {"local_device_ids": [0, 1]}),
        (PER_NODE | {"SLURM_GPUS_ON_NODE": "4", "JAX_LOCAL_DEVICE_IDS": "0,1"}, {}),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "15,1", "SLURM_GPUS_ON_NODE": "2"}, {"local_device_ids": [0, 1]}),
        (MPI_4, {}),
        (MPI | {"JAX_COORDINATOR_ADDRESS": "a:1"}, told("a:1", 4, 3, local_device_ids=[1])),
        (
            MPI | {"JAX_COORDINATOR_ADDRESS": "a:1", "CUDA_VISIBLE_DEVICES": "3"},
            told("a:1", 4, 3, local_device_ids=[0]),
        ),
        (MPI | {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_LOCAL_DEVICE_IDS": "1"}, told("a:1", 4, 3)),
        (SKY, told("10.0.0.7:8476", 2, 1)),
        (SKY | {"SKYPILOT_NUM_NODES": "1"}, None),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
        ({"TPU_WORKER_HOSTNAMES": "localhost"} | POD, None),
        ({"TPU_WORKER_HOSTNAMES": "leo-0,leo-1"} | POD, {}),
        ({"TPU_PROCESS_ADDRESSES": "leo-0:8471,leo-1:8471"}, {}),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": "2"}, {}),
    ],
)
def test_what_jax_is_told(environment, arguments):
    assert joining(environment, has=lambda package: False) == arguments


def test_hosts_of_a_tpu_slice_join():
    assert joining({}, tpu_hosts=lambda: 4) == {}
    assert joining(SKY, tpu_hosts=lambda: 4) == {}, "a TPU's hosts know each other better than their launcher does"


def test_kubernetes_is_asked_if_its_client_is_there():
    assert joining(POD, has=lambda package: package == "kubernetes") == {}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (POD, r"pod 1 of an indexed job: set JAX_COORDINATOR_ADDRESS.*jobset-gpu\.yaml.*JAX_NUM_PROCESSES=1"),
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, "set JAX_NUM_PROCESSES and JAX_PROCESS_ID too"),
        ({"JAX_NUM_PROCESSES": "3"}, "JAX_NUM_PROCESSES is 3: set JAX_COORDINATOR_ADDRESS and JAX_PROCESS_ID too"),
        (HAND | {"JAX_PROCESS_ID": "one"}, "JAX_PROCESS_ID is 'one': it has to be a whole number"),
        (MPI, r"mpirun -x JAX_COORDINATOR_ADDRESS="),
    ],
)
def test_says_what_is_missing(environment, message):
    with pytest.raises(ProcessesError, match=message):
        joining(environment, has=lambda package: False)


DETECT = """
import os
from jax._src import clusters
from leo_jax import processes
arguments = processes.joining(os.environ)
given = [arguments.get(name) for name in ("coordinator_address", "num_processes", "process_id", "local_device_ids")]
method = arguments.get("cluster_detection_method")
if method != "deactivate":
    given = clusters.ClusterEnv.auto_detect_unset_distributed_params(*given, method, 5)
print(*given)
"""


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        (SLURM, "node003:62055 16 9 [1]"),  # a job's port is 61440 + its number mod 4096
        (SLURM | {"CUDA_VISIBLE_DEVICES": "5"}, "node003:62055 16 9 [0]"),
        (SLURM | {"JAX_COORDINATOR_PORT": "1234"}, "node003:1234 16 9 [1]"),
        (PER_NODE | {"SLURM_GPUS_ON_NODE": "4"}, "node003:62055 2 1 [0, 1, 2, 3]"),
        (MPI_4, "10.96.0.1:62624 4 3 [1]"),  # likewise, of the number // 4096
        (HAND | POD, "leo-0:1234 2 1 None"),
    ],
    ids=["slurm-task-per-gpu", "slurm-bound-gpu", "slurm-port", "slurm-task-per-node", "open-mpi-4", "pod"],
)
def test_installed_jax_agrees(environment, found):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "OMPI_"))} | environment
    done = subprocess.run([sys.executable, "-c", DETECT], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == found, done.stderr


@contextlib.contextmanager
def metadata_server(attributes):
    """A metadata server with these attributes; gives the environment that leads to it."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rsplit("/", 1)[1]
            known = name in attributes and self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if known else 404)
            self.end_headers()
            if known:
                self.wfile.write(attributes[name].encode())

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("localhost", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"GCE_METADATA_IP": f"localhost:{server.server_port}"}
        server.shutdown()


@pytest.mark.parametrize(
    ("attributes", "hosts"),
    [
        ({"worker-network-endpoints": "unknown:unknown:10.164.0.2"}, 1),
        ({"worker-network-endpoints": "a:0:10.164.0.2,b:1:10.164.0.3,c:2:10.164.0.4"}, 3),
        ({"worker-network-endpoints": "t-w0,t-w1"}, 2),
        ({}, 1),
    ],
)
def test_counts_the_hosts_of_a_cloud_tpu(attributes, hosts, monkeypatch):
    monkeypatch.setattr(processes, "installed", lambda package: package == "libtpu")
    with metadata_server(attributes) as environment:
        assert processes.cloud_tpu_hosts(environment) == hosts
        assert processes.cloud_tpu_hosts(environment | {"TPU_SKIP_MDS_QUERY": "1"}) == 1, "no TPU chips are here"
        assert processes.cloud_tpu_hosts(environment | {"JAX_PLATFORMS": "cpu"}) == 1, "TPUs are not asked for"


def test_machine_without_metadata_server_is_alone(monkeypatch):
    monkeypatch.setattr(processes, "installed", lambda package: True)
    assert processes.cloud_tpu_hosts({"GCE_METADATA_IP": "localhost:9"}, timeout=1.0) == 1


def test_jax_marks_machines_without_tpu():
    """`cloud_tpu_hosts` leaves the metadata server alone on that mark."""
    code = "import os; os.environ.pop('TPU_SKIP_MDS_QUERY', None); import jax; print(os.environ['TPU_SKIP_MDS_QUERY'])"
    assert jax.default_backend() == "cpu"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


def test_jax_and_the_metadata_server_agree_on_a_slice():
    """JAX's own detection of a Cloud TPU slice, on the same answers."""
    code = (
        "from jax._src.clusters import cloud_tpu_cluster as c\n"
        "c.running_in_cloud_tpu_vm = True; import os; os.environ.pop('TPU_SKIP_MDS_QUERY', None)\n"
        "g = c.GceTpuCluster\n"
        "print(g.is_env_present(), g.get_process_count(), g.get_process_id(), g.get_coordinator_address(5, None))"
    )
    attributes = {
        "agent-worker-number": "1",
        "worker-network-endpoints": "a:0:127.0.0.1,b:1:127.0.0.2",
        "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-8'",
    }
    with metadata_server(attributes) as environment:
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True
        )
    assert done.stdout.split() == ["True", "2", "1", "127.0.0.1:8482"], done.stderr


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 3), ("250000 100000", 2), ("50000 100000", 1), (None, 3)])
def test_cores_are_those_that_this_process_may_use(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda process: {1, 4, 7}, raising=False)
    monkeypatch.setattr(processes, "QUOTA", tmp_path / "cpu.max")
    if quota:
        processes.QUOTA.write_text(quota + "\n")
    assert processes.cores() == cores
