"""What the runs of GPT-2 say about the predictions: pure functions of results.json.

``compare(results)`` gives the comparison; ``experiments.gpt2.page`` shows it. In all of it "12" raises the
first domain first and the second last. The paper's tables print the other reading; ``published_tables``
is the one place that knows it.
"""

from experiments.gpt2.comparison.compare import Comparison, compare

__all__ = ["Comparison", "compare"]
