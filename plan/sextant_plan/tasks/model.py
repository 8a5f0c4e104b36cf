"""The tasks of modelling."""

from __future__ import annotations

from sextant_plan.tasks.excuses import unless
from sextant_plan.tasks.task import Task

NOTHING_TO_COMBINE = unless(
    lambda plan: plan.model.seeds > 1 and plan.model.ensemble.keep != "never",
    "model.seeds is 1 or model.ensemble.keep is never: there is nothing to combine",
)

TASKS = (
    Task(
        "research", "model engineering", "Research and choice of models",
        requirement="candidates of different complexity compete, and each can learn at all",
        risk="a fashionable architecture is taken where a simple one would do",
        method="each candidate learns one batch by heart; the simplest that is not proved worse is chosen",
        lives_in=(
            "sextant_components.modelling.train", "sextant_components.modelling.sanity",
            "sextant_serving.architectures",
        ),
        evidence=("train/overfit one batch*", "train/beats *", "train/candidate*"),
    ),
    Task(
        "training", "model engineering", "Training",
        requirement="the loss falls, and the result does not hang on one random start",
        risk="a network that did not learn is judged by luck",
        method="first against last epoch's loss; interval of the validation accuracy over seeds",
        lives_in=("sextant_components.modelling.training", "sextant_components.modelling.train"),
        evidence=("train/loss falls", "train/seeds*", "train/learning*", "train/training time", "train/augmentation*"),
    ),
    Task(
        "tuning", "model engineering", "Tuning",
        requirement="every candidate is tried within the plan's budget",
        risk="a better setting is passed over because the budget ended before its turn",
        method="seeded tree-structured Parzen estimator over the plan's ranges",
        lives_in=("sextant_components.modelling.tuning",),
        evidence=("train/search*", "train/tuning*"),
    ),
    Task(
        "tracking", "model engineering", "Tracking and reproducibility",
        requirement="every trial can be found again, and the model is bound to plan, data and code",
        risk="a result cannot be repeated and nobody can say where a model came from",
        method="trials, seeds and digests as records and in MLflow; the commit that the plan was run from; a sealed "
        "bundle with a digest of each file",
        lives_in=(
            "sextant_components.modelling.tracking", "sextant_components.runs.repository",
            "sextant_components.modelling.bundle_export", "sextant_plan.ledger",
        ),
        evidence=("optimise/bundle", "train/repeat*", "train/reproduc*", "plan/repository*"),
    ),
    Task(
        "attributions", "model engineering", "Attributions before an expert",
        requirement="an expert has seen what the answers rest on, and says that it may go out",
        risk="the model is right for a reason that will not hold",
        method="attributions of validation rows, answered by name before a promotion; unknown until then",
        lives_in=("sextant_components.modelling.attributions", "sextant_components.evaluation.expert_review"),
        evidence=("optimise/attributions", "*/attributions"),
    ),
    Task(
        "compression", "model engineering", "Compression and engines",
        requirement="the fastest engine that gives the same answers is served",
        risk="hardware and the users' time are wasted, or speed is paid for by a minority of the rows",
        method="parity of every engine with the trained network; loss on every slice; latency measured",
        lives_in=(
            "sextant_components.modelling.optimise", "sextant_components.modelling.smaller_models",
            "sextant_components.modelling.int8_engine", "sextant_serving.engines",
        ),
        evidence=("optimise/engine*", "optimise/slice loss*", "train/compress*", "optimise/compress*",
                  "optimise/export*"),
    ),
    Task(
        "ensembling", "model engineering", "Ensembles",
        requirement="several models answer together only where that is proved better",
        risk="several times the cost for nothing",
        method="paired gain of the ensemble over its best member, with a bound",
        lives_in=("sextant_components.modelling.ensembling", "sextant_serving.engines"),
        evidence=("train/ensemble*", "optimise/ensemble*"),
        excuse=NOTHING_TO_COMBINE,
    ),
)  # fmt: skip
