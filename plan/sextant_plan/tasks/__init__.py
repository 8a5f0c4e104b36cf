"""The tasks of the CRISP-ML(Q) process model (Studer et al. 2021, arXiv 2003.05155), each with its assurance.

Every record of a run is evidence for at least one of them; a task with neither evidence nor an excuse is `unknown`.
"""

from sextant_plan.tasks import data, deployment, evaluation, model, monitoring, planning
from sextant_plan.tasks.task import Task

TASKS: tuple[Task, ...] = (
    *planning.TASKS,
    *data.TASKS,
    *model.TASKS,
    *evaluation.TASKS,
    *deployment.TASKS,
    *monitoring.TASKS,
)

__all__ = ["TASKS", "Task"]
