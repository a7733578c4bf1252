"""Names of the files in an experiment's folder and in the folder of a run."""

from __future__ import annotations

TICKET = "ticket.safetensors"  # the ticket that the run trains
REWIND = "rewind.safetensors"  # dense: weights at the rewind point
INIT = "init.safetensors"  # dense: weights at the initialisation
REWIND_COUNTS = "rewind.json"  # dense: how far the run had come at the rewind point
SAME_AS = "same-as.json"  # the run of the same ticket whose files were copied instead of training again
STARTED = "started.json"  # identity of the run that was last started in the folder
LOG = "train.log"  # output of the run, appended
PROGRESS = "progress.json"  # how far the run has come
LEARNING = "curve.csv"  # the learning curve of the run
SCORE = "score.json"  # the score of the run
EARLIER_SCORES = "earlier-scores.json"  # scores that were replaced by a later scoring
LINE = "line.json"  # scores along the line between two copies
STABILITY = "stability.json"  # how unstable each candidate rewind point is
STABILITY_PICTURE = "stability.png"
PROBE = "stability"  # folder of the probe of --rewind auto, within the experiment's
SEARCH_END = "search.json"  # where a search run has ended, if its framework trains in another process
MARKER = "result.json"  # written last: the run is done
FAILED = "failed.json"  # why the run's last attempt failed
JOB = "job.json"  # the cluster's job that trains the run
JOB_END = "job-end.json"  # exit status of that job
NOT_RUN = "not-run.json"  # why a run was left out
FLOOR = "floor.json"  # the score without any learning
EXPERIMENT = "experiment.json"
BUDGET = "budget.json"  # what was chosen for --budget
RESULTS = "results.csv"
SEARCHED = "search.csv"  # every finished search run
SCORES = "scores.csv"  # every score of every run, if some were replaced
CURVE = "curve.png"
CURVE_EVAL = "curve-eval.png"  # picture of the scores of evaluations
START = "start.safetensors"  # all that a ticket starts from which is pruned in training; removed after it
ALL = frozenset(value for name, value in list(globals().items()) if name.isupper())
