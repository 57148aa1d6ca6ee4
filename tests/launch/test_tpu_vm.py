"""Cloud TPU scripts, with a stand-in for gcloud that writes down what it is asked, and two folders in place of hosts."""

import os
import pathlib
import signal

import pytest

from tests.launch.scripts import LAUNCH, Stubs, wait_for_line

CREATE, RUN = LAUNCH / "tpu_vm" / "create.sh", LAUNCH / "tpu_vm" / "run.sh"
ZONE = {"ZONE": "us-west4-a", "POLL_SECONDS": "0.1", "SPOT": "", "NETWORK": "", "PROJECT": "", "RUNTIME_VERSION": ""}
PLACE = "--zone=us-west4-a"

# Each `list` takes the next line of `states` until one is left. `ssh` runs the command on the hosts asked for.
GCLOUD = """
case "$*" in
    *" queued-resources list "*)
        head -n 1 "$CLOUD/states"
        (($(wc -l <"$CLOUD/states") < 2)) || sed -i 1d "$CLOUD/states" ;;
    *" tpu-vm scp "*)
        for host in "$CLOUD"/host-*; do cp "$5" "$host/leo.tar.gz"; done ;;
    *" tpu-vm ssh "*)
        [[ ! -e $CLOUD/no-answer ]] || { rm "$CLOUD/no-answer"; exit 255; }
        which=$(sed -E 's/.*--worker=([a-z0-9]+).*/\\1/' <<<"$*")
        [[ $which == all ]] && which='*'
        command=${*: -1}
        jobs=() code=0
        for host in "$CLOUD"/host-$which; do
            (cd "$host" && HOME=$host exec bash -c "${command#--command=}") &
            jobs+=($!)
        done
        for job in "${jobs[@]}"; do wait "$job" || code=$?; done
        exit $code ;;
esac
"""

# In place of the environment's Python: writes what it is told, and ends with the next line of HOME/codes ('wait': not at all).
PYTHON = """
echo "process of $HOSTNAME: $*, stopped: $LEO_PREEMPTED_EXIT"
code=$(head -n 1 "$HOME/codes")
sed -i 1d "$HOME/codes"
trap 'echo saving; exit "$LEO_PREEMPTED_EXIT"' TERM
[[ $code != wait ]] || echo waits
while [[ $code == wait ]]; do sleep 0.1; done
exit "$code"
"""


class Cloud(Stubs):
    """The stubs, two hosts, and what the queue says of the slice."""

    def __init__(self, folder, states=("ACTIVE",), codes=("0",)):
        super().__init__(folder)
        self.cloud = folder / "cloud"
        self.hosts = [self.cloud / f"host-{i}" for i in range(2)]
        for host in self.hosts:
            self.add("python", PYTHON, folder=host / "leo-env" / "bin")
            (host / "codes").write_text("".join(f"{code}\n" for code in codes))
        (self.cloud / "states").write_text("".join(f"{state}\n" for state in states))
        self.add("gcloud", GCLOUD)
        self.add("python3")
        self.add("sudo")
        self.add("mountpoint", "exit 1")
        self.environment = {**ZONE, "CLOUD": str(self.cloud)}

    def asked(self):
        """The verbs of the gcloud calls, in order."""
        words = [line.split() for line in self.calls("gcloud")]
        return [call[4] for call in words]


