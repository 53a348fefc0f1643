"""`python -m tests.engines.vllm_server MODEL PORT`: vLLM's own OpenAI server on the CPU, until its stdin is closed."""

from __future__ import annotations

import os
import sys
import threading


def main(model: str, port: str) -> None:
    import uvloop
    from vllm.entrypoints.launchers.api_server.entry import run_server
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    parser = make_arg_parser(FlexibleArgumentParser())
    args = parser.parse_args(["--model", model, "--port", port, "--host", "127.0.0.1", "--dtype", "float32"])
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
