"""Series of NVIDIA's DCGM exporter and of Kubernetes (cAdvisor, kube-state-metrics), as their projects name them."""

from __future__ import annotations

GPU_MEMORY_USED, GPU_MEMORY_FREE = "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"
GPU_CELSIUS, GPU_BUSY, GPU_FAULTS = "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_XID_ERRORS"
POD_MEMORY, POD_LIMITS = "container_memory_working_set_bytes", "kube_pod_container_resource_limits"
POD_RESTARTS = "kube_pod_container_status_restarts_total"
