"""The batch systems, a module for each: how jobs are submitted, asked for and cancelled there."""

from pipelet.executors.cluster.systems.base import COMMAND_SECONDS, State, System, import_dask_jobqueue
from pipelet.executors.cluster.systems.registry import current_job_id, detect, system

__all__ = ["COMMAND_SECONDS", "State", "System", "current_job_id", "detect", "import_dask_jobqueue", "system"]
