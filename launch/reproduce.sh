#!/usr/bin/env bash
# From raw videos to the paper's figures for one data set, on one machine. From the root of a clone:
#
#   launch/reproduce.sh taichi OUT --videos=youtube-taichi --boxes=taichi-metadata.csv --vgg19=vgg19-dcbb9e9d.pth
#   launch/reproduce.sh taichi:128 | faceforensics | celebvhq | ucf101 OUT --videos=DIR --vgg19=FILE
#   launch/reproduce.sh puppets OUT                   # no download, two cores are enough
#
# Flags after these go to the training, such as --config.motion.steps=1000. Needs: pip install -e '.[convert,eval]', of which this
# script asks before anything else.
#
# Starts: `leo convert vgg19`, `leo prepare`, `python -m leo_jax.main` with all stages of the config, and `leo evaluate`, of NUM
#   videos that begin with true frames and of as many without (NUM: the protocol's 2048; for puppets 64). Everything is in OUT:
#   data/, run/ with its report, conditional.html and unconditional.html beside the paper's figures.
# Costs: at least 222 chip-hours of v5e for the paper's five trainings at 256 px, 83 of them the animator's (800k steps of batch
#   64; the roofline's bound in docs/scale.md, in bfloat16; nothing of it was measured, and float32, the default, takes several times as long); for eight v5e,
#   python launch/aot.py --config=configs/taichi.py --stage=animator --topology=v5e-8 --config.model.dtype=bfloat16
# Larger machines: the training alone by the other files of this folder, with OUT/run as workdir; then this script for the rest.
# Stops: SIGTERM and Ctrl-C are passed on; the training saves and this script ends with 75 (or LEO_PREEMPTED_EXIT).
# Resumes: the same command. What is finished is kept.
set -euo pipefail
usage="usage: launch/reproduce.sh taichi[:128]|faceforensics|celebvhq|ucf101|puppets OUT [--videos=DIR] [--boxes=FILE] [--vgg19=FILE] [FLAGS…]"
config=${1:?$usage}
out=${2:?$usage}
shift 2
name=${config%%:*}
videos='' boxes='' vgg19=''
flags=()
for argument; do
    case $argument in
        --videos=*) videos=${argument#*=} ;;
        --boxes=*) boxes=${argument#*=} ;;
        --vgg19=*) vgg19=${argument#*=} ;;
        *) flags+=("$argument") ;;
    esac
done

crop=() num=${NUM:-} evaluate=(--protocol styleganv-16f --metrics fvd --dataset "$name")
case $config in
    taichi) evaluate=(--protocol digan-taichi --metrics "fvd,kvd" --override resolution=256 --dataset taichi256) ;;
    taichi:128) evaluate=(--protocol digan-taichi --metrics "fvd,kvd" --dataset taichi128) ;;
    faceforensics) crop=(--crop "masks:$videos") ;;
    celebvhq | ucf101) ;;
    puppets*) num=${NUM:-64} evaluate=(--protocol styleganv-16f --metrics fvd) ;;
    *)
        echo "$config: none of the data sets. $usage" >&2
        exit 2
        ;;
esac
[[ $boxes ]] && crop=(--crop "boxes:$boxes")
if [[ $name != puppets && (! -d $videos || ! -f $vgg19) ]]; then
    echo "$config needs --videos=DIR and --vgg19=FILE (docs/data.md says where they come from). $usage" >&2
    exit 2
fi

export LEO_PREEMPTED_EXIT=${LEO_PREEMPTED_EXIT:-75} # else a training that was told to stop would be sampled from
root=$(cd "$(dirname "$0")/.." && pwd)
child='' told=''
trap 'told=1; [[ $child ]] && kill -TERM "$child" 2>/dev/null' TERM INT
run() { # in the background: a shell that waits for a program in the foreground hears no signal
    [[ ! $told ]] || exit "$LEO_PREEMPTED_EXIT"
    echo "reproduce: $*"
    "$@" &
    child=$!
    while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done # a signal cuts `wait` short
    local code=0
    wait "$child" || code=$?
    child=
    ((code == 0)) || exit "$code"
}

# What the last command needs is better missed now than after the trainings.
run "${PYTHON:-python}" -c 'from leo_jax.convert import i3d; print(i3d.package_weights())'
mkdir -p "$out"
train=("${PYTHON:-python}" -m leo_jax.main --config="$root/configs/$name.py${config#"$name"}" --workdir="$out/run" --config.data.dir="$out/data")
if [[ $name != puppets ]]; then # which the training draws
    [[ -f $out/vgg19.npz ]] || run leo convert vgg19 --checkpoint "$vgg19" --out "$out/vgg19.npz"
    run leo prepare --videos "$videos" --out "$out/data" --name "$name" --size 256 --skip_bad "${crop[@]}"
    train+=(--config.animator.vgg19="$out/vgg19.npz")
fi
run "${train[@]}" "${flags[@]}"
for kind in conditional unconditional; do
    [[ $kind == unconditional ]] && evaluate+=(--unconditional)
    [[ -f $out/$kind.json ]] || run leo evaluate --real "$out/data" --real_split train --fake "$out/run" \
        ${num:+--fake_count "$num"} "${evaluate[@]}" --label "ours, $kind" --out "$out/$kind.json"
done
