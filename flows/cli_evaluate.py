"""`sextant evaluate`: how good an encoder is on labelled sets."""

import typer

from flows.cli_evaluate_attention import attention
from flows.cli_evaluate_classification import classification
from flows.cli_evaluate_clustering import clustering
from flows.cli_evaluate_mteb import mteb
from flows.cli_evaluate_retrieval import retrieval
from flows.cli_evaluate_sts import sts

evaluate_app = typer.Typer(
    help="Measure how good an encoder is on labelled sets.", no_args_is_help=True
)


@evaluate_app.callback()
def evaluate() -> None:
    """Measure how good an encoder is on labelled sets."""


evaluate_app.command("sts", short_help="Spearman correlation on pairs with scores.")(sts)
evaluate_app.command("classification", short_help="Accuracy of logistic regression.")(
    classification
)
evaluate_app.command("clustering", short_help="V-measure of clusters and labels.")(clustering)
evaluate_app.command("retrieval", short_help="nDCG of labelled queries.")(retrieval)
evaluate_app.command("attention", short_help="What the last token looks at.")(attention)
evaluate_app.command("mteb", short_help="Tasks of MTEB, through mteb itself.")(mteb)
