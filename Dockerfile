# Darumeru for machines with an NVIDIA GPU (driver 580 or newer; CUDA itself comes with PyTorch's wheels).
#   docker build -t darumeru .
#   docker run --gpus all --ipc host -v $PWD/runs:/runs -v $HOME/.cache/huggingface:/cache darumeru \
#       run --model PATH_OR_HUB_ID --output /runs/first
FROM python:3.12-slim-bookworm

# vLLM compiles a few kernels when it starts.
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential=12.9 \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/darumeru
COPY pyproject.toml README.md LICENSE ./
COPY darumeru ./darumeru
COPY lep_plugins ./lep_plugins
COPY tasks ./tasks
COPY leaderboards ./leaderboards
COPY recipes ./recipes
# The project itself, whose pyproject.toml bounds the versions.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[cuda,train]" \
 && useradd --create-home --uid 1000 darumeru \
 && mkdir /runs /cache \
 && chown darumeru /runs /cache

USER 1000
WORKDIR /runs
ENV HF_HOME=/cache PYTHONUNBUFFERED=1
ENTRYPOINT ["darumeru"]
CMD ["--help"]
