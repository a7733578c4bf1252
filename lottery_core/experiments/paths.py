"""Names of the files in an experiment's folder and in the folder of a run."""

from __future__ import annotations

TICKET = "ticket.safetensors"  # the ticket that the run trains
REWIND = "rewind.safetensors"  # dense: weights at the rewind point
INIT = "init.safetensors"  # dense: weights at the initialisation
REWIND_COUNTS = "rewind.json"  # dense: how far the training was at the rewind point
STARTED = "started.json"  # what the run in the folder was started as
LOG = "train.log"  # output of the training, appended
PROGRESS = "progress.json"  # how far the training is
LEARNING = "curve.csv"  # the learning curve of the training
SCORE = "score.json"  # what the training reached
EARLIER_SCORES = "earlier-scores.json"  # scores that a later scoring has replaced
MARKER = "result.json"  # written last: the run is done
FAILED = "failed.json"  # why the run's last attempt failed
JOB = "job.json"  # the cluster's job that trains the run
JOB_END = "job-end.json"  # how that job ended
FLOOR = "floor.json"  # the score without any learning
EXPERIMENT = "experiment.json"
RESULTS = "results.csv"
SCORES = "scores.csv"  # every score that a run has had, where some were replaced
CURVE = "curve.png"
CURVE_EVAL = "curve-eval.png"  # scores of the evaluations