@pytest.mark.parametrize(
    ("accelerator", "runtime"),
    [
        ("v5litepod-16", "v2-alpha-tpuv5-lite"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v6e-64", "v2-alpha-tpuv6e"),
        ("v4-32", "tpu-ubuntu2204-base"),
    ],
)
def test_asks_for_a_slice_that_is_not_there(accelerator, runtime, tmp_path):
    cloud = Cloud(tmp_path, states=["", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"])
    code, output = cloud.run(CREATE, "leo", accelerator, **cloud.environment)
    assert code == 0, output
    assert cloud.asked() == ["list", "create", "list", "list", "list"]
    assert cloud.calls("gcloud")[1] == (
        f"gcloud compute tpus queued-resources create leo {PLACE} --node-id=leo "
        f"--accelerator-type={accelerator} --runtime-version={runtime}"
    )


def test_options_of_the_slice(tmp_path):
    cloud = Cloud(tmp_path, states=["", "ACTIVE"])
    more = {"SPOT": "1", "PROJECT": "mine", "NETWORK": "net", "RUNTIME_VERSION": "v9"}
    cloud.run(CREATE, "leo", "v5litepod-8", **{**cloud.environment, **more})
    assert cloud.calls("gcloud")[1].endswith("--runtime-version=v9 --spot --network=net")
    assert all(f"{PLACE} --project=mine" in call for call in cloud.calls("gcloud"))


def test_slice_that_is_there_is_left_alone(tmp_path):
    cloud = Cloud(tmp_path)
    assert cloud.run(CREATE, "leo", "v5litepod-16", **cloud.environment)[0] == 0
    assert cloud.asked() == ["list"]


def test_slice_that_was_taken_away_is_asked_for_anew(tmp_path):
    cloud = Cloud(tmp_path, states=["SUSPENDED", "DELETING", "", "ACTIVE"])
    assert cloud.run(CREATE, "leo", "v5litepod-16", **cloud.environment)[0] == 0
    assert cloud.asked() == ["list", "delete", "list", "list", "create", "list"]
    assert cloud.calls("gcloud")[1] == f"gcloud compute tpus queued-resources delete leo {PLACE} --force --quiet"


def test_failing_gcloud_ends_the_script(tmp_path):
    cloud = Cloud(tmp_path)
    cloud.add("gcloud", "exit 7")
    assert cloud.run(CREATE, "leo", "v5litepod-16", **cloud.environment)[0] == 7
    assert cloud.asked() == ["list"], "it would ask for a slice, or again and again, without rights to"


def test_says_what_is_missing(tmp_path):
    cloud = Cloud(tmp_path)
    for script in (CREATE, RUN):
        code, output = cloud.run(script, "leo", "v5litepod-16", CLOUD="", ZONE="")
        assert code != 0 and "set ZONE" in output
    code, output = cloud.run(CREATE, "leo", "v9-1", **cloud.environment)
    assert code != 0 and "RUNTIME_VERSION" in output and not cloud.calls("gcloud")


def test_trains_on_all_hosts_until_it_is_finished(tmp_path):
    """Stopped once (saved, 75), started again, finished; a flag with a blank arrives as one."""
    cloud = Cloud(tmp_path, codes=["75", "0"])
    more = {"NFS": "10.0.0.2:/runs", "DELETE": "1"}
    code, output = cloud.run(RUN, "leo", "v5litepod-8", "--config=c.py", "--workdir=a b", **cloud.environment, **more)
    assert code == 0, output
    assert cloud.asked() == ["list", "scp", "ssh", "ssh"] * 2 + ["delete"]
    for host in cloud.hosts:
        assert (host / "leo_jax" / "leo_jax" / "main.py").exists(), "the clone did not come to this host"
        assert (
            (host / "leo.log").read_text().rstrip().endswith("-m leo_jax.main --config=c.py --workdir=a b, stopped: 75")
        )
    assert "told to stop, and saved; going on" in output and output.rstrip().endswith("finished")
    assert len(cloud.calls("sudo mount -t nfs 10.0.0.2:/runs /mnt/leo")) == 4
    (install, *_) = cloud.calls("python3 -m uv pip install")
    assert install.endswith("/leo_jax[tpu,gcs]")
    assert all("--worker=all" in call for call in cloud.calls("gcloud") if " scp " in call or "worker.sh run" in call)


def test_failed_run_is_not_started_again(tmp_path):
    cloud = Cloud(tmp_path, codes=["1", "0"])
    code, output = cloud.run(RUN, "leo", "v5litepod-8", "--config=c.py", **cloud.environment)
    assert code == 1 and "failed with exit code 1" in output, output
    assert "process of" in output, "the log was not shown"


def test_a_host_that_dies_is_got_over_but_not_for_ever(tmp_path):
    cloud = Cloud(tmp_path, codes=["76", "134", "0"])
    code, output = cloud.run(RUN, "leo", "v5litepod-8", "--config=c.py", **cloud.environment)
    assert code == 0 and output.count("a process or its host died; going on") == 2, output


def test_one_that_dies_again_and_again_ends_it(tmp_path):
    cloud = Cloud(tmp_path, codes=["76"] * 10)
    code, output = cloud.run(RUN, "leo", "v5litepod-8", "--config=c.py", **cloud.environment)
    assert code == 76 and output.count("a process or its host died; going on") == 9, output


def parent(process):
    return int(pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.mark.parametrize(
    ("how", "said"),
    [(signal.SIGTERM, "told to stop, and saved; going on"), (signal.SIGKILL, "a process or its host died")],
)
def test_hosts_that_go_down(how, said, tmp_path):
    """A shutdown signals all processes at once, also the one that waits for the training's code; a crash leaves none."""
    cloud = Cloud(tmp_path, codes=["wait", "0"])
    process = cloud.start(RUN, "leo", "v5litepod-8", **cloud.environment)
    for host in cloud.hosts:
        wait_for_line(host / "leo.log", "waits", process)
    for host in cloud.hosts:
        training = int((host / "leo.pid").read_text())
        for number in (parent(training), training):
            os.kill(number, how)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and said in output, output


def test_failed_installation_is_not_tried_for_ever(tmp_path):
    cloud = Cloud(tmp_path)
    cloud.add("python3", "echo no such package; exit 1")
    code, output = cloud.run(RUN, "leo", "v5litepod-8", **cloud.environment)
    assert code == 1 and "no such package" in output and "did not start" in output


def test_slice_lost_on_the_way(tmp_path):
    """Its hosts do not answer when the run is to be started; the next round sees that it is gone, and asks for another."""
    cloud = Cloud(tmp_path, states=["ACTIVE", "SUSPENDED", "", "ACTIVE"])
    (cloud.cloud / "no-answer").touch()
    code, output = cloud.run(RUN, "leo", "v5litepod-8", **cloud.environment)
    assert code == 0 and "no host answers; asking for the slice again" in output, output
    round_of = ["scp", "ssh", "ssh"]
    assert cloud.asked() == ["list", *round_of, "list", "delete", "list", "create", "list", *round_of]


def test_stop_saves_and_ends_the_script_that_waits(tmp_path):
    cloud = Cloud(tmp_path, codes=["wait", "0"])
    process = cloud.start(RUN, "leo", "v5litepod-8", **cloud.environment)
    for host in cloud.hosts:
        wait_for_line(host / "leo.log", "process of", process)
    assert cloud.run(RUN, "leo", "v5litepod-8", **cloud.environment, STOP="1")[0] == 0
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped; the same command goes on" in output, output
    assert all("saving" in (host / "leo.log").read_text() for host in cloud.hosts)
    assert cloud.run(RUN, "leo", "v5litepod-8", **cloud.environment)[0] == 0, "the same command does not go on"


def test_broken_connection_leaves_the_run_and_finds_it_again(tmp_path):
    cloud = Cloud(tmp_path, codes=["wait"])
    process = cloud.start(RUN, "leo", "v5litepod-8", **cloud.environment)
    for host in cloud.hosts:
        wait_for_line(host / "leo.log", "process of", process)
    os.killpg(process.pid, signal.SIGKILL)  # the script and its connections
    process.wait()
    numbers = [(host / "leo.pid").read_text() for host in cloud.hosts]
    again = cloud.start(RUN, "leo", "v5litepod-8", **cloud.environment)
    shown = (line for line in again.stdout if "process of" in line)
    assert next(shown) and next(shown), "it does not show the hosts' logs of the run it found"
    assert [(host / "leo.pid").read_text() for host in cloud.hosts] == numbers, "it was started a second time"
    cloud.run(RUN, "leo", "v5litepod-8", **cloud.environment, STOP="1")
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
