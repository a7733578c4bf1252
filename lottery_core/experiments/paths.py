"""Names of the files in an experiment's folder and in the folder of a run."""

from __future__ import annotations

TICKET = "ticket.safetensors"  # the ticket that the run trains
REWIND = "rewind.safetensors"  # dense: weights at the rewind point
INIT = "init.safetensors"  # dense: weights at the initialisation
REWIND_COUNTS = "rewind.json"  # dense: how long it had trained at the rewind point
STARTED = "started.json"  # configuration, versions and ticket with which the run was started
LOG = "train.log"  # output of training, appended
PROGRESS = "progress.json"  # progress of training
SCORE = "score.json"  # score of the run
MARKER = "result.json"  # written last: the run is done
FAILED = "failed.json"  # why the run's last attempt failed
JOB = "job.json"  # the cluster's job that trains the run
JOB_END = "job-end.json"  # how that job ended
EXPERIMENT = "experiment.json"
RESULTS = "results.csv"
CURVE = "curve.png"
CURVE_EVAL = "curve-eval.png"  # scores of the evaluations
