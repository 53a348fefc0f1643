"""Which of vLLM's own arguments change no answer. Imports nothing, so that a run can be compared without vLLM."""

from __future__ import annotations

MEMORY = frozenset({
    "gpu_memory_utilization", "kv_cache_memory_bytes", "num_gpu_blocks_override", "cpu_offload_gb",
    "cpu_offload_params", "offload_backend", "offload_group_size", "offload_num_in_group", "offload_prefetch_step",
    "offload_params", "kv_offloading_size", "kv_offloading_backend", "watermark", "enable_sleep_mode",
    "sleep_mode_offload_cudagraph", "sleep_preserve_parameter_names", "enable_cumem_allocator",
})  # fmt: skip
# How many requests share a step is a batch size: the same arithmetic per row.
BATCHES = frozenset({
    "max_num_seqs", "max_num_batched_tokens", "max_num_scheduled_tokens", "max_num_active_seqs", "max_num_queued_reqs",
    "max_num_queued_tokens", "long_prefill_token_threshold", "long_prefill_token_threshold_adaptive",
    "prefill_schedule_interval", "scheduling_policy", "async_scheduling", "stream_interval", "max_logprobs",
})  # fmt: skip
LOADING = frozenset({
    "download_dir", "hf_token", "safetensors_load_strategy", "safetensors_prefetch_num_threads",
    "safetensors_prefetch_block_size", "max_parallel_loading_workers", "use_tqdm_on_load", "pt_load_map_location",
})  # fmt: skip
MACHINES = frozenset({
    "distributed_executor_backend", "master_addr", "master_port", "nnodes", "node_rank", "distributed_timeout_seconds",
    "cpu_distributed_timeout_seconds", "numa_bind", "numa_bind_nodes", "numa_bind_cpus", "device_ids",
    "disable_custom_all_reduce", "ray_workers_use_nsight", "shutdown_timeout",
})  # fmt: skip
REPORTS = frozenset({
    "disable_log_stats", "aggregate_engine_logging", "show_hidden_metrics_for_version", "otlp_traces_endpoint",
    "collect_detailed_traces", "kv_cache_metrics", "kv_cache_metrics_sample", "custom_histogram_buckets",
    "cudagraph_metrics", "enable_layerwise_nvtx_tracing", "enable_mfu_metrics", "enable_logging_iteration_details",
    "logging_config", "log_level", "log_config_file", "profiler_config", "served_model_name",
})  # fmt: skip
# Not free though they look so: enforce_eager and the compilation arguments (other kernels), block_size and
# enable_prefix_caching (in half precision sums read from the cache differ by 0.06 over 30 tokens), kv_cache_dtype,
# quantization, attention backends, hf_overrides, logprobs_mode, load_format ("dummy" loads no weights).
FREE_ARGUMENTS = MEMORY | BATCHES | LOADING | MACHINES | REPORTS
