"""The plan: what is wanted, what counts as success, and what the life cycle is to do about it.

Every model here is closed: an unknown key is an error. Defaults are part of the plan's hash.
"""

from sextant_plan.schema.closed import Closed
from sextant_plan.schema.data import ColumnRule, Consent, Data, Labelling, Licence, Procured, Selection
from sextant_plan.schema.document import Amendment, Drills, FailureMode, Plan, SignOff
from sextant_plan.schema.evaluation import Attack, CorruptionName, Evaluation, Experts, Explanation, Staleness
from sextant_plan.schema.features import Features, FeatureView, OnDemand
from sextant_plan.schema.goal import Baseline, Criterion, Economics, Goal, Owner, Role
from sextant_plan.schema.model import (
    MEASURED_ONLY,
    Attributions,
    Augmentation,
    Candidate,
    Compress,
    EngineName,
    Ensemble,
    ImageInput,
    Inputs,
    Model,
    PassedOver,
    Search,
    Span,
    Training,
)
from sextant_plan.schema.monitoring import (
    DEFAULT_BURNS,
    Burn,
    Chat,
    Labels,
    Mail,
    Monitoring,
    Notify,
    Objectives,
    Retrain,
    TriggerHook,
)
from sextant_plan.schema.rollout import Acceptance, Comparison, Rollout
from sextant_plan.schema.serving import Batching, Fallback, Hardware, PredictionLog, Serving

__all__ = [
    "DEFAULT_BURNS",
    "MEASURED_ONLY",
    "Acceptance",
    "Amendment",
    "Attack",
    "Attributions",
    "Augmentation",
    "Baseline",
    "Batching",
    "Burn",
    "Candidate",
    "Chat",
    "Closed",
    "ColumnRule",
    "Comparison",
    "Compress",
    "Consent",
    "CorruptionName",
    "Criterion",
    "Data",
    "Drills",
    "Economics",
    "EngineName",
    "Ensemble",
    "Evaluation",
    "Experts",
    "Explanation",
    "FailureMode",
    "Fallback",
    "FeatureView",
    "Features",
    "Goal",
    "Hardware",
    "ImageInput",
    "Inputs",
    "Labelling",
    "Labels",
    "Licence",
    "Mail",
    "Model",
    "Monitoring",
    "Notify",
    "Objectives",
    "OnDemand",
    "Owner",
    "PassedOver",
    "Plan",
    "PredictionLog",
    "Procured",
    "Retrain",
    "Role",
    "Rollout",
    "Search",
    "Selection",
    "Serving",
    "SignOff",
    "Span",
    "Staleness",
    "Training",
    "TriggerHook",
]
