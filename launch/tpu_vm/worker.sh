#!/usr/bin/env bash
# One host's part of run.sh, which copies and calls it.
#
#   worker.sh run FLAGS…   installs the clone it lies in, starts the training unless it is under way, follows its log
#   worker.sh code         prints the exit code of the last training, `running`, `stopped` (by the next), or `none`
#   worker.sh stop         lets the training save and end
#
# Starts: `python -m leo_jax.main FLAGS…`, apart from the connection it was started by. Costs, and how it resumes: see run.sh.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
environment=$HOME/leo-env
log=$HOME/leo.log
pid_file=$HOME/leo.pid
code_file=$HOME/leo.code
stop_file=$HOME/leo.stop

running() { # a machine that was started anew gives old numbers to other programs
    [[ -s $pid_file && $(ps -ww -o args= -p "$(<"$pid_file")") == *leo_jax.main* ]]
}

install() {
    [[ -x $environment/bin/python ]] || {
        python3 -m pip install --quiet --user uv # the image's own Python is older than 3.11
        python3 -m uv venv --quiet --python 3.12 "$environment"
    }
    python3 -m uv pip install --quiet --python "$environment/bin/python" --editable "${root}[tpu,gcs]"
    if [[ ${NFS:-} ]] && ! mountpoint --quiet /mnt/leo; then
        sudo apt-get install --quiet --yes nfs-common
        sudo mkdir -p /mnt/leo
        sudo mount -t nfs "$NFS" /mnt/leo
    fi
}

case ${1:-} in
    run)
        shift
        if ! running; then
            install
            rm -f "$pid_file" "$code_file" "$stop_file"
            # A session of its own, so that a broken connection does not end it; SIGTERM at shutdown reaches it all the same.
            setsid bash "$0" supervise "$@" >"$log" 2>&1 </dev/null &
            until [[ -s $pid_file ]]; do sleep 0.2; done
        fi
        tail --pid="$(<"$pid_file")" --lines=+1 --follow=name "$log"
        for ((i = 0; i < 50; i++)); do
            [[ -s $code_file ]] && exit "$(<"$code_file")"
            sleep 0.2
        done
        exit 1 # who should have written it was killed as well
        ;;
    supervise) # in the background of `run`: leaves the number and the exit code of the training
        shift
        cd "$root"
        compiled=$HOME/.cache/leo-jax # a next start need not compile again
        if mountpoint --quiet /mnt/leo; then compiled=/mnt/leo/compiled; fi
        LEO_PREEMPTED_EXIT=75 JAX_COMPILATION_CACHE_DIR=$compiled "$environment/bin/python" -m leo_jax.main "$@" &
        training=$!
        trap : TERM # of a machine that shuts down, to all its processes: this one waits until the training has saved
        echo "$training" >"$pid_file"
        while kill -0 "$training" 2>/dev/null; do wait "$training" || :; done # a signal cuts `wait` short
        wait "$training" && code=0 || code=$?
        echo "$code" >"$code_file"
        ;;
    code)
        if running; then
            echo running
        elif [[ -e $stop_file ]]; then
            echo stopped
        elif [[ -s $code_file ]]; then
            cat "$code_file"
        elif [[ -s $pid_file ]]; then
            echo 76 # it left no code: the machine went down, which the others end with this for
        else
            echo none
        fi
        ;;
    stop)
        touch "$stop_file"
        if running; then kill -TERM "$(<"$pid_file")"; else echo "nothing is under way"; fi
        ;;
    *)
        echo "usage: worker.sh run FLAGS… | code | stop" >&2
        exit 2
        ;;
esac
