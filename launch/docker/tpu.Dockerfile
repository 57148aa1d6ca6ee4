# An image that trains on TPUs. From the root of a clone:
#
#   docker build --file launch/docker/tpu.Dockerfile --tag leo-jax:tpu .
#   docker run --rm --privileged --network=host --ipc=host --volume=/runs:/runs leo-jax:tpu \
#     --config=configs/puppets.py --workdir=/runs/puppets --config.first_frame.batch_size=16
#
# Starts: `python -m leo_jax.main` with the given flags, below tini, which hands SIGTERM (`docker stop --time=120`) on to it.
# Costs: as where it runs; docs/scale.md. Resumes: the same `docker run`.
FROM python:3.12-slim
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --no-install-recommends --yes tini && rm -rf /var/lib/apt/lists/*
WORKDIR /leo
COPY setup.py README.md ./
COPY leo_jax leo_jax
COPY configs configs
RUN pip install --no-cache-dir --editable '.[tpu,gcs]'
ENTRYPOINT ["tini", "--", "python", "-m", "leo_jax.main"]
