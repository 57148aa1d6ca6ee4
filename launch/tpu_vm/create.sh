#!/usr/bin/env bash
# Asks Google Cloud for a TPU slice (as a queued resource) and returns when it is there; run.sh calls it by itself.
#
#   ZONE=us-west4-a launch/tpu_vm/create.sh NAME v5litepod-16
#   ZONE=us-west4-a SPOT=1 launch/tpu_vm/create.sh NAME v6e-64        # cheaper, and may be taken away at any time
#   ZONE=us-west4-a launch/tpu_vm/create.sh --delete NAME             # gives it back: it costs money until then
#
# Starts: one slice, TPU VMs without a program. RUNTIME_VERSION, NETWORK and PROJECT are taken from the environment if set.
# Costs: the slice's price from when it is there until it is deleted, whether it works or not. The paper's
#   trainings take at least 222 chip-hours of v5e at 256 px, 83 of them the animator (800k steps of batch 64; a bound of
#   docs/scale.md, in bfloat16; nothing of it was measured, and float32, the default, takes longer); for another slice or config, python launch/aot.py --config=configs/taichi.py --topology=v5e-16
# Resumes: the same command. A slice that is there is left alone; one that was taken away or failed is asked for again.
set -euo pipefail
: "${ZONE:?set ZONE to the zone of the TPUs, such as us-west4-a}"
place=(--zone="$ZONE" ${PROJECT:+--project="$PROJECT"})

delete() {
    gcloud compute tpus queued-resources delete "$1" "${place[@]}" --force --quiet
}

if [[ ${1:-} == --delete ]]; then
    delete "${2:?name the slice}"
    exit
fi
name=${1:?usage: ZONE=… create.sh NAME ACCELERATOR_TYPE}
accelerator=${2:?usage: ZONE=… create.sh NAME ACCELERATOR_TYPE, such as v5litepod-16}
case $accelerator in
    v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
    v5p-*) runtime=v2-alpha-tpuv5 ;;
    v6e-*) runtime=v2-alpha-tpuv6e ;;
    v2-* | v3-* | v4-*) runtime=tpu-ubuntu2204-base ;;
    *) runtime=${RUNTIME_VERSION:?set it: no default is known for $accelerator} ;;
esac

create() {
    gcloud compute tpus queued-resources create "$name" "${place[@]}" --node-id="$name" \
        --accelerator-type="$accelerator" --runtime-version="${RUNTIME_VERSION:-$runtime}" \
        ${SPOT:+--spot} ${NETWORK:+--network="$NETWORK"}
}

# An error of gcloud that is not about a missing slice (no rights, no such zone) ends the script.
state() {
    gcloud compute tpus queued-resources list "${place[@]}" --filter="name~/$name\$" --format="value(state.state)"
}

while :; do
    found=$(state)
    case $found in
        ACTIVE) exit 0 ;;
        "") create ;;
        FAILED | SUSPENDED)
            echo "$name is $found: asking for it anew"
            delete "$name"
            continue
            ;;
        *) echo "$name is $found" ;; # ACCEPTED, WAITING_FOR_RESOURCES, PROVISIONING, or on its way out
    esac
    sleep "${POLL_SECONDS:-30}"
done
