"""`python -m tests.engines.vllm_server MODEL PORT [MORE]`: vLLM's own OpenAI server on the CPU, until its stdin is
closed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(model: Path, log: Path, *more: str, **surroundings: str) -> Iterator[str]:
    """The address of such a server, in a process of its own while the context lasts."""
    import httpx

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "1", **surroundings}
    command = [sys.executable, "-m", "tests.engines.vllm_server", str(model), str(port), *more]
    with log.open("w") as output:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment)
    try:
        while child.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        assert child.poll() is None, log.read_text()[-2000:]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait(30)


def main(model: str, port: str, *more: str) -> None:
    import uvloop
    from vllm.entrypoints.launchers.api_server.entry import run_server
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    parser = make_arg_parser(FlexibleArgumentParser())
    args = parser.parse_args(["--model", model, "--port", port, "--host", "127.0.0.1", "--dtype", "float32", *more])
    args.enforce_eager = True
    args.served_model_name = ["tiny"]
    # One child process instead of two.
    args.distributed_executor_backend = UniProcExecutor
    validate_parsed_serve_args(args)
    uvloop.run(run_server(args))


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), 15)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(*sys.argv[1:])
