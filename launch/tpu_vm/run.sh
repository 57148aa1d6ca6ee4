#!/usr/bin/env bash
# Trains on a Cloud TPU slice, on all of its hosts, from this machine. From the root of a clone:
#
#   ZONE=us-west4-a SPOT=1 NFS=10.0.0.2:/runs launch/tpu_vm/run.sh leo v5litepod-16 \
#       --config=configs/taichi.py --workdir=/mnt/leo/taichi --config.data.dir=gs://BUCKET/taichi --config.animator.vgg19=/mnt/leo/vgg19.npz \
#       --config.model.dtype=bfloat16 --config.data.batch_size=128 --config.animator.steps=400000
#
# Starts: the slice, if it is not there (create.sh); a copy of this clone's tracked files on every host; there, all stages of
#   the config (worker.sh). Shows their logs. NFS is mounted at /mnt/leo on every host: all of them write the workdir,
#   and what lies on a TPU VM is gone with it. Data are read from gs:// or from there.
# Costs: the slice's price until `create.sh --delete NAME`, also when the run is over: DELETE=1 deletes it then. The paper's
#   trainings take at least 222 chip-hours of v5e at 256 px, 83 of them the animator (800k steps of batch 64; the roofline's
#   bound in docs/scale.md, in bfloat16; nothing of it was measured, and float32, the default, takes several times as long); for another slice or config,
#   python launch/aot.py --config=configs/taichi.py --stage=animator --topology=v5e-16 --config.model.dtype=bfloat16
# Stops: Ctrl-C ends this script only, the run goes on; STOP=1 with the same command makes it save and end. When the slice is
#   taken away its hosts get SIGTERM, save, and this script asks for a new slice and goes on there. So it does, up to nine
#   times, when one host dies.
# Resumes: the same command. It finds a run that is under way, or starts it again from its last checkpoint.
# Logs: ~/leo.log on every host, and the workdir.
set -euo pipefail
: "${ZONE:?set ZONE to the zone of the TPUs, such as us-west4-a}"
name=${1:?usage: ZONE=… run.sh NAME ACCELERATOR_TYPE FLAGS…}
accelerator=${2:?usage: ZONE=… run.sh NAME ACCELERATOR_TYPE FLAGS…}
shift 2
here=$(cd "$(dirname "$0")" && pwd)
place=(--zone="$ZONE" ${PROJECT:+--project="$PROJECT"})
worker="bash leo_jax/launch/tpu_vm/worker.sh"

on() { # on WORKER COMMAND…: runs it there
    local which=$1
    shift
    gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" --worker="$which" --command="$*"
}

if [[ ${STOP:-} ]]; then
    on all "$worker stop"
    exit
fi

archive=$(mktemp -t leo-XXXXXX.tar.gz)
trap 'rm -f "$archive"' EXIT
(cd "$here/../.." && git ls-files -z | tar --null --files-from=- -czf "$archive")
died=0
while :; do
    "$here/create.sh" "$name" "$accelerator"
    # What fails from here on may be a slice that is just being taken away: the next round sees.
    if gcloud compute tpus tpu-vm scp "$archive" "$name:leo.tar.gz" "${place[@]}" --worker=all; then
        on all "mkdir -p leo_jax && tar -xzf leo.tar.gz -C leo_jax && NFS=${NFS:-} $worker run$(printf ' %q' "$@")" || true
    fi
    code=$(on 0 "$worker code" | tail -n 1) || code=lost
    case $code in
        0)
            echo "finished"
            if [[ ${DELETE:-} ]]; then "$here/create.sh" --delete "$name"; fi
            exit 0
            ;;
        stopped)
            echo "stopped; the same command goes on, create.sh --delete $name gives the slice back"
            exit 0
            ;;
        none)
            echo "the training did not start: the lines above say why"
            exit 1
            ;;
        75 | 143) echo "told to stop, and saved; going on" ;;
        76 | 134) # a host was lost, or one process killed: not for ever, it may be killed for want of memory
            if ((++died > 9)); then
                echo "a process or its host died for the tenth time: the log above says which"
                exit "$code"
            fi
            echo "a process or its host died; going on from the last checkpoint"
            ;;
        running) echo "the connection broke, the run goes on; connecting again" ;;
        lost) echo "no host answers; asking for the slice again" ;;
        *)
            echo "the run failed with exit code $code: the log above says why"
            exit "$code"
            ;;
    esac
    sleep "${POLL_SECONDS:-30}"
done
