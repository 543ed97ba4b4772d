"""The batch systems, a module for each: how jobs are submitted, asked for and cancelled there."""

from pipelet.executors.cluster.systems.base import State, System, import_dask_jobqueue
from pipelet.executors.cluster.systems.registry import current_job_id, detect, system

__all__ = ["State", "System", "current_job_id", "detect", "import_dask_jobqueue", "system"]
