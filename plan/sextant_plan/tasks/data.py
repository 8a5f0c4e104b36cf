"""The tasks of data understanding and preparation."""

from __future__ import annotations

from sextant_plan.tasks.excuses import NO_RATERS, NO_SUPPLIED_FEATURES
from sextant_plan.tasks.task import Task

TASKS = (
    Task(
        "procurement", "data", "Procurement",
        requirement="the data is lawfully obtained and its origin is known",
        risk="data has to be given back after a model has learned from it",
        method="licence and consent of the plan; lineage of every source file by digest",
        lives_in=("sextant_components.data.ingest", "sextant_components.data.sources"),
        evidence=(
            "ingest/licence and consent", "ingest/lineage*", "ingest/procurement*", "ingest/remote source*",
            "plan/remote source*",
        ),
    ),
    Task(
        "labelling", "data", "Labelling",
        requirement="several people agree on the labels",
        risk="the model learns one person's habits",
        method="Krippendorff's alpha over the raters' columns, with a bootstrap bound",
        lives_in=("sextant_plan.statistics.agreement", "sextant_components.data.ingest"),
        evidence=("ingest/labelling*", "ingest/label*", "ingest/raters *"),
        metrics=("label_agreement",),
        excuse=NO_RATERS,
    ),
    Task(
        "versioning", "data", "Management and versioning",
        requirement="the data of a run is one immutable, named copy",
        risk="nobody can say which data a model learned from",
        method="a content-addressed snapshot; its hash is in every later record",
        lives_in=("sextant_components.data.snapshots", "sextant_components.data.ingest"),
        evidence=("ingest/snapshot*", "*/retraining window"),
    ),
    Task(
        "description", "data", "Description and requirements",
        requirement="every column keeps to its type, range and values",
        risk="rows that mean nothing, or not what they say, are learned from",
        method="every row against the plan's column rules; missing and duplicate rates with bounds",
        lives_in=(
            "sextant_components.data.column_rules", "sextant_components.data.data_checks",
            "sextant_components.data.verify",
        ),
        evidence=("verify/schema*", "verify/readable*", "verify/type*", "verify/rule *"),
        metrics=("missing_rate", "duplicate_rate"),
    ),
    Task(
        "cleaning", "data", "Cleaning",
        requirement="every row that is left out is named with the rule that put it out",
        risk="data is trimmed until the numbers please",
        method="missing, duplicate and contradictory rows counted; fixes as versioned records",
        lives_in=("sextant_components.data.verify", "sextant_components.data.data_checks"),
        evidence=(
            "ingest/corrections", "verify/missing*", "verify/*duplicate*", "verify/contradictory*", "verify/fixes",
            "verify/outlier*", "verify/label *", "verify/leakage*", "verify/picture *", "verify/shift over time",
        ),
    ),
    Task(
        "selection", "data", "Selection and balance",
        requirement="each class has rows to train, validate and test on, and rare classes are judged by themselves",
        risk="a high accuracy hides that the rare class is never recognised",
        method="rows by class after verification; ratio of the largest class to the smallest; measured gains of "
        "columns and of suspect rows",
        lives_in=(
            "sextant_components.data.verify", "sextant_components.data.splits",
            "sextant_components.data.selection_records",
        ),
        evidence=(
            "verify/rows a class", "verify/class balance", "verify/spread of the label", "prepare/splits",
            "prepare/sealed split", "prepare/selection of *",
        ),
    ),
    Task(
        "processing", "data", "Processing: construction and standardisation",
        requirement="inputs are encoded by what the training rows alone teach, and serving encodes them alike",
        risk="the test rows leak into the transforms, or serving prepares its input differently",
        method="transforms fitted on the training split; each input's training rows by bin; train/serve parity",
        lives_in=(
            "sextant_components.data.encoding", "sextant_components.data.prepare", "sextant_serving.preprocessing",
        ),
        evidence=("prepare/reference profile", "prepare/*parity*", "prepare/transform*", "prepare/encoding*",
                  "prepare/noise reduction"),
    ),
    Task(
        "features", "data", "Features of the store",
        requirement="each row has the features that were known at its time, and serving reads the same",
        risk="the model learns from the future, or is served other features than it learned from",
        method="point-in-time join checked row by row; offline and online values compared",
        lives_in=(
            "sextant_components.data.features.prepare_features", "sextant_components.data.features.feature_store",
        ),
        evidence=("prepare/feature*", "prepare/point-in-time join", "prepare/online features"),
        excuse=NO_SUPPLIED_FEATURES,
    ),
)  # fmt: skip
