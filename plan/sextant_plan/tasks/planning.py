"""The tasks of business and data understanding."""

from __future__ import annotations

from sextant_plan.tasks.excuses import NO_ECONOMICS
from sextant_plan.tasks.task import Task

FEASIBILITY = "sextant_components.planning.feasibility"

TASKS = (
    Task(
        "scope", "planning", "Scope of the application",
        requirement="goal, reason for machine learning, owner and data are written down before work starts",
        risk="a model is built that answers a question nobody asked",
        method="the plan's schema requires them, in a person's own words; the plan is frozen under its hash",
        lives_in=("sextant_plan.schema", "sextant_plan.unanswered", "sextant_components.planning.plan"),
        evidence=(
            "plan/plan frozen", "plan/questions answered", "plan/amendment*", "plan/override*", "*/plan in force",
        ),
    ),
    Task(
        "success-criteria", "planning", "Success criteria: business, machine learning, economic",
        requirement="each level of success has a measurable criterion",
        risk="a model with good scores is worth nothing to the business",
        method="kinds of the plan's criteria; limit, confidence and fewest rows of each are fixed by the plan's hash",
        lives_in=("sextant_plan.catalogue", f"{FEASIBILITY}.intent"),
        evidence=("plan/success criteria",),
    ),
    Task(
        "availability", "planning", "Feasibility: availability of data",
        requirement="there are rows enough to learn from and to prove each criterion",
        risk="months of work end in a test set that can prove nothing",
        method="rows by class against what each gate needs; rate of arrival; learning curve; loss of accuracy with age",
        lives_in=(f"{FEASIBILITY}.availability", f"{FEASIBILITY}.learning_curve", f"{FEASIBILITY}.staleness"),
        evidence=(
            "plan/feasibility: data availability", "plan/feasibility: learning curve", "plan/feasibility: staleness",
        ),
    ),
    Task(
        "applicability", "planning", "Feasibility: applicability of machine learning",
        requirement="the inputs tell of the label, and no rule suffices already",
        risk="a model is built where none can work, or where a rule would do",
        method="quick models against the majority; nearest-neighbour bounds of the Bayes error; the goal's baseline",
        lives_in=(f"{FEASIBILITY}.applicability", f"{FEASIBILITY}.bayes_error"),
        evidence=("plan/feasibility: applicability", "plan/feasibility: baseline", "plan/feasibility: bayes error"),
    ),
    Task(
        "legal", "planning", "Feasibility: law and ethics",
        requirement="the data may be used, and harm to people is judged as the risk class asks",
        risk="the product must be withdrawn, or wrongs people unseen",
        method="licence, consent, sensitive columns and duties of the risk class, computed from the plan",
        lives_in=(f"{FEASIBILITY}.legal",),
        evidence=("plan/feasibility: legal and ethics",),
    ),
    Task(
        "robustness-scale", "planning", "Feasibility: robustness and scalability",
        requirement="corruptions and load of production are within reach",
        risk="the model fails in the dark, or answers too late, and its users find out",
        method="a quick model on corrupted inputs, and in the real server against objective and expected load",
        lives_in=(f"{FEASIBILITY}.robustness", f"{FEASIBILITY}.pretest", f"{FEASIBILITY}.load"),
        evidence=(
            "plan/feasibility: robustness and scalability", "plan/feasibility: corruption pre-test",
            "plan/feasibility: load pre-test",
        ),
    ),
    Task(
        "explainability-need", "planning", "Feasibility: explainability",
        requirement="the promised explanation fits the inputs and its budget",
        risk="a person is owed a reason and nobody can give one in time",
        method="the explanation of a stand-in network is timed against its budget",
        lives_in=(f"{FEASIBILITY}.explainability",),
        evidence=("plan/feasibility: explainability",),
    ),
    Task(
        "resources", "planning", "Feasibility: resources and people",
        requirement="processors, memory, disk, accelerators and named roles cover what the plan asks for",
        risk="the work stops half-way for want of a machine or of somebody to decide",
        method="requests against the cluster's allocatable resources or this machine; owner and approvers are named",
        lives_in=(f"{FEASIBILITY}.resources", f"{FEASIBILITY}.capacity"),
        evidence=("plan/feasibility: resources",),
    ),
    Task(
        "cost-benefit", "planning", "Cost and benefit",
        requirement="a model that only just meets its criterion is worth more than it costs",
        risk="the model costs more than it brings",
        method="value less labelling, training and serving, with an interval, against the baseline",
        lives_in=(f"{FEASIBILITY}.cost_benefit",),
        evidence=("plan/cost-benefit",),
        excuse=NO_ECONOMICS,
    ),
    Task(
        "phased-delivery", "planning", "Phased delivery",
        requirement="value and risk are taken in steps, each of which can be stopped",
        risk="everything is staked on one large release",
        method="the phases that the plan leads through, what guards each, and what each is worth",
        lives_in=(f"{FEASIBILITY}.delivery",),
        evidence=("plan/phased delivery",),
    ),
)  # fmt: skip
