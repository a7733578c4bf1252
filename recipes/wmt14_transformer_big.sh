#!/usr/bin/env bash
# Tickets of Transformer Big (210M parameters) on WMT'14 English-German, newstest2014 (section 4.1.2).
#   bash recipes/wmt14_transformer_big.sh [option ...] [NAME=VALUE ...] [-- more options of fairseq-lottery]
# Case-sensitive tokenised BLEU of the mean of the last checkpoints; 8 GPUs by default. --small: number words on 2 cores,
# 3 minutes. Run again, it is resumed.
# shellcheck disable=SC2034 # the settings are read in wmt14.sh
set -euo pipefail
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=recipes/wmt14.sh
source recipes/wmt14.sh
recipe wmt14_transformer_big "$@"

# The paper's  name         value                                 with --small
setting        KINDS        "winning random"
setting        ARCH         transformer_vaswani_wmt_en_de_big
setting        WIDTH        1024                                  96
setting        FFN          4096                                  192
setting        HEADS        16                                    8
setting        DROPOUT      0.3                                   0
setting        OUT          runs/wmt14-big                        runs/wmt14-big-small
wmt14_settings
ready
update_freq=$(divided BATCH_GPUS) # batches that each GPU adds up before an update

go
