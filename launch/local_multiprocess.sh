#!/usr/bin/env bash
# Trains with several processes on this machine, each with simulated devices: a rehearsal of a pod, on CPUs.
#
#   PROCESSES=2 DEVICES=2 launch/local_multiprocess.sh --config=configs/puppets.py --workdir=runs/rehearsal
#
# Starts: PROCESSES × `python -m leo_jax.main` with the given flags, which meet at a free port and see DEVICES devices each.
#   All run on this machine's cores: it is for trying things, slower than one process.
# Costs: no accelerator. What real chips would take: docs/scale.md.
# Stops: SIGTERM and Ctrl-C are passed to all; they save the same step and end with 0 (or LEO_PREEMPTED_EXIT). When one fails
#   the others are ended, and this script with its exit code.
# Resumes: the same command, also with other numbers of processes and devices.
# Logs: every line with its process's number before it; and the workdir.
set -euo pipefail
processes=${PROCESSES:-2}
python=${PYTHON:-python}
patience=$((2 * ${GRACE_SECONDS:-10})) # half seconds that the others have to end by themselves when one has failed

free_port='import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])'
JAX_COORDINATOR_ADDRESS=localhost:${PORT:-$("$python" -c "$free_port")}
export JAX_COORDINATOR_ADDRESS JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES="${DEVICES:-2}" JAX_NUM_PROCESSES="$processes"

running=()
trap 'kill -TERM "${running[@]}" 2>/dev/null || true' TERM INT
for ((index = 0; index < processes; index++)); do
    # Bash lets background processes ignore Ctrl-C: the trap above speaks for it. The labels have to outlive both signals.
    JAX_PROCESS_ID=$index "$python" -m leo_jax.main "$@" > >(trap '' TERM INT && exec sed -u "s/^/[$index] /") 2>&1 &
    running+=($!)
done

code=0
while ((${#running[@]})); do
    sleep 0.5
    left=()
    for process in "${running[@]}"; do
        if kill -0 "$process" 2>/dev/null; then
            left+=("$process")
            continue
        fi
        wait "$process" && ended=0 || ended=$?
        ((code)) || code=$ended
    done
    running=("${left[@]}")
    if ((code && code != ${LEO_PREEMPTED_EXIT:-0} && patience-- == 0)); then
        kill -KILL "${running[@]}" 2>/dev/null || true
    fi
done
exit "$code"
